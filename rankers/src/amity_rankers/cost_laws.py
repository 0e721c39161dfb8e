"""Laws of what scoring costs, and of what it keeps its hands off."""

import time

from amity_rankers.checks import heard, quickest_ms
from amity_rankers.contract import Ranker
from amity_rankers.suite import RankerSuite

N_CANDIDATES = 2000
LIGHT_MS = 5.0
"""What says of itself that it is light takes well under a millisecond, on any machine that may be busy just now."""
OUTSIDE = ("open", "os.listdir", "os.scandir", "os.system", "subprocess.Popen", "socket.__new__", "socket.getaddrinfo")
"""Of Python's audit events, those of files, other processes and the network."""


class CostLaws(RankerSuite):
    def test_scoring_2000_candidates_is_quick(self, ranker: Ranker) -> None:
        """By CPU time, of all threads, which does not depend on what else the machine does; the quickest of a few runs."""
        most_ms = min(self.most_ms, LIGHT_MS) if self.factory().light else self.most_ms
        batch = self.batch(self.matrix(N_CANDIDATES, seed=13))
        took_ms = quickest_ms(lambda: ranker.score(batch), time.process_time)
        said = "it says of itself that it is light" if self.factory().light else "most_ms"
        assert took_ms <= most_ms, f"{N_CANDIDATES} candidates take {took_ms:.1f} ms, and {most_ms:g} are allowed ({said})"

    def test_scoring_waits_for_nothing(self, ranker: Ranker) -> None:
        """For no lock, sleep or answer from elsewhere: it takes about as long as it computes. Ten times as long is forgiven, for
        the sake of busy machines."""
        batch = self.batch(self.matrix(N_CANDIDATES, seed=13))
        busy_ms = quickest_ms(lambda: ranker.score(batch), time.process_time)
        took_ms = quickest_ms(lambda: ranker.score(batch), time.perf_counter)
        assert took_ms <= 10 * busy_ms + self.most_ms, f"scoring takes {took_ms:.0f} ms, of which it computes {busy_ms:.1f}"

    def test_scoring_reaches_for_nothing_outside(self, ranker: Ranker) -> None:
        batch = self.batch(self.matrix(50, seed=14))
        ranker.score(batch)  # what is imported when first needed is read from files, once
        with heard(*OUTSIDE) as events:
            ranker.score(batch)
        assert not events, f"scoring reaches for files, processes or the network: {', '.join(events)}"
