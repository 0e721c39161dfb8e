"""The suite notices rankers that are slow, wait, reach outside, take much memory or unpickle."""

import pickle
import socket
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amity_rankers.contract import RankingBatch

from rankers.tests.sound import Scorer, Sound, scoring, sound, suite


def after(deed: Callable[[], object]) -> Callable[[RankingBatch], Any]:
    """Scores as they should be, and something else done before."""

    def score(batch: RankingBatch) -> Any:
        deed()
        return sound(batch)

    return score


def test_slow_scoring_fails() -> None:
    checked = scoring(after(lambda: sum(range(1_500_000))))
    with pytest.raises(AssertionError, match="says of itself that it is light"):
        checked.test_scoring_2000_candidates_is_quick(checked.kept())
    checked = suite(light=False, train=lambda self, examples: Scorer(after(lambda: sum(range(1_500_000)))))
    checked.test_scoring_2000_candidates_is_quick(checked.kept())  # 60 ms are allowed
    checked.most_ms = 1.0  # type: ignore[misc]
    with pytest.raises(AssertionError, match="most_ms"):
        checked.test_scoring_2000_candidates_is_quick(checked.kept())


def test_waiting_fails_though_it_takes_no_cpu() -> None:
    checked = scoring(after(lambda: time.sleep(0.1)))
    checked.test_scoring_2000_candidates_is_quick(checked.kept())
    with pytest.raises(AssertionError, match="scoring takes 1"):
        checked.test_scoring_waits_for_nothing(checked.kept())


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (Path(__file__).read_text, "open .*test_testing"),
        (lambda: socket.socket().close(), "socket"),
        (lambda: list(Path(__file__).parent.iterdir()), "os.listdir|os.scandir"),
    ],
    ids=["a file", "a socket", "a folder"],
)
def test_reaching_outside_fails(deed: Callable[[], object], said: str) -> None:
    checked = scoring(after(deed))
    with pytest.raises(AssertionError, match=said):
        checked.test_scoring_reaches_for_nothing_outside(checked.kept())


def test_pickle_in_plain_bytes_fails() -> None:
    def dump(self: Sound, ranker: Any) -> dict[str, Any]:
        return {"nothing": np.frombuffer(pickle.dumps(Fraction(1, 3)), np.uint8)}

    def load(self: Sound, arrays: Mapping[str, Any]) -> Scorer:
        pickle.loads(arrays["nothing"].tobytes())
        return Scorer(sound)

    checked = suite(dump=dump, load=load)
    checked.test_dump_holds_plain_arrays_only(checked.kept())  # as far as one can see
    with pytest.raises(AssertionError, match=r"unpickles .*fractions Fraction"):
        checked.test_loading_unpickles_nothing(checked.kept())


def test_large_rankers_fail() -> None:
    def load(self: Sound, arrays: Mapping[str, Any]) -> Scorer:
        table = np.ones(3_000_000)
        return Scorer(lambda batch: sound(batch) * np.float32(table[0]))

    for broken, said in (
        (suite(load=load), "to load and score"),
        (suite(dump=lambda *_: {"nothing": np.ones(3_000_000)}), "arrays"),
    ):
        broken.test_ranker_takes_little_memory(broken.kept())
        broken.most_mb = 20.0  # type: ignore[misc]
        with pytest.raises(AssertionError, match=said):
            broken.test_ranker_takes_little_memory(broken.kept())
