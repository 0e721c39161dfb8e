"""`amity up` and `amity serve`: from whatever is there to a replica that answers."""

import asyncio
import contextlib
import gc
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

import msgspec
import uvicorn

from service.app import build_server, preflight
from service.cli.output import say
from service.cli.servers import require_urls, with_servers
from service.errors import OperatorError
from service.repositories import migrate
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.users import Users
from service.settings import Settings

INTERRUPTED = (130, -signal.SIGINT, -signal.SIGTERM)
GREET_POLL_S = 0.05
COLLECT_AFTER = (10_000, 20, 100)
"""Thresholds of the garbage collector's three generations, where Python's own are 700, 10 and 10."""


@dataclass(frozen=True)
class State:
    """What `up` finds. A demo fill that was cut off has left nobody."""

    n_people: int
    bundle_live: bool


def up(settings: Settings, demo_people: int, demo_seed: int) -> None:
    """All steps from an empty machine to a served replica; each is skipped where its result is there already."""
    _stop_in_good_order()
    with bind(settings) as listener, with_servers(settings) as joined:
        is_private = not settings.database_url  # others may use an operator's, and want to go back
        revisions = asyncio.run(migrate.upgrade(joined.database_url, contract=is_private))
        say(f"Schema: {'migrated' if revisions else 'up to date'}")
        state = asyncio.run(_look(joined))
        if state.n_people == 0:
            _child("demo", "--people", str(demo_people), "--seed", str(demo_seed))
        if not state.bundle_live:
            _child("train")
        _serve(joined, listener, greet=True)
    say("Stopped; nothing of it is running any more.")


def serve(settings: Settings, embedded: bool) -> None:
    """One replica until it is told to stop."""
    if not embedded:
        require_urls(settings)
    _stop_in_good_order()
    with bind(settings) as listener, with_servers(settings) as joined:
        if not settings.database_url:
            asyncio.run(migrate.upgrade(joined.database_url, contract=True))
        _serve(joined, listener, greet=False)


def _stop_in_good_order() -> None:
    """SIGTERM unwinds like Ctrl-C, so that children and private servers are let go. uvicorn too raises it again when it has
    stopped, which would otherwise end the process there and then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def bind(settings: Settings) -> socket.socket:
    """The listening address, taken before any long work, so that an occupied port is known at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as exc:
        listener.close()
        reason = exc.strerror or str(exc)
        raise OperatorError(f"cannot listen on {settings.host}:{settings.port} (AMITY_PORT): {reason}") from exc
    listener.set_inheritable(False)
    return listener


async def _look(settings: Settings) -> State:
    database = Database(settings.database_url)
    try:
        return State(
            n_people=await Users(database.sessions).count(),
            bundle_live=await Bundles(database.sessions).live() is not None,
        )
    finally:
        await database.close()


def _child(*arguments: str) -> None:
    """Another `amity` command in a process of its own: training wants all cores, serving one thread per caller."""
    child = subprocess.Popen([sys.executable, "-m", "service.cli", *arguments])
    try:
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if code in INTERRUPTED:
        raise KeyboardInterrupt
    command = f"`amity {' '.join(arguments)}`"
    if code < 0:
        raise OperatorError(f"{command} was ended by {signal.Signals(-code).name}")
    if code:
        raise OperatorError(f"{command} failed; see above")


def _serve(settings: Settings, listener: socket.socket, greet: bool) -> None:
    host, port = listener.getsockname()[:2]
    settings = msgspec.structs.replace(settings, host=host, port=port)
    asyncio.run(preflight(settings))
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server = build_server(settings)
    runner = asyncio.Runner(loop_factory=server.config.get_loop_factory())  # uvloop, as build_server has it
    with contextlib.suppress(KeyboardInterrupt), runner:
        runner.run(_until_stopped(server, listener, greeting(url) if greet else [f"Amity serves on {url}"]))
    if not server.started:
        raise OperatorError(f"the service at {url} did not start; the log above says why")


async def _until_stopped(server: uvicorn.Server, listener: socket.socket, lines: list[str]) -> None:
    greeter = asyncio.create_task(_greet(server, lines))
    try:
        await server.serve(sockets=[listener])
    except OSError as exc:
        raise OperatorError(f"cannot listen (AMITY_PORT): {exc.strerror or exc}") from exc
    finally:
        greeter.cancel()


async def _greet(server: uvicorn.Server, lines: list[str]) -> None:
    while not server.started:  # noqa: ASYNC110 - uvicorn has a flag, not an event
        await asyncio.sleep(GREET_POLL_S)
    rest_the_collector()
    for line in lines:
        say(line)


def rest_the_collector() -> None:
    """What is there once a replica has started stays to its end: the collector need not look through it again. It looked at
    160,000 objects and more each time, 50 to 90 ms in which nobody was answered. Requests leave few cycles behind, so it comes by
    less often, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def greeting(url: str) -> list[str]:
    """What a person sees once the service answers."""
    path = "/api/v1/recommendations/users/1/recommendations?limit=20"
    return [
        f"Amity serves on {url}",
        f"  try      curl -s '{url}{path}'",
        f"  console  {url}/console",
        f"  schema   {url}/schema",
        "  stop     Ctrl-C",
    ]
