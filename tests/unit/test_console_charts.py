"""Charts are well-formed, say what they show, and put things where the figures are."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from markupsafe import Markup

from service.console.charts import HEIGHT, WIDTH, Series, SpanScale, by_day, lorenz, span, span_axis, steps
from service.console.market import exposure_chart, trend_chart, waiting_chart
from service.domain_market import Exposure, MarketPoint, MarketWindow, Waiting
from tests.integration.experiment_log import at

EXPOSURE = Exposure(
    people=4,
    unshown=1,
    impressions=10,
    gini=0.5,
    top_tenth=0.24,
    top_hundredth=0.024,
    lorenz=((0, 0), (0.25, 0), (0.75, 0.4), (1, 1)),
)
SHOWN = Waiting(seen=3, hours={"0.5": 12.0, "0.9": None}, curve=((2.0, 0.25), (12.0, 0.5), (60.0, 0.75)))
NONE = Waiting(seen=0, hours={"0.5": None, "0.9": None}, curve=())
WINDOW = MarketWindow(days=7, exposure=EXPOSURE, newcomers=4, waiting={"impression": SHOWN, "match": NONE})


def places(svg: Markup, what: str) -> list[tuple[float, float]]:
    """The points of the first element of that class."""
    found = next(one for one in ET.fromstring(svg) if one.get("class") == what)
    return [(float(x), float(y)) for x, y in (point.split(",") for point in (found.get("points") or "").split())]


def rises(points: list[tuple[float, float]]) -> bool:
    """On a picture, y grows downwards."""
    return all(y1 >= y2 and x1 <= x2 for (x1, y1), (x2, y2) in pairwise(points))


def test_the_lorenz_curve_runs_from_corner_to_corner_below_the_diagonal() -> None:
    svg = lorenz(EXPOSURE.lorenz, 0.25, "told")
    line = places(svg, "line s1")
    (left, foot), (right, top) = line[0], line[-1]
    assert rises(line)
    assert all(foot - y <= (x - left) / (right - left) * (foot - top) + 0.1 for x, y in line)
    nobody = next(one for one in ET.fromstring(svg) if one.get("class") == "nobody")
    assert float(nobody.get("x2") or 0) == pytest.approx(left + (right - left) / 4, abs=0.1)


def test_steps_are_level_between_events_and_end_with_the_window() -> None:
    line = places(steps([Series("shown", 1, SHOWN.curve)], 168, "told"), "line s1")
    assert len(line) == 8
    assert rises(line)
    assert line[-1][1] == line[-2][1]
    assert line[-1][0] == pytest.approx(max(x for x, _ in places(lorenz(EXPOSURE.lorenz, 0, ""), "line s1")))


def test_steps_after_the_window_are_not_drawn() -> None:
    line = places(steps([Series("shown", 1, SHOWN.curve)], 24, "told"), "line s1")
    assert max(x for x, _ in line) <= WIDTH
    assert len(line) == 6


@pytest.mark.parametrize("n", [1, 2, 90])
def test_a_curve_over_days_stays_inside_its_picture(n: int) -> None:
    series = [Series("Gini", 1, [(at(day).timestamp(), 0.5) for day in range(n)]), Series("none", 2, [])]
    numbers = re.findall(r'(?:x|cx)="([\d.-]+)"', by_day(series, "told"))
    assert all(0 <= float(number) <= WIDTH for number in numbers)


def test_what_a_chart_is_named_is_escaped() -> None:
    assert ET.fromstring(lorenz(EXPOSURE.lorenz, 0, '"<&>')).get("aria-label") == '"<&>'


def test_spans_lie_between_powers_of_ten() -> None:
    scale = SpanScale.of([0.4, 23.0])
    assert (scale.marks, scale.at(0.1), scale.at(100)) == ([0.1, 1, 10, 100], 0, 1)
    drawn = ET.fromstring(span(0.4, 5.0, 23.0, scale))
    dots = [float(dot.get("cx") or 0) for dot in drawn if "dot" in (dot.get("class") or "")]
    assert dots == sorted(dots)
    assert ">100 ms<" in span_axis(scale)


@pytest.mark.parametrize("times", [[], [0.0], [0.001, 0.002], [5.0]])
def test_any_times_have_a_scale(times: list[float]) -> None:
    scale = SpanScale.of(times)
    assert scale.low < scale.high
    assert all(0 <= scale.at(each) <= 1 for each in times)


def test_where_nothing_was_timed_nothing_is_drawn() -> None:
    assert span(None, None, None, SpanScale.of([])) == ""


def test_the_table_of_exposure_reads_the_curve_by_tenths() -> None:
    chart = exposure_chart(EXPOSURE)
    assert [row[1] for row in chart.rows] == [
        "0.0 %",
        "0.0 %",
        "4.0 %",
        "12.0 %",
        "20.0 %",
        "28.0 %",
        "36.0 %",
        "52.0 %",
        "76.0 %",
        "100.0 %",
    ]
    assert "Gini 0.50" in chart.svg


def test_the_table_of_waiting_tells_the_share_by_each_moment() -> None:
    rows = {row[0]: row[1:] for row in waiting_chart(WINDOW).rows}
    assert (rows["1 hour"], rows["12 hours"], rows["3 days"], rows["7 days"]) == (
        ("0.0 %", "0.0 %"), ("50.0 %", "0.0 %"), ("75.0 %", "0.0 %"), ("75.0 %", "0.0 %")
    )  # fmt: skip
    assert "14 days" not in rows


def test_days_without_impressions_have_no_gini_and_a_share_of_the_unshown() -> None:
    points = [MarketPoint(until=at(0), gini=None, unshown_share=1.0), MarketPoint(until=at(1), gini=0.4, unshown_share=0.1)]
    chart = trend_chart(points)
    assert [row[1:] for row in chart.rows] == [("0.400", "10.0 %"), ("–", "100.0 %")]
    assert 0 < len(places(chart.svg, "line s2")) <= HEIGHT
