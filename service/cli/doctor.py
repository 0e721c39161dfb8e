"""`amity doctor`: what is there, what is wrong, and what to do about it."""

import asyncio
import ctypes
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from service.artifacts.store import Store
from service.cli.output import answer, say
from service.cli.servers import with_servers
from service.errors import AmityError, OperatorError
from service.features.definitions import FEATURES
from service.fleet.client import Fleet
from service.plugins import instantiate, load_rankers, load_sources
from service.population import snapshot
from service.repositories import migrate
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.repositories.users import Users
from service.resilience import Breaker, Deadline
from service.settings import Settings


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: `ok` None is worth knowing but not wrong."""

    check: str
    ok: bool | None
    what: str


def examine(settings: Settings, as_json: bool) -> bool:
    """Look at everything and print it; False when something is wrong. One failed check does not hide the others."""
    findings = [Finding("python", True, f"{platform.python_version()} on {platform.platform()}"), _libgomp()]
    findings += [_plugins("rankers", lambda: load_rankers(settings, FEATURES))]
    findings += [_plugins("sources", lambda: load_sources(settings))]
    try:
        with with_servers(settings) as joined:
            findings += asyncio.run(_servers(joined))
    except AmityError as exc:
        findings.append(Finding("private servers", False, exc.message))
    answer(findings, as_json, [_line(finding) for finding in findings])
    bad = [finding for finding in findings if finding.ok is False]
    if bad and not as_json:
        say(f"{len(bad)} of {len(findings)} checks failed")
    return not bad


def _libgomp() -> Finding:
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError as exc:
        return Finding("libgomp", False, f"{exc}; training needs it: install libgomp1, or start through `amity`")
    return Finding("libgomp", True, "loads")


def _plugins(group: str, load: Callable[[], Any]) -> Finding:
    try:
        installed = load()
    except AmityError as exc:
        return Finding(group, False, exc.message)
    if installed.problems:
        return Finding(group, False, "; ".join(f"{problem.name}: {problem.reason}" for problem in installed.problems))
    return Finding(group, True, ", ".join(installed.by_name))


async def _servers(settings: Settings) -> list[Finding]:
    findings = [
        await _check("redis", lambda: _redis(settings)),
        await _check("schema", lambda: _schema(settings)),
    ]
    if findings[-1].ok is not False:
        database = Database(settings.database_url)
        try:
            findings.append(await _check("people", lambda: _people(database)))
            findings += await _bundles(settings, database)
        finally:
            await database.close()
    return findings


async def _check(check: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(check, True, await look())
    except AmityError as exc:
        return Finding(check, False, exc.message)


async def _redis(settings: Settings) -> str:
    fleet = Fleet.open(settings.redis_url, settings.redis_timeout_ms / 1000, Breaker("redis"))
    try:
        replies = await fleet.run("doctor", [("INFO", "server")], Deadline(fleet.timeout_s))
    finally:
        await fleet.close()
    if replies is None or not isinstance(replies[0], bytes):
        raise OperatorError("cannot be reached; answers are computed afresh meanwhile")
    about = dict(line.split(":", 1) for line in replies[0].decode().splitlines() if ":" in line)
    return f"{about.get('server_name', 'redis')} {about.get('valkey_version', about['redis_version'])}"


async def _schema(settings: Settings) -> str:
    await migrate.require_current(settings.database_url)
    waiting = await migrate.waiting(settings.database_url)
    contracts = f"; {', '.join(waiting)} wait for `amity migrate --contract`" if waiting else ""
    return f"revision {await migrate.current(settings.database_url)}{contracts}"


async def _people(database: Database) -> str:
    return f"{await Users(database.sessions).count():,} in the database"


async def _bundles(settings: Settings, database: Database) -> list[Finding]:
    """The live bundle must open and hold every ranker; older ones that do not open are worth knowing."""
    store = Store(settings.artifacts_url, settings.cache_path)
    records = await Bundles(database.sessions).list()
    if not any(record.live for record in records):
        return [Finding("bundle", None, "none is live; `amity train` makes one, and the fallback ranker serves")]
    findings = []
    for record in records:
        if record.live:
            findings.append(_live(settings, store, record.version))
        elif record.published_at is not None:
            findings.append(_spare(store, record.version))
    return findings


def _live(settings: Settings, store: Store, version: str) -> Finding:
    try:
        bundle = store.open(version)
        snapshot.load(bundle)
    except AmityError as exc:
        return Finding("live bundle", False, f"{exc.message}; the last good one serves: promote it, or train again")
    broken = [ranker for ranker in instantiate(load_rankers(settings, FEATURES), bundle).values() if ranker.problem]
    if broken:
        return Finding("live bundle", False, "; ".join(f"ranker {ranker.name}: {ranker.problem}" for ranker in broken))
    return Finding("live bundle", True, f"{version}, all checksums right")


def _spare(store: Store, version: str) -> Finding:
    try:
        store.check(version)
    except AmityError as exc:
        return Finding("earlier bundle", None, f"cannot be rolled back to: {exc.message}")
    return Finding("earlier bundle", True, version)


def _line(finding: Finding) -> str:
    mark = {True: "ok   ", False: "WRONG", None: "note "}[finding.ok]
    return f"{mark}  {finding.check:<16} {finding.what}"
