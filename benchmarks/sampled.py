"""`amity serve` that can say what it is at: SIGUSR1 begins to take samples, SIGUSR2 ends it and writes them.

    AMITY_...=... python -m benchmarks.sampled FILE

A sample is taken at each tick of the CPU time that the process uses (250 a second on most kernels), so what waits is not seen.
Python runs the handler when the C code at work returns: a call into C counts for the line that made it, and the event loop's own
work for the callback that it leads to. Nothing is imported here that imports numpy, which `amity serve` prepares for.
"""

import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from benchmarks.parts import frames_of, in_loop, waits

TICK_S = 0.004


def stack_of(frame: FrameType | None) -> str:
    """The frames as `function (file:line)`, the outermost first, joined by `;`: the raw format of py-spy."""
    frames = []
    while frame is not None:
        frames.append(f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return ";".join(reversed(frames))


class Sampler:
    """Counts stacks of whatever is at work, from the handler of a signal in the main thread."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._counts: Counter[str] = Counter()
        self._main = threading.get_ident()
        self._at_it = False

    def install(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, lambda *_: signal.setitimer(signal.ITIMER_PROF, TICK_S, TICK_S))
        signal.signal(signal.SIGUSR2, self._write)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        if self._at_it:  # the tick came while the one before was looked at
            return
        self._at_it = True
        self._counts.update(self._at_work(frame))
        self._at_it = False

    def _at_work(self, frame: FrameType | None) -> list[str]:
        """The event loop's thread is idle in C where others work; where none does, the work is its own."""
        threads = sys._current_frames()
        threads.pop(self._main)
        busy = [stack for each in threads.values() if not waits(frames_of(stack := stack_of(each)))]
        mine = stack_of(frame)
        return busy if busy and in_loop(frames_of(mine)) else [*busy, mine]

    def _write(self, number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        fresh = self._out.with_suffix(".new")
        fresh.write_text("".join(f"{stack} {count}\n" for stack, count in self._counts.items()))
        fresh.replace(self._out)
        self._counts.clear()


def main() -> None:
    out = Path(sys.argv[1])
    Sampler(out).install()
    sys.argv = ["amity", "serve"]
    from service.cli.main import main as amity

    amity()


if __name__ == "__main__":
    main()
