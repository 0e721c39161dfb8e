"""Which part of a layer an experiment has: half-open ranges of the 10,000 buckets, in the order in which it was given them."""

from collections.abc import Iterable, Sequence

from service.domain_experiments import N_BUCKETS, Experiment
from service.errors import ExperimentConflict

Ranges = tuple[tuple[int, int], ...]


def size(ranges: Ranges) -> int:
    return sum(end - start for start, end in ranges)


def wanted(traffic: float) -> int:
    """How many buckets a share of traffic takes: at least one."""
    return max(int(traffic * N_BUCKETS + 0.5), 1)


def holders(experiment: Experiment, running: Iterable[Experiment]) -> list[Experiment]:
    """The others that run in its layer; nobody where it has none."""
    if experiment.layer is None:
        return []
    return [other for other in running if other.layer == experiment.layer and other.name != experiment.name]


def given(experiment: Experiment, running: Sequence[Experiment]) -> Ranges:
    """Its buckets for its traffic: those that it has, cut at the end, or with the first free ones of its layer appended.

    Raises ExperimentConflict, naming the layer, what is free and who holds the rest, where too few are free.
    """
    own, n_wanted = experiment.buckets, wanted(experiment.traffic)
    n_more = n_wanted - size(own)
    if n_more <= 0:
        return _first(own, n_wanted)
    others = holders(experiment, running)
    free = _free([*own, *(taken for other in others for taken in other.buckets)])
    if n_more > size(free):
        raise ExperimentConflict(_too_full(experiment, others, n_wanted, size(free) + size(own)))
    return _joined([*own, *_first(free, n_more)])


def _first(ranges: Iterable[tuple[int, int]], n: int) -> Ranges:
    """The first n buckets of ranges."""
    kept = []
    for start, end in ranges:
        taken = min(end - start, n)
        if taken:
            kept.append((start, start + taken))
        n -= taken
    return tuple(kept)


def _free(taken: Iterable[tuple[int, int]]) -> Ranges:
    """What no range covers, ascending."""
    free, at = [], 0
    for start, end in sorted(taken):
        if start > at:
            free.append((at, start))
        at = max(at, end)
    if at < N_BUCKETS:
        free.append((at, N_BUCKETS))
    return tuple(free)


def _joined(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The same buckets in the same order; a range that goes on where the one before it ends is one with it."""
    joined = [ranges[0]]
    for start, end in ranges[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _too_full(experiment: Experiment, others: Sequence[Experiment], n_wanted: int, n_free: int) -> str:
    held = ", ".join(f"{other.name} ({_share(size(other.buckets))})" for other in others)
    return (
        f"layer {experiment.layer!r} has {_share(n_free)} of its traffic free, and {experiment.name!r} asks for "
        f"{_share(n_wanted)}; the rest is held by {held}"
    )


def _share(n: int) -> str:
    return f"{n / N_BUCKETS:.2%}"
