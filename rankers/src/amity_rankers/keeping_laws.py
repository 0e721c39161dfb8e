"""Laws of how a trained ranker is kept in a bundle, and of what every replica then holds."""

import numpy as np
import pytest

from amity_rankers.checks import assert_probabilities, grown_mb, heard
from amity_rankers.contract import Arrays, Ranker
from amity_rankers.suite import RankerSuite


class KeepingLaws(RankerSuite):
    def kept_arrays(self, ranker: Ranker) -> Arrays:
        """What a bundle would give back: the same, read-only, as they are when mapped from disk."""
        arrays = {name: np.array(values) for name, values in self.factory().dump(ranker).items()}
        for values in arrays.values():
            values.flags.writeable = False
        return arrays

    def test_dumped_and_loaded_it_scores_identically(self, ranker: Ranker) -> None:
        batch, arrays = self.batch(self.matrix(500, seed=6)), self.kept_arrays(ranker)
        np.testing.assert_array_equal(self.factory().load(arrays).score(batch), ranker.score(batch))

    def test_dump_holds_plain_arrays_only(self, ranker: Ranker) -> None:
        for name, values in self.factory().dump(ranker).items():
            assert isinstance(values, np.ndarray), name
            assert values.dtype.kind in "biuf", f"{name} is {values.dtype}: booleans, integers and floats; text as uint8"

    def test_arrays_that_do_not_fit_are_refused(self) -> None:
        if self.factory().needs_bundle:
            with pytest.raises(ValueError):  # noqa: PT011 - the words are the plug-in's own
                self.factory().load({})
        else:
            assert_probabilities(self.factory().load({}).score(self.batch(self.matrix(5, seed=7))), 5)

    def test_loading_unpickles_nothing(self, ranker: Ranker) -> None:
        """A pickle is a program: whoever can write to the store of bundles could have every replica run it. As bytes it looks
        like any other array, so this listens for what unpickling looks up."""
        arrays = self.kept_arrays(ranker)
        with heard("pickle.find_class") as names:
            self.factory().load(arrays)
        assert not names, f"loading unpickles {', '.join(names)}: dump plain arrays"

    def test_ranker_takes_little_memory(self, ranker: Ranker) -> None:
        arrays = self.kept_arrays(ranker)
        batch = self.batch(self.matrix(2000, seed=12))
        mapped_mb = sum(values.nbytes for values in arrays.values()) / 1e6
        taken_mb = grown_mb(lambda: self.factory().load(arrays).score(batch))
        assert mapped_mb <= self.most_mb, f"its arrays take {mapped_mb:.0f} MB, and {self.most_mb:g} are allowed (most_mb)"
        assert taken_mb <= self.most_mb, (
            f"it takes {taken_mb:.0f} MB to load and score, and {self.most_mb:g} are allowed (most_mb)"
        )
