"""What an experiment leaves behind, written as the service writes it: slates, likes, and the people they are about."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from service.domain import ExperimentArm, Impression, Interaction, Kind, Profile, ShownPeople
from service.domain_experiments import Window
from service.repositories.database import Database
from service.repositories.impressions import Impressions
from service.repositories.interactions import Interactions
from service.repositories.outcomes import Asked
from service.repositories.users import Users

START = datetime(2026, 10, 5, 9, 30, tzinfo=UTC)
LONG_AGO = START - timedelta(days=400)


def at(day: float) -> datetime:
    """Days since the start of the experiment."""
    return START + timedelta(days=day)


def asked(days: float, arms: Sequence[str] = ("control", "treatment"), with_teams: bool = False) -> Asked:
    return Asked("trial", tuple(arms), Window(START, at(days)), with_teams)


def slate(viewer_id: int, shown: Sequence[int], day: float, arm: str | None = "control", **changes: Any) -> Impression:
    """A slate of the experiment `trial`, or of none."""
    n = len(shown)
    people = ShownPeople(
        candidate_ids=tuple(shown), scores=(0.5,) * n, propensities=(1.0,) * n, exploration=(False,) * n, sources=((),) * n
    )
    values: dict[str, Any] = {
        "slate_id": uuid4(),
        "request_id": "request",
        "viewer_id": viewer_id,
        "served_at": at(day),
        "algorithm_version": "v1",
        "bundle_version": None,
        "experiment": None if arm is None else ExperimentArm("trial", arm),
        "pool_id": uuid4(),
        "people": people,
        "cached": False,
        "degraded": False,
    }
    return Impression(**values | changes)


class Log:
    """Writes into one database."""

    def __init__(self, database: Database) -> None:
        self._sessions = database.sessions

    async def people(self, n: int, newcomers: Sequence[int] = (), day: float = 0) -> None:
        """People 1 to n, who joined long ago, but for the newcomers, who joined on that day."""
        joined = {who: at(day) for who in newcomers}
        profiles = [Profile(id=who, name="P", created_at=joined.get(who, LONG_AGO)) for who in range(1, n + 1)]
        await Users(self._sessions).put_many(profiles)

    async def gave(self, *slates: Impression) -> None:
        await Impressions(self._sessions).write(slates)

    async def did(self, actor_id: int, target_id: int, day: float, slate_id: UUID | None = None, kind: Kind = Kind.LIKE) -> None:
        act = Interaction(actor_id=actor_id, target_id=target_id, kind=kind, occurred_at=at(day), slate_id=slate_id)
        await Interactions(self._sessions).record([act])
