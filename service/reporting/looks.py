"""From what the database counted to what the statistics take: one table for each look at an experiment. Pure.

Each look sees what had happened by then, so that intervals can be shown as they would have been on each day.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain_experiments import ClusterMap
from service.experiments.outcomes import Credits, Floats, Ints, Outcomes
from service.repositories.outcomes import Observed

MOST_LOOKS = 60
"""Of a longer experiment every second or third day is looked at, and so on."""
_NEVER = np.iinfo(np.int64).max


class Moment(msgspec.Struct, frozen=True):
    """A look: `days` whole days since the start; it sees what happened on the days before `before`, counted from 0."""

    days: int
    before: int


def moments(days: float) -> tuple[Moment, ...]:
    """The end of each whole day, thinned out, and now: at least one."""
    whole = int(days)
    step = -(-whole // MOST_LOOKS) or 1
    ends = [Moment(day, day) for day in range(whole % step or step, whole + 1, step)]
    return (*ends, *([Moment(whole, whole + 1)] if days > whole or not ends else []))


class Table(msgspec.Struct, frozen=True, eq=False):
    """The rows, one for each viewer and arm, and where each thing that was counted belongs. `crossed`: rows left out since
    their unit was seen in two arms: nobody can say which of them changed it. `alien`: those that no cluster has."""

    observed: Observed
    viewer: Ints
    unit: Ints
    arm: Ints
    first_day: Ints
    kept: NDArray[np.bool_]
    given_row: Ints
    liked_row: Ints
    crossed: int
    alien: int

    def outcomes(self, moment: Moment) -> Outcomes:
        """What statistics of A/B take."""
        given, before = self.observed.given, self.observed.before
        columns = {
            "slates": self._given(moment, given.slates),
            "shown": self._given(moment, given.shown),
            "likes": self._likes(moment),
            "matches": self._matches(moment),
            "pre_shown": self._before(before.shown_viewer, before.shown),
            "pre_likes": self._before(before.viewer, before.likes),
            "pre_opinions": self._before(before.viewer, before.opinions),
        }
        seen = self.kept & (self.first_day < moment.before)
        rows = {"unit": self.unit, "arm": self.arm, "first_day": self.first_day, **columns}
        return Outcomes.of({name: column[seen] for name, column in rows.items()}, moment.days)

    def credits(self, moment: Moment) -> Credits:
        """What statistics of interleaving take."""
        given, team = self.observed.given, self.observed.liked.team
        columns = {
            "unit": self.unit,
            "slates": self._given(moment, given.slates),
            "first_shown": self._given(moment, given.first),
            "second_shown": self._given(moment, given.second),
            "first_likes": self._likes(moment, team == 0),
            "second_likes": self._likes(moment, team == 1),
            "first_matches": self._matches(moment, team == 0),
            "second_matches": self._matches(moment, team == 1),
        }
        seen = self.kept & (self.first_day < moment.before)
        return Credits.of({name: column[seen] for name, column in columns.items()}, moment.days)

    def touched(self) -> float | None:
        """The share of the likes that went to people who were themselves given slates by another arm; None without likes."""
        liked = self.observed.liked
        row = _places(self.viewer, liked.target)
        others = (row >= 0) & (self.arm[row] != liked.arm) if len(self.arm) else np.zeros(len(row), np.bool_)
        return float(others.mean()) if len(others) else None

    def _given(self, moment: Moment, counts: Ints) -> Floats:
        return self._sum(self.given_row, self.observed.given.day < moment.before, counts)

    def _likes(self, moment: Moment, those: NDArray[np.bool_] | None = None) -> Floats:
        done = self._liked_day() < moment.before
        return self._sum(self.liked_row, done if those is None else done & those)

    def _matches(self, moment: Moment, those: NDArray[np.bool_] | None = None) -> Floats:
        match_day = self.observed.liked.match_day
        day = np.where(match_day < 0, _NEVER, np.maximum(match_day, self._liked_day()))
        done = day < moment.before
        return self._sum(self.liked_row, done if those is None else done & those)

    def _liked_day(self) -> Ints:
        """A client's clock may put a like before the slate that it names."""
        return np.maximum(self.observed.liked.day, self.first_day[self.liked_row])

    def _before(self, viewer: Ints, counts: Ints) -> Floats:
        place = _places(viewer, self.viewer)
        found = np.concatenate([counts, [0]])[place]  # -1, nowhere, is the 0 at the end
        return found.astype(np.float64)

    def _sum(self, row: Ints, those: NDArray[np.bool_], counts: Ints | None = None) -> Floats:
        weights = None if counts is None else counts[those].astype(np.float64)
        return np.bincount(row[those], weights, len(self.viewer)).astype(np.float64)


def tabulate(observed: Observed, n_arms: int, clusters: ClusterMap | None = None) -> Table:
    """The rows of an experiment; its units are the clusters where there are any."""
    given, liked = observed.given, observed.liked
    viewers, at = np.unique(given.viewer, return_inverse=True)
    keys, given_row = np.unique(at * n_arms + given.arm, return_inverse=True)
    viewer, arm = viewers[keys // n_arms], keys % n_arms
    first_day = np.full(len(keys), _NEVER)
    np.minimum.at(first_day, given_row, given.day)
    unit = viewer if clusters is None else _clusters_of(viewer, clusters)
    crossed = _crossed(unit, arm)
    return Table(
        observed=observed,
        viewer=viewer,
        unit=unit,
        arm=arm,
        first_day=first_day,
        kept=~crossed & (unit >= 0),
        given_row=given_row,
        liked_row=np.searchsorted(keys, np.searchsorted(viewers, liked.viewer) * n_arms + liked.arm),
        crossed=int(crossed.sum()),
        alien=int((unit < 0).sum()),
    )


def _clusters_of(viewer: Ints, clusters: ClusterMap) -> Ints:
    place = _places(clusters.ids, viewer)
    return np.concatenate([clusters.clusters.astype(np.int64), [-1]])[place]


def _crossed(unit: Ints, arm: Ints) -> NDArray[np.bool_]:
    """Rows whose unit has rows in another arm, too."""
    if not len(unit):
        return np.zeros(0, np.bool_)
    _, at = np.unique(unit, return_inverse=True)
    least, most = np.full(at.max() + 1, _NEVER), np.zeros(at.max() + 1, np.int64)
    np.minimum.at(least, at, arm)
    np.maximum.at(most, at, arm)
    crossed: NDArray[np.bool_] = (least != most)[at] & (unit >= 0)
    return crossed


def _places(where: Ints, wanted: Ints) -> Ints:
    """The place of each wanted value, -1 where it is not; any one of several."""
    if not len(where):
        return np.full(len(wanted), -1)
    order = np.argsort(where, kind="stable")
    at = order[np.minimum(np.searchsorted(where, wanted, sorter=order), len(where) - 1)]
    return np.where(where[at] == wanted, at, -1)
