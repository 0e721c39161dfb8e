"""Who is near enough, block by block.

Rows come ordered by place, so that 512 consecutive ones are a neighbourhood: a ball. From its centre and radius follow bounds of
the distance to anybody in it, and these decide for nearly all blocks at once: everybody near enough, or only those whose own
limit reaches at least so far, whom a bitmap names. Rows between the bounds, those around the edge of somebody's circle, are
measured one by one. So the answer is always exact, and in any order of rows; out of order it is only slower.
"""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray

from service.features.geography import squared_chords
from service.population.attributes import levels, planes_at_least
from service.population.bits import BLOCK_ROWS, BLOCK_WORDS, Mask, Rows, Words, n_words, pack, sift

Doubles = NDArray[np.float64]
Lines = NDArray[np.uint64]
"""Some blocks of a bitmap, uint64 (k, 8)."""

_BLOCK_BITS = BLOCK_ROWS.bit_length() - 1

_MOST_LIMITS = 128
"""Distinct limits up to which each has its bitmap (8 bytes a person for 64): a slider in kilometres, or a handful of choices."""

_SLACK = 1e-12
"""Bounds are widened by this part, some thousand times the rounding of what they bound: so they hold for what is computed."""

_CHUNK_BLOCKS = 128


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the viewer is, float64 (3,) on the unit sphere, and squared chords: `seeks` what the viewer's preference allows,
    infinite for none, and `within` what the request demands, None for nothing: then people of unknown place pass."""

    here: Doubles
    seeks: float
    within: float | None

    @property
    def limit(self) -> float:
        return self.seeks if self.within is None else min(self.seeks, self.within)


class Places:
    """Where people are, and how far they look."""

    def __init__(self, place: Doubles, seeks_max_chord: Doubles) -> None:
        """`place` (n, 3) on the unit sphere, NaN for unknown; `seeks_max_chord` squared chords (n,), infinite for no limit."""
        self._place = place
        self._limits = seeks_max_chord
        known = ~np.isnan(place[:, 0])
        self._unknown = ~pack(known).reshape(-1, BLOCK_WORDS)
        self._centres, radii = _balls(place, known)
        self._radii = radii * (1 + _SLACK)
        # An unknown place fails nobody's limit, as if that were infinite.
        limits = np.where(known, seeks_max_chord, np.inf)
        finite = limits[np.isfinite(limits)]
        steps, is_exact = levels(finite, _MOST_LIMITS)
        self._lows = np.concatenate((steps, [np.inf]))
        # The largest limit of each step: with one value a step that value, else anything short of the next step.
        highs = steps if is_exact else np.append(np.nextafter(steps[1:], -np.inf), finite.max())
        self._highs = np.concatenate((highs, [np.inf]))
        planes = planes_at_least(limits, self._lows).reshape(len(self._lows), -1, BLOCK_WORDS)
        self._unlimited = planes[-1].copy()
        # One line a block and step, and at last the unknown: those of a block lie together, since two of them are asked for.
        self._lines = np.concatenate((planes, self._unknown[None])).transpose(1, 0, 2).reshape(-1, BLOCK_WORDS)

    def keep_near(self, words: Words, reach: Reach) -> None:
        """Take from `words` those too far for their own preference, for the viewer's, or for the request, as computed for each
        row by itself: `chord <= min(own, seeks)`, passed by the unknown too, and `chord <= within`, failed by the unknown."""
        grid = words.reshape(-1, BLOCK_WORDS)
        away = self._away(reach.here)
        near = (away <= self._radii + sqrt(self._last_open(reach.limit)) * (1 + _SLACK)).nonzero()[0]
        lines = grid.take(near, axis=0)
        self._keep_far(grid, reach)
        grid[near] = self._keep_some(lines, near, away.take(near), reach)

    def _keep_far(self, grid: Lines, reach: Reach) -> None:
        """As if everybody were beyond every finite limit."""
        if reach.limit == inf:
            grid &= self._unlimited
            if reach.within is not None:
                grid &= ~self._unknown
        elif reach.within is not None:
            grid[:] = 0
        else:
            grid &= self._unknown

    def _keep_some(self, lines: Lines, blocks: NDArray[np.int64], away: Doubles, reach: Reach) -> Lines:
        """What of `lines`, those of `blocks`, passes; `away`: of the centres. May write to `lines`."""
        low, high = self._bounds(away, self._radii.take(blocks))
        steps = self._lows.searchsorted(high)
        if reach.limit < inf:
            steps[high > reach.limit] = len(self._lows)  # the unknown alone are sure
        first_lines = blocks * (len(self._lows) + 1)
        sure = self._lines.take(first_lines + steps, axis=0)
        sure &= lines
        # Whoever looks no farther than the nearest of a block is out. So nobody is in doubt where all are sure.
        doubtful = self._lines.take(first_lines + self._highs.searchsorted(low), axis=0)
        doubtful &= lines
        doubtful &= ~sure
        if reach.within is not None:
            sure &= ~self._unknown.take(blocks, axis=0)
        self._measure(doubtful, blocks, reach)
        sure |= doubtful
        return sure

    def _measure(self, lines: Lines, blocks: NDArray[np.int64], reach: Reach) -> None:
        """Take from `lines`, those of `blocks`, in place, the rows that are too far, each measured."""
        ahead = (blocks - np.arange(len(blocks))) * BLOCK_ROWS

        def near_enough(found: Rows) -> Mask:
            rows = ahead.take(found >> _BLOCK_BITS) + found
            chords = squared_chords(self._place.take(rows, axis=0), reach.here)
            return np.asarray(chords <= np.minimum(self._limits.take(rows), reach.limit), np.bool_)

        sift(lines.reshape(-1), near_enough)

    def _last_open(self, limit: float) -> float:
        """The squared chord beyond which all blocks are alike."""
        if limit < inf:
            return limit
        return float(self._highs[-2]) if len(self._highs) > 1 else 0.0

    def _away(self, here: Doubles) -> Doubles:
        """How far the centres are, chords, float64 (n_blocks,)."""
        off = self._centres - here[:, None]
        off *= off
        squared: Doubles = np.add.reduce(off, axis=0)
        return np.sqrt(squared, out=squared)

    def _bounds(self, away: Doubles, radii: Doubles) -> tuple[Doubles, Doubles]:
        """Squared chords, float64 (k,) each, that nobody of a block is nearer than, and farther than."""
        low = np.maximum(away * (1 - _SLACK) - radii, 0.0)
        high = away * (1 + _SLACK) + radii
        return low * low, high * high


def _balls(place: Doubles, known: NDArray[np.bool_]) -> tuple[Doubles, Doubles]:
    """Centres (3, n_blocks) and radii (n_blocks,) of balls that hold each block's known places; any ball if there are none."""
    n_blocks = n_words(len(place)) // BLOCK_WORDS
    centres, radii = np.zeros((3, n_blocks)), np.zeros(n_blocks)
    for first in range(0, n_blocks, _CHUNK_BLOCKS):
        some = slice(first * BLOCK_ROWS, (first + _CHUNK_BLOCKS) * BLOCK_ROWS)
        blocks = slice(first, first + _CHUNK_BLOCKS)
        axes = np.where(known[some], place[some].T, np.nan)
        starts = np.arange(0, axes.shape[1], BLOCK_ROWS)
        middles = (np.fmin.reduceat(axes, starts, axis=1) + np.fmax.reduceat(axes, starts, axis=1)) / 2
        sizes = np.diff(np.append(starts, axes.shape[1]))
        x, y, z = axes - np.repeat(middles, sizes, axis=1)
        radii[blocks] = np.nan_to_num(np.sqrt(np.fmax.reduceat(x * x + y * y + z * z, starts)))
        centres[:, blocks] = np.nan_to_num(middles)
    return centres, radii
