"""A profile is read by the parts of a request: each stack belongs to one, and threads that wait to none."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmarks.parts import hottest, in_loop, parse, part_of, parts, waits
from benchmarks.sampled import Sampler, stack_of

RUN = "run (/usr/lib/python3.11/asyncio/runners.py:118)"
OBSERVED = "__call__ (/home/a/amity/service/controllers/exchange.py:80)"
RECOMMEND = "recommend (/home/a/amity/service/recommend/orchestrator.py:70)"
REDIS = "execute (/venv/lib/python3.11/site-packages/redis/asyncio/client.py:9)"
TASKS = "wait_for (/usr/lib/python3.11/asyncio/tasks.py:4)"
LOG = "info (/venv/lib/python3.11/site-packages/structlog/_native.py:5)"
FLUSH = "flush (/home/a/amity/service/recommend/impressions.py:60)"
OFFER = "offer (/home/a/amity/service/recommend/impressions.py:51)"
ASYNCPG = "execute (/venv/lib/python3.11/site-packages/asyncpg/connection.py:4)"
IDLE = "_work (/home/a/amity/service/threads.py:120)"


def part(*stack: str) -> str:
    return part_of(parse(f"{';'.join(stack)} 1")[0])


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ((RUN, OBSERVED), "service.controllers.exchange"),
        ((RUN, OBSERVED, RECOMMEND), "service.recommend.orchestrator"),
        ((RUN, OBSERVED, RECOMMEND, TASKS), "service.recommend.orchestrator"),
        ((RUN, OBSERVED, RECOMMEND, REDIS), "Redis client"),
        ((RUN, OBSERVED, LOG), "log lines"),
        ((RUN, FLUSH, ASYNCPG), "impressions written"),
        ((RUN, OBSERVED, RECOMMEND, OFFER), "service.recommend.impressions"),
        ((RUN, OBSERVED, RECOMMEND, ASYNCPG), "PostgreSQL client"),
        ((RUN,), "other"),
    ],
)
def test_a_stack_belongs_to_the_innermost_part_or_to_the_work_within_which_it_is_done(stack: tuple[str, ...], name: str) -> None:
    assert part(*stack) == name


def test_the_event_loop_under_our_command_is_a_part_of_its_own() -> None:
    assert part("_serve (/home/a/amity/service/cli/run.py:120)", RUN) == "event loop, nothing of ours on the stack"


def test_samples_are_counted_by_part_without_threads_that_wait() -> None:
    lines = [f"{RUN};{OBSERVED} 3\n", f"{RUN};{OBSERVED};{TASKS} 2\n", f"{IDLE} 50\n"]
    assert parts(lines) == {"service.controllers.exchange": 5}


def test_the_hottest_functions_are_those_in_which_samples_ended() -> None:
    lines = [f"{OBSERVED};{TASKS} 2", f"{RECOMMEND};{TASKS} 3", f"{OBSERVED} 1"]
    assert hottest(lines, 1) == [("asyncio/tasks.py:wait_for", 5)]


def test_threads_that_wait_and_the_bare_event_loop_are_told_from_work() -> None:
    idle, loop, busy = (parse(f"{stack} 1")[0] for stack in (IDLE, RUN, f"{RUN};{OBSERVED}"))
    assert [waits(idle), waits(loop), waits(busy)] == [True, False, False]
    assert [in_loop(idle), in_loop(loop), in_loop(busy)] == [False, True, False]


def test_names_of_classes_are_left_out_of_functions() -> None:
    assert parse("Condition.wait (threading.py:3) 7") == ([("threading.py", "wait")], 7)


def test_a_stack_of_ours_is_read_like_one_of_py_spy() -> None:
    frames, _ = parse(f"{stack_of(sys._getframe())} 1")
    file, function = frames[-1]
    assert Path(file).name == Path(__file__).name
    assert function == "test_a_stack_of_ours_is_read_like_one_of_py_spy"


def test_a_sampler_counts_what_the_process_is_at(tmp_path: Path) -> None:
    def burn() -> None:
        end_s = time.process_time() + 0.2
        while time.process_time() < end_s:
            sum(range(1000))

    before = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGUSR1, signal.SIGUSR2)}
    out = tmp_path / "samples"
    try:
        Sampler(out).install()
        os.kill(os.getpid(), signal.SIGUSR1)
        burn()
        os.kill(os.getpid(), signal.SIGUSR2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert any("burn" in line for line in out.read_text().splitlines())
