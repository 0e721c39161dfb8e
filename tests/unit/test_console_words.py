"""Figures and times in the words of the pages."""

from datetime import UTC, datetime, timedelta

import pytest

from service.console.words import ago, hours, milliseconds, number, percent, plural, sentence, when


@pytest.mark.parametrize("tell", [number, percent, milliseconds, hours])
def test_what_is_not_known_is_a_dash(tell: object) -> None:
    assert callable(tell)
    assert [tell(value) for value in (None, float("nan"), float("inf"))] == ["–"] * 3


def test_figures_have_the_digits_that_tell() -> None:
    assert (number(1234.5), number(1234.56, 1), percent(0.256), percent(0.2561, 1)) == ("1,234", "1,234.6", "26 %", "25.6 %")
    assert [milliseconds(each) for each in (0.432, 12.34, 432.1, 1240)] == ["0.43 ms", "12.3 ms", "432 ms", "1.24 s"]
    assert [hours(each) for each in (0.005, 0.4, 1, 48, 355)] == ["18 s", "24 min", "1 hour", "2 days", "14.8 days"]
    assert (plural(1, "person", "people"), plural(1200, "day")) == ("1 person", "1,200 days")


def test_moments_are_told_by_their_largest_unit() -> None:
    spans = {timedelta(0): "just now", timedelta(seconds=90): "1 minute ago", timedelta(days=-2.5): "in 2 days"}
    for before, told in spans.items():
        assert ago(datetime.now(UTC) - before) == told
    assert when(datetime(2026, 11, 3, 9, 5, tzinfo=UTC)) == "3 Nov 2026, 09:05 UTC"


def test_a_sentence_keeps_the_names_in_it() -> None:
    assert sentence("lives in Berlin; shares Jazz") == "Lives in Berlin; shares Jazz."
    assert (sentence("is it?"), sentence("")) == ("Is it?", ".")
