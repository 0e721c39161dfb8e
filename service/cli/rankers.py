"""`amity rankers`: which there are, whether one keeps its contract, and a package for a new one."""

import asyncio
from pathlib import Path

import msgspec

from service.artifacts.bundle import Bundle
from service.artifacts.store import Store
from service.cli.output import answer, say, table
from service.cli.servers import with_servers
from service.embedded.places import Home
from service.errors import AmityError
from service.plugins import Installed, Problem, instantiate
from service.repositories import migrate
from service.repositories.bundles import Bundles
from service.repositories.database import Database
from service.scaffold import check as contract
from service.scaffold.check import Law
from service.scaffold.installed import installed_rankers
from service.scaffold.naming import naming_of
from service.scaffold.package import write_package
from service.settings import Settings


class RankerRow(msgspec.Struct, frozen=True, kw_only=True):
    """A ranker that some distribution registers or a setting names. `role`: `default`, `fallback` or none. `loaded`: from the
    live bundle, if it needs one; `problem`: why not, or why it is left out altogether."""

    name: str
    version: str | None
    distribution: str
    distribution_version: str
    role: str | None
    needs_bundle: bool | None
    loaded: bool
    bundle_version: str | None
    problem: str | None


def show(settings: Settings, as_json: bool) -> None:
    """All registered rankers, and why one does not serve. A database that is away hides no ranker."""
    bundle, unknown = None, ""
    try:
        bundle = _live_bundle(settings)
    except AmityError as exc:
        unknown = exc.message
    rows = _rows(settings, bundle, unknown)
    if as_json:
        answer(rows, True, [])
        return
    columns = ["name", "version", "distribution", "needs a bundle", "state"]
    table("Rankers", columns, [_cells(row) for row in rows])
    say(f"live bundle: {bundle.version if bundle else unknown or 'none'}")


def check(name: str, law_s: float, as_json: bool) -> bool:
    """Hold an installed ranker or source to its contract; False when it breaks a law."""
    laws = contract.check(name, law_s)
    broken = [law for law in laws if not law.ok]
    kinds = " and ".join(dict.fromkeys(law.kind for law in laws))
    apply = [law for law in laws if law.applies]
    verdict = f"{kinds} {name}: {len(apply) - len(broken)} of {len(apply)} laws hold"
    answer(
        {"name": name, "ok": not broken, "laws": laws},
        as_json,
        [*map(_line, laws), verdict],
    )
    return not broken


def _line(law: Law) -> str:
    state = "FAIL" if not law.ok else "pass" if law.applies else "skip"
    return f"{state}  {law.law}: {law.reason}" if law.reason else f"{state}  {law.law}"


def new(name: str, folder: Path, as_json: bool) -> None:
    """Write the package of a new ranker."""
    place = write_package(naming_of(name), folder)
    next_steps = [
        f"{place} is ready: a ranker that learns, its tests, and how to install it in its README",
        f"  try      cd {place} && python -m pytest",
        f"  install  pip install {place}",
        f"  check    amity rankers check {name}",
    ]
    answer({"name": name, "folder": str(place)}, as_json, next_steps)


def _live_bundle(settings: Settings) -> Bundle | None:
    """What the rankers load from. Raises AmityError when nobody can tell. Nothing is started to find that nothing is there."""
    if not settings.database_url and not Home(settings.home_path).data.exists():
        return None
    with with_servers(settings, redis=False) as joined:
        return asyncio.run(_opened(joined))


async def _opened(settings: Settings) -> Bundle | None:
    await migrate.require_current(settings.database_url)
    database = Database(settings.database_url)
    try:
        record = await Bundles(database.sessions).live()
    finally:
        await database.close()
    return None if record is None else Store(settings.artifacts_url, settings.cache_path).open(record.version)


def _rows(settings: Settings, bundle: Bundle | None, unknown: str) -> list[RankerRow]:
    """`unknown`: why nobody can tell what the live bundle is; then no ranker that needs one is said to be ready."""
    roles = {settings.fallback_ranker: "fallback", settings.default_ranker: "default"}
    installed, problems = installed_rankers(settings)
    rows = [_left_out(problem, roles.get(problem.name)) for problem in problems]
    for name, ranker in instantiate(Installed(installed, ()), bundle).items():
        rows.append(
            RankerRow(
                name=name,
                version=ranker.version,
                distribution=ranker.distribution,
                distribution_version=ranker.distribution_version,
                role=roles.get(name),
                needs_bundle=ranker.needs_bundle,
                loaded=ranker.ranker is not None,
                bundle_version=bundle.version if bundle and ranker.needs_bundle and ranker.ranker is not None else None,
                problem=unknown if ranker.problem and unknown else ranker.problem,
            )
        )
    return sorted(rows, key=lambda row: row.name)


def _left_out(problem: Problem, role: str | None) -> RankerRow:
    origins = [origin.rpartition(" ") for origin in problem.distributions]
    return RankerRow(
        name=problem.name,
        version=None,
        distribution=", ".join(distribution for distribution, _, _ in origins),
        distribution_version=", ".join(version for _, _, version in origins),
        role=role,
        needs_bundle=None,
        loaded=False,
        bundle_version=None,
        problem=problem.reason,
    )


def _cells(row: RankerRow) -> list[str]:
    state = f"loaded from {row.bundle_version}" if row.bundle_version else "loaded" if row.loaded else f"{row.problem}"
    needs = {True: "yes", False: "no", None: ""}[row.needs_bundle]
    name = f"{row.name} ({row.role})" if row.role else row.name
    return [name, row.version or "", f"{row.distribution} {row.distribution_version}".strip(), needs, state]
