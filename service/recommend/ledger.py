"""What this replica counted in the last hour, by second and by minute, and which of it Redis has yet to hear."""

import heapq
from collections.abc import Collection

from service.fleet.figures import Span, cover
from service.recommend.tallies import merged

WINDOW_S = 3600


class Ledger:
    """Rows by span: 1 kB for a busy second, so 4 MB for a busy hour. What Redis has is a copy of it, for the others."""

    def __init__(self) -> None:
        self._rows: dict[Span, bytes] = {}
        self._unsent: set[Span] = set()

    def add(self, at_s: int, row: bytes) -> None:
        """Count a row in its second and its minute. A second may be added to as often as one likes."""
        second, minute = Span("s", at_s), Span("m", at_s // 60)
        if minute not in self._rows:
            self._forget(at_s)
        for span in (second, minute):
            known = self._rows.get(span)
            self._rows[span] = row if known is None else merged([known, row])
            self._unsent.add(span)

    def rows(self, after_s: int, now_s: int) -> list[bytes]:
        """Rows that hold all that was counted after second `after_s`, each thing once; at most 120."""
        return [self._rows[span] for span in cover(after_s, now_s) if span in self._rows]

    def take(self, limit: int) -> list[tuple[Span, bytes]]:
        """What is new since it was last taken: minutes before seconds, late ones before early ones."""
        spans = heapq.nlargest(limit, self._unsent, key=lambda span: (span.level == "m", span.number))
        self._unsent.difference_update(spans)
        return [(span, self._rows[span]) for span in spans]

    def put_back(self, spans: Collection[Span]) -> None:
        """These are to be taken again."""
        self._unsent.update(span for span in spans if span in self._rows)

    def put_all_back(self) -> None:
        self._unsent.update(self._rows)

    def _forget(self, now_s: int) -> None:
        """Once a minute: what no window reaches any more."""
        old = [span for span in self._rows if span.number * (60 if span.level == "m" else 1) <= now_s - WINDOW_S]
        for span in old:
            del self._rows[span]
        self._unsent.difference_update(old)
