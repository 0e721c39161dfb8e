"""What the benchmark of retrieval found, as rows with what is wanted of them, and as tables."""

from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.rows import Row

_LEAST_RECALL = 0.97
_MOST_BYTES = 700
_MOST_INDEX_S = 180
_MILLION = 1_000_000


class Cell(msgspec.Struct, frozen=True):
    """What one way of searching did at one share of one variety.

    `recall` by space: the mean over the cases; `worst_recall` that of the worst. `ms`: milliseconds (p50, p99) by part, "total"
    among them. `n_short`: searches that found fewer than there are. `plans`: how often each space was searched in which way.
    """

    n_people: int
    kind: str
    share: float
    variety: str
    n_eligible: float
    recall: dict[str, float]
    worst_recall: dict[str, float]
    ms: dict[str, tuple[float, float]]
    n_short: int
    plans: dict[str, int] = {}


class Built(msgspec.Struct, frozen=True):
    """Seconds that building took: the parts of the bundle by name, and indexes to compare with by kind, both spaces together.

    `n_wrong_masks`: of every tenth case's mask, how many are not what the rule gives column by column.
    """

    bundle_s: dict[str, float]
    baselines_s: dict[str, float]
    bundle_bytes: int
    n_wrong_masks: int


class Memory(msgspec.Struct, frozen=True):
    """Megabytes of the process by kind (VmRSS, RssAnon, RssFile): `opened` with the bundle open, `after` when traffic is over."""

    n_people: int
    open_s: float
    opened: dict[str, float]
    after: dict[str, float]
    n_requests: int


class Size(msgspec.Struct, frozen=True):
    """Everything measured of one population size. `tiny`: the memory of a process with a thousand people after such traffic."""

    n_people: int
    built: Built
    memory: Memory
    cold_open_s: float
    tiny: Memory
    cells: list[Cell]


def rows(sizes: Sequence[Size]) -> list[Row]:
    """The figures with what is wanted of them. Recall is the worse of both spaces and both varieties, times the worse variety."""
    found: list[Row] = []
    for size in sizes:
        found += [*_retrieval_rows(size), *_bundle_rows(size), *_baseline_rows(size)]
    return found


def _retrieval_rows(size: Size) -> Iterator[Row]:
    name, (p50, p99) = f"retrieval {size.n_people:,}", _wanted_ms(size.n_people)
    ours = [cell for cell in size.cells if cell.kind == "amity"]
    for share in dict.fromkeys(cell.share for cell in ours):
        some = [cell for cell in ours if cell.share == share]
        least = min(recall for cell in some for recall in cell.recall.values())
        yield Row(f"{name}: recall@100 at {percent(share)}", round(least, 4), "", _LEAST_RECALL)
        yield Row(f"{name}: p50 at {percent(share)}", max(cell.ms["total"][0] for cell in some), "ms", p50, at_most=True)
        yield Row(f"{name}: p99 at {percent(share)}", max(cell.ms["total"][1] for cell in some), "ms", p99, at_most=True)
    yield Row(f"{name}: masks unlike the plain rule", size.built.n_wrong_masks, "masks", 0, at_most=True)
    yield Row(f"{name}: searches that found too few", sum(cell.n_short for cell in ours), "searches", 0, at_most=True)


def _wanted_ms(n: int) -> tuple[float | None, float]:
    """Of p50 and p99."""
    return (6, 15) if n <= _MILLION else (None, 40)


def _bundle_rows(size: Size) -> Iterator[Row]:
    name, n = f"retrieval {size.n_people:,}", size.n_people
    open_s = 2 if n <= _MILLION else 10
    index_s = sum(seconds for step, seconds in size.built.bundle_s.items() if step.startswith(("Index", "Calibration")))
    yield Row(f"{name}: bundle opens", round(size.memory.open_s, 3), "s", open_s, at_most=True)
    yield Row(f"{name}: bundle opens, read from disk", round(size.cold_open_s, 3), "s")
    yield Row(f"{name}: index built and calibrated", index_s, "s", _MOST_INDEX_S if n <= _MILLION else None, at_most=True)
    yield Row(f"{name}: bundle written in all", sum(size.built.bundle_s.values()), "s")
    yield Row(f"{name}: resident after traffic", size.memory.after["VmRSS"], "MB")
    most = _MOST_BYTES if n >= _MILLION else None  # fewer share what a process takes anyhow
    yield Row(f"{name}: resident a person", round(bytes_a_person(size)), "bytes", most, at_most=True)
    yield Row(f"{name}: resident in all, a person", round(size.memory.after["VmRSS"] * 2**20 / n), "bytes")


def bytes_a_person(size: Size) -> float:
    """Resident memory after traffic, less that of a process with a thousand people."""
    return (size.memory.after["VmRSS"] - size.tiny.after["VmRSS"]) * 2**20 / (size.n_people - size.tiny.n_people)


def _baseline_rows(size: Size) -> Iterator[Row]:
    for cell in size.cells:
        if cell.kind != "amity" and cell.variety == "independent":
            least = min(cell.recall.values())
            yield Row(f"FAISS {cell.kind} {size.n_people:,}: recall@100 at {percent(cell.share)}", round(least, 4), "")


def table(size: Size) -> str:
    """Markdown: a line for each share and variety, and by way of searching recall of both spaces, and p50 and p99."""
    kinds = list(dict.fromkeys(cell.kind for cell in size.cells))
    found = [
        f"\n{size.n_people:,} people. Recall@100 of mutual, content; p50, p99 of both searches in ms, Amity's with the mask; "
        "warm: each case has been answered once before it is timed\n",
        f"| {'who pass':<20} | " + " | ".join(f"{kind:^26}" for kind in kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for cell in (cell for cell in size.cells if cell.kind == kinds[0]):
        same = [other for other in size.cells if (other.share, other.variety) == (cell.share, cell.variety)]
        columns = ["{:.3f} {:.3f}; {:.2f} {:.2f}".format(*each.recall.values(), *each.ms["total"]) for each in same]
        found.append(
            f"| {percent(cell.share):>6} {cell.variety:<13} | " + " | ".join(f"{column:^26}" for column in columns) + " |"
        )
    return "\n".join(found)


def choices(size: Size) -> str:
    """How often each space was searched in which way, by share and variety, and the time of the parts."""
    found = [f"\n{size.n_people:,} people: the planner's choices, and p50 of mask, mutual and content in ms"]
    for cell in (cell for cell in size.cells if cell.kind == "amity"):
        plans = ", ".join(f"{plan} {n}" for plan, n in sorted(cell.plans.items(), reverse=True))
        parts = " ".join(f"{cell.ms[part][0]:.2f}" for part in ("mask", "mutual", "content"))
        found.append(f"{percent(cell.share):>6} {cell.variety:<13} {cell.n_eligible:>12,.0f} people  {parts}  {plans}")
    return "\n".join(found)


def percent(share: float) -> str:
    return f"{share * 100:g} %"
