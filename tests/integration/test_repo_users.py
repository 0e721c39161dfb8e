"""People are stored whole, changed in part, and erased without a trace but the tombstone."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from service.domain import FeedPosition, Impression, Kind, ServedFeatures, ShownPeople, Status
from service.errors import BadInput
from service.repositories.changes import Changes
from service.repositories.database import Database
from service.repositories.impressions import Impressions
from service.repositories.interactions import Interactions
from service.repositories.users import Users, of_names
from tests.integration.repo_builders import NOON, did, person, settle

WHOLE = person(
    7,
    name="Zoë 🦊",
    age=31,
    gender="woman",
    location="Malmö",
    latitude=55.6,
    longitude=13.0,
    bio='a; b, "c" \\ {d}',
    interests=("rock, climbing", "", "null", "NULL", 'quo"te', "{x}"),
    seeks_genders=("man", "other"),
    seeks_min_age=25,
    seeks_max_age=40,
    seeks_max_km=12.5,
    status=Status.PAUSED,
    last_active_at=NOON + timedelta(microseconds=1),
)


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database.sessions)


async def test_a_profile_comes_back_as_it_was_stored(users: Users) -> None:
    assert await users.put(WHOLE) == (True, WHOLE.created_at)

    assert await users.get(7) == WHOLE


async def test_putting_again_replaces_every_field(users: Users) -> None:
    await users.put(WHOLE)
    plain = person(7)

    assert await users.put(plain) == (False, plain.created_at)
    assert await users.get(7) == plain


async def test_many_and_exists_leave_out_the_unknown(users: Users) -> None:
    await users.put_many([person(1), person(2)])

    assert set(await users.many([2, 3, 1])) == {1, 2}
    assert await users.exists([2, 3]) == {2}
    assert await users.get(3) is None


async def test_put_many_counts_new_and_replaced_and_the_last_of_a_repeated_id_counts(users: Users) -> None:
    await users.put(person(1))
    given = [person(1), person(2, name="first"), person(2, name="last")]

    assert await users.put_many(given) == (1, 2)
    assert (await users.many([2]))[2].name == "last"


async def test_put_many_stores_all_or_none(users: Users) -> None:
    with pytest.raises(BadInput):
        await users.put_many([person(1), person(2, age=999)])

    assert await users.count() == 0


async def test_patch_changes_the_named_fields_alone(users: Users) -> None:
    await users.put(WHOLE)
    changed = await users.patch(7, {"interests": ("chess",), "status": Status.ACTIVE, "age": None})

    assert changed == await users.get(7)
    assert changed is not None
    assert (changed.interests, changed.status, changed.age, changed.bio) == (("chess",), Status.ACTIVE, None, WHOLE.bio)


async def test_patch_of_nobody_is_none_and_of_the_id_is_refused(users: Users) -> None:
    assert await users.patch(1, {"age": 30}) is None
    with pytest.raises(BadInput):
        await users.patch(1, {"id": 2})


@pytest.mark.parametrize("bad", ["nul \x00", "half a pair \ud83d"])
@pytest.mark.parametrize("field", ["name", "bio", "gender", "location"])
async def test_text_that_cannot_be_stored_is_named(users: Users, field: str, bad: str) -> None:
    with pytest.raises(BadInput) as raised:
        await users.put(person(1, **{field: bad}))
    assert [problem.field for problem in raised.value.problems] == [field]

    with pytest.raises(BadInput) as raised:
        await users.put_many([person(1), person(2, interests=("fine", bad))])
    assert [problem.field for problem in raised.value.problems] == ["users[1].interests"]

    with pytest.raises(BadInput) as raised:
        await users.patch(1, {field: bad})
    assert [problem.field for problem in raised.value.problems] == [field]


async def test_stream_gives_everyone_once_by_id(users: Users) -> None:
    await users.put_many([person(user_id) for user_id in (2**63 - 1, 5, 1, 9, 7)])
    batches = [[one.id for one in batch] async for batch in users.stream(batch_size=2)]

    assert batches == [[1, 5], [7, 9], [2**63 - 1]]
    assert [[one.id for one in batch] async for batch in users.stream(batch_size=2, after_id=9)] == [[2**63 - 1]]


async def erased_traces(database: Database, user_id: int) -> int:
    counted = """
        select (select count(*) from users where id = :id)
            + (select count(*) from interactions where :id in (actor_id, target_id))
            + (select count(*) from matches where :id in (low_id, high_id))
            + (select count(*) from impressions where viewer_id = :id) + (select count(*) from served_features)
    """
    async with database.sessions() as session:
        return int(await session.scalar(text(counted), {"id": user_id}) or 0)


def shown_to(viewer_id: int) -> tuple[Impression, ServedFeatures]:
    pool_id = uuid4()
    impression = Impression(
        slate_id=uuid4(),
        request_id="r",
        viewer_id=viewer_id,
        served_at=NOON,
        algorithm_version="v1",
        bundle_version=None,
        experiment=None,
        pool_id=pool_id,
        people=ShownPeople(candidate_ids=(2,), scores=(0.5,), propensities=(1.0,), exploration=(False,), sources=(("explore",),)),
        cached=False,
        degraded=False,
    )
    features = ServedFeatures(pool_id=pool_id, computed_at=NOON, names=("a",), candidate_ids=(2,), matrix=b"\0" * 4)
    return impression, features


async def test_erasure_leaves_nothing_and_spares_the_others(database: Database, users: Users) -> None:
    await settle(database, 3)
    interactions = Interactions(database.sessions)
    likes = [did(1, Kind.LIKE, 2), did(2, Kind.LIKE, 1), did(2, Kind.LIKE, 3), did(3, Kind.VIEW, 1)]
    await interactions.record(likes)
    impression, features = shown_to(1)
    await Impressions(database.sessions).write([impression], [features])

    assert await erased_traces(database, 1) == 7
    assert await users.erase(1) is True
    assert await erased_traces(database, 1) == 0
    assert await interactions.count() == 1
    assert await users.erase(1) is False


async def test_an_erased_id_used_again_is_somebody_new(users: Users) -> None:
    for incarnation in (1, 2, 3):
        assert (await users.put(person(1)))[0] is True
        assert (await users.put(person(1, name="renamed")))[0] is False
        one = await users.get(1)
        assert one is not None
        assert one.incarnation == incarnation
        await users.erase(1)


async def test_erasure_is_a_change_of_its_own(database: Database, users: Users) -> None:
    await settle(database, 2)
    await Interactions(database.sessions).record([did(1, Kind.LIKE, 2)])
    before = (await Changes(database.sessions).read(FeedPosition()))[-1].position
    await users.erase(1)

    changes = await Changes(database.sessions).read(before)
    assert [(change.entity, change.ids.tolist()) for change in changes] == [("erasure", [1])]


async def test_people_are_found_by_name_without_reading_everybody(database: Database, users: Users) -> None:
    await users.put_many([person(one, name=f"Ada {one} Lovelace{one}") for one in range(1, 3001)])
    async with database.sessions() as session:
        dialect = (await session.connection()).dialect
        statement = of_names("lovelace2999", 25).compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        await session.execute(text("analyze users"))
        plan = "\n".join(await session.scalars(text(f"explain {statement}")))
    assert "users_by_name" in plan
    assert "users_by_last_name" in plan
    assert "Seq Scan" not in plan
    assert [one.id for one in await users.named("LOVELACE2999", 25)] == [2999]
