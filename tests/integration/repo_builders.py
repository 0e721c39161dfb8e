"""People and deeds for the tests of the repositories."""

from datetime import UTC, datetime, timedelta
from typing import Any

from service.domain import Interaction, Kind, Profile
from service.domain_experiments import ClusterMap
from service.repositories.calls import write
from service.repositories.changes import prune
from service.repositories.clusters import unpack
from service.repositories.database import Database
from service.repositories.experiments import Experiments
from service.repositories.users import Users

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def person(user_id: int, **fields: Any) -> Profile:
    given: dict[str, Any] = {"id": user_id, "name": f"Person {user_id}", "created_at": NOON} | fields
    return Profile(**given)


def did(actor_id: int, kind: Kind, target_id: int, minute: float = 0, **fields: Any) -> Interaction:
    occurred_at = NOON + timedelta(minutes=minute)
    return Interaction(actor_id=actor_id, target_id=target_id, kind=kind, occurred_at=occurred_at, **fields)


async def pruned(database: Database, days: int) -> int:
    """How many changes were older, and are gone."""
    return await write(database.sessions, lambda session: prune(session, days))


async def settle(database: Database, n_people: int) -> None:
    """People 1 to n."""
    await Users(database.sessions).put_many([person(user_id) for user_id in range(1, n_people + 1)])


async def stored_clusters(experiments: Experiments, name: str = "trial") -> ClusterMap | None:
    packed = await experiments.packed_clusters(name)
    return None if packed is None else unpack(packed)
