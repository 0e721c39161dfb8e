"""`amity migrate`: the schema forward and back."""

import asyncio
from dataclasses import dataclass

from service.cli.output import answer
from service.cli.servers import with_servers
from service.errors import BadSetting
from service.repositories import migrate
from service.settings import Settings


@dataclass(frozen=True)
class Way:
    """How `migrate` goes: with what contracts, or back to a revision; `wait_s`: how long it tries for a lock."""

    contract: bool
    back_to: str | None
    wait_s: float


def move(settings: Settings, way: Way, as_json: bool) -> None:
    """Schema forward or back, and what still waits."""
    if way.contract and way.back_to is not None:
        raise BadSetting("--contract goes forward and --back-to goes back; give one of them")
    with with_servers(settings, redis=False) as joined:
        moved = asyncio.run(_moved(joined.database_url, way))
    lines = [f"{verb} {revision}" for verb in ("applied", "undone") for revision in moved[verb]]
    lines = lines or ["the schema is up to date" if way.back_to is None else f"nothing was applied after {way.back_to}"]
    if moved["waiting"] and way.back_to is None:
        lines.append(f"waiting for --contract: {', '.join(moved['waiting'])}")
    answer(moved, as_json, lines)


async def _moved(url: str, way: Way) -> dict[str, list[str]]:
    applied = undone = list[str]()
    if way.back_to is None:
        applied = await migrate.upgrade(url, way.contract, way.wait_s)
    else:
        undone = await migrate.downgrade(url, way.back_to, way.wait_s)
    return {"applied": applied, "undone": undone, "waiting": await migrate.waiting(url)}
