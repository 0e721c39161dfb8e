"""The page stands by itself, says what the report says, and its plots can be read and are where the figures are."""

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from service.domain_experiments import Arm, Guardrails
from service.experiments import figures
from service.experiments.ratios import Estimate
from service.experiments.reports import Report
from service.reporting.judging import judged
from service.reporting.page import page
from service.reporting.plots import HEIGHT, WIDTH, Line, Plot, draw, ticks
from service.reporting.style import CSS
from service.repositories.arm_figures import ArmServed
from tests.experiment_evidence import ARMS, evidence, sums

_ALONE = ("meta", "br", "link", "img", "input", "hr", "rect", "line", "polygon", "polyline")


class Reader(HTMLParser):
    """Collects tags and text, and sees to it that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def served(arm: str, degraded: float) -> ArmServed:
    return ArmServed(arm=arm, degraded=sums(np.full(50, degraded), 10), empty=sums(np.zeros(50), 10), p50_ms=2.0, p95_ms=8.75)


REPORT = judged(
    evidence(
        lift=1.0,
        served={"control": served("control", 0), "treatment": served("treatment", 1)},
        guardrails=Guardrails(max_degraded_share=0.05),
    )
)


@pytest.mark.parametrize("report", [REPORT, judged(evidence(n_viewers=0, days=0)), judged(evidence(design="interleaving"))])
def test_a_page_is_whole_and_asks_for_nothing(report: Report) -> None:
    reader = Reader(page(report))
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in reader.tags)
    assert not re.search(r"https?:|url\((?!#)|@import", page(report))
    identities = [found["id"] for _, found in reader.tags if "id" in found]
    assert len(identities) == len(set(identities))


def test_a_page_says_what_the_report_says() -> None:
    text = " ".join(Reader(page(REPORT)).text)
    for said in (REPORT.verdicts[0].text, REPORT.randomisation.statement, REPORT.counting, REPORT.guardrails[0].text, "8.75 ms"):
        assert said in text
    for arm in REPORT.arms:
        assert figures.count(arm.impressions) in text
        assert figures.rate_range("like_rate", arm.rates["like_rate"]) in text
    assert figures.lift_range(REPORT.arms[1].lifts["like_rate"]) in text


def test_names_cannot_break_out_of_the_page() -> None:
    evil = '<script>"&'
    report = msgspec.structs.replace(judged(evidence(arms=(ARMS[0], Arm(name=evil, algorithm_version="v2")))), name=evil)
    reader = Reader(page(report))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert evil in reader.text


def test_each_plot_has_a_name_and_all_its_figures_are_in_a_table() -> None:
    document = page(REPORT)
    pictures = re.findall(r"<svg.*?</svg>", document, re.S)
    assert len(pictures) == 6
    for picture in pictures:
        root = ET.fromstring(picture)
        assert (root.get("role"), root[0].get("id"), bool(root[0].text)) == ("img", root.get("aria-labelledby"), True)
    last = REPORT.looks[-1].lifts["treatment"]["like_rate"]
    assert f"{figures.change(last.value)} ({figures.lift_range(last)})" in " ".join(Reader(document).text)


def plotted(line: Line, baseline: float | None = 0.0) -> ET.Element:
    return ET.fromstring(draw(Plot(title="Lift", lines=(line,), say=figures.change, baseline=baseline), "p"))


def places(element: ET.Element) -> list[tuple[float, float]]:
    points = [point.split(",") for point in (element.get("points") or "").split()]
    return [(float(x), float(y)) for x, y in points]


def test_a_line_and_its_band_are_where_the_figures_are() -> None:
    estimates = (Estimate(value=0.1, low=-0.2, high=0.4), Estimate(value=0.2, low=0.0, high=0.4))
    root = plotted(Line("treatment", (1.0, 2.0), estimates, 1))
    group = root.find("g")
    assert group is not None
    band, line = places(group[0]), places(group[1])
    (x1, y1), (x2, y2) = line
    assert x2 - x1 == pytest.approx(x1 - 66, abs=0.2)  # day 0 is at the left edge
    assert y2 < y1  # higher on the picture
    assert [x for x, _ in band] == [x1, x2, x2, x1]
    assert band[1][1] < y2 < band[2][1]
    [zero] = [element for element in root if element.get("class") == "baseline"]
    assert float(zero.get("y1") or 0) == pytest.approx(band[2][1], abs=0.1)


def test_of_a_single_look_the_interval_is_a_bar_on_an_axis_of_a_day() -> None:
    root = plotted(Line("treatment", (0.01,), (Estimate(value=0.1, low=-0.2, high=0.4),), 1))
    group = root.find("g")
    assert group is not None
    band = places(group[0])
    assert band[1][0] - band[0][0] == 12
    assert band[2][1] - band[1][1] > HEIGHT / 3
    assert "1" in [element.text for element in root if element.get("class") == "tick"]


def test_wide_intervals_of_the_first_days_do_not_flatten_the_rest() -> None:
    wide, narrow = Estimate(value=0.1, low=-0.99, high=400.0), Estimate(value=0.1, low=0.05, high=0.15)
    root = plotted(Line("treatment", tuple(map(float, range(1, 11))), (wide, wide, *[narrow] * 8), 1))
    group = root.find("g")
    assert group is not None
    ys = [y for _, y in places(group[0])[2:10]] + [y for _, y in places(group[0])[10:18]]
    assert max(ys) - min(ys) > HEIGHT / 3


@pytest.mark.parametrize(("n_lines", "apart"), [(4, 14), (8, 14), (20, 10)])
def test_names_beside_the_lines_do_not_overlap_and_stay_in_the_picture(n_lines: int, apart: float) -> None:
    """One arm is far better than the others, whose lines all end at the bottom."""
    values = [1.0, *[0.1] * (n_lines - 1)]
    lines = tuple(Line("a-very-long-name-of-an-arm", (1.0, 2.0), (Estimate(value=each),) * 2, n) for n, each in enumerate(values))
    root = ET.fromstring(draw(Plot(title="Rate", lines=lines, say=str), "p"))
    names = [element for element in root if (element.get("class") or "").startswith("name")]
    ys = [float(name.get("y") or 0) for name in names]
    assert min(later - earlier for earlier, later in pairwise(ys)) >= apart
    assert 0 < ys[0] < ys[-1] <= HEIGHT
    assert all(float(name.get("x") or 0) + 7 * len(name.text or "") <= WIDTH + 14 for name in names)


@pytest.mark.parametrize(
    "estimates", [(Estimate(value=None),), (Estimate(value=0.0),), (Estimate(value=5.0, low=1.0, high=None),)]
)
@pytest.mark.parametrize("day", [0.0, 0.3])
def test_a_plot_of_next_to_nothing_is_a_plot(estimates: tuple[Estimate, ...], day: float) -> None:
    for baseline in (None, 0.0):
        drawn = draw(Plot(title="Rate", lines=(Line("a", (day,), estimates, 0),), say=str, baseline=baseline), "p")
        assert "nan" not in drawn
        assert "inf" not in drawn


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-0.13, 0.22, [-0.1, 0, 0.1, 0.2])])
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_lines_stand_out_from_their_ground(theme: int) -> None:
    """4.5 to 1, as the Web Content Accessibility Guidelines ask for text (level AA)."""
    themes = re.findall(r":root \{(.*?)\}", CSS, re.S)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", themes[theme]))
    for ground in ("paper", "sheet"):
        for ink in set(colours) - {"paper", "sheet", "rule"}:
            lighter, darker = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, ground)
