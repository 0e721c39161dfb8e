"""Curves of retrieval: recall and time against the share who pass the filters, and against the number of people."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.scale_results import Cell

_NAMES = {"amity": "Amity", "ivf": "FAISS IVF, nlist/32", "ivf tuned": "FAISS IVF, tuned", "hnsw": "FAISS HNSW"}
_COLOURS = {"amity": "#c2255c", "ivf": "#1c7ed6", "ivf tuned": "#74b816", "hnsw": "#868e96"}
_LINES = {"correlated": "-", "independent": "--"}
_SHARES_BY_SIZE = (0.3, 0.05, 0.01, 0.001)

Value = Callable[[Cell], float]

_PANELS: tuple[tuple[str, Value], ...] = (
    ("recall@100, mutual", lambda cell: cell.recall["mutual"]),
    ("recall@100, content", lambda cell: cell.recall["content"]),
    ("p50 of both searches, ms", lambda cell: cell.ms["total"][0]),
    ("p99 of both searches, ms", lambda cell: cell.ms["total"][1]),
)


def draw(cells: Sequence[Cell], folder: Path) -> list[Path]:
    """Write one picture a population size, and one across sizes when there are several; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = [cell for cell in cells if cell.n_eligible >= 1]
    sizes = sorted({cell.n_people for cell in cells})
    paths = [_by_share([cell for cell in cells if cell.n_people == n], n, folder / f"selectivity-{n}.png") for n in sizes]
    return [*paths, _by_size(cells, folder / "size.png")] if len(sizes) > 1 else paths


def _by_share(cells: Sequence[Cell], n: int, path: Path) -> Path:
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for axis, (title, value) in zip(axes.flat, _PANELS, strict=True):
        for kind in _kinds(cells):
            for variety, line in _LINES.items():
                some = sorted(
                    (each for each in cells if (each.kind, each.variety) == (kind, variety)), key=lambda each: -each.share
                )
                shares, values = [each.share * 100 for each in some], [value(each) for each in some]
                axis.plot(shares, values, line, marker=".", color=_COLOURS[kind], label=f"{_NAMES[kind]}, {variety}")
        _dress(axis, title, "people who pass, %")
        axis.invert_xaxis()
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(f"{n:,} people, one core; Amity's times include the mask, the others' do not")
    return _saved(figure, path)


def _by_size(cells: Sequence[Cell], path: Path) -> Path:
    figure = Figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(len(_PANELS) - 1, len(_SHARES_BY_SIZE), sharey="row")
    panels = [panel for panel in _PANELS if "content" not in panel[0]]
    for across, (title, value) in zip(axes, panels, strict=True):
        for axis, share in zip(across, _SHARES_BY_SIZE, strict=True):
            for kind in _kinds(cells):
                for variety, line in _LINES.items():
                    some = [each for each in cells if (each.kind, each.variety, each.share) == (kind, variety, share)]
                    some.sort(key=lambda each: each.n_people)
                    sizes, values = [each.n_people for each in some], [value(each) for each in some]
                    axis.plot(sizes, values, line, marker=".", color=_COLOURS[kind], label=f"{_NAMES[kind]}, {variety}")
            _dress(axis, f"{title}, {share * 100:g} %", "people")
            axis.set_xticks(sorted({cell.n_people for cell in cells}))
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return _saved(figure, path)


def _kinds(cells: Sequence[Cell]) -> list[str]:
    return [kind for kind in _NAMES if any(cell.kind == kind for cell in cells)]


def _dress(axis: Any, title: str, below: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(below)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3)
    if title.startswith("recall"):
        axis.set_ylim(0, 1.03)
        axis.axhline(0.97, color="black", linewidth=0.7, linestyle=":")
    else:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=110)
    return path
