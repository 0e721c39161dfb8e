"""What interactions leave standing, and that a batch is one whole."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from msgspec.structs import asdict
from sqlalchemy import event, text

from service.domain import NO_TIME, Interaction, Kind
from service.errors import BadInput
from service.repositories.columns import KINDS
from service.repositories.database import Database, connect
from service.repositories.interactions import Interactions, Recorded
from service.repositories.matches import Matches
from service.repositories.users import Users
from tests.integration.repo_builders import did, person, settle

LIKE, PASS, BLOCK, MESSAGE, VIEW = Kind.LIKE, Kind.PASS, Kind.BLOCK, Kind.MESSAGE, Kind.VIEW
UNLIKE, UNPASS, UNBLOCK, UNMATCH = Kind.UNLIKE, Kind.UNPASS, Kind.UNBLOCK, Kind.UNMATCH


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await settle(opened, 5)
    yield opened
    await opened.close()


@pytest.fixture
def interactions(database: Database) -> Interactions:
    return Interactions(database.sessions)


async def standing(database: Database, person_id: int) -> dict[str, set[int]]:
    """Those of somebody's relations that are not empty."""
    found = await Users(database.sessions).viewer(person_id)
    assert found is not None
    return {name: set(ids) for name, ids in asdict(found[1]).items() if ids}


async def test_relations_show_both_directions(database: Database, interactions: Interactions) -> None:
    deeds = [
        did(1, LIKE, 2),
        did(1, PASS, 3),
        did(1, BLOCK, 4),
        did(2, PASS, 1),
        did(3, LIKE, 1),
        did(5, BLOCK, 1),
        did(1, VIEW, 5),
    ]
    await interactions.record(deeds)

    assert await standing(database, 1) == {
        "liked": {2},
        "passed": {3},
        "liked_by": {3},
        "passed_by": {2},
        "blocked": {4, 5},
    }
    assert await standing(database, 2) == {"passed": {1}, "liked_by": {1}}


async def test_a_viewer_has_the_profile_that_everybody_sees(database: Database) -> None:
    users = Users(database.sessions)
    found = await users.viewer(2)
    assert found is not None
    assert found[0] == await users.get(2)
    assert await users.viewer(99) is None


@pytest.mark.parametrize(
    ("deeds", "left"),
    [
        ([(LIKE, 0), (PASS, 1)], {"passed": {2}}),
        ([(PASS, 1), (LIKE, 0)], {"passed": {2}}),
        ([(LIKE, 0), (PASS, 0)], {"passed": {2}}),
        ([(LIKE, 0), (UNLIKE, 1)], {}),
        ([(PASS, 0), (UNLIKE, 1)], {"passed": {2}}),
        ([(LIKE, 0), (UNPASS, 1)], {"liked": {2}}),
        ([(PASS, 0), (UNPASS, 1), (LIKE, 2)], {"liked": {2}}),
        ([(LIKE, 0), (UNLIKE, 1), (LIKE, 2)], {"liked": {2}}),
        ([(LIKE, 0), (BLOCK, 1)], {"liked": {2}, "blocked": {2}}),
        ([(BLOCK, 0), (UNBLOCK, 1)], {}),
        ([(BLOCK, 1), (UNBLOCK, 0)], {"blocked": {2}}),
        ([(UNMATCH, 0)], {}),
    ],
)
async def test_the_later_deed_stands_in_one_batch_and_in_several(
    database: Database, interactions: Interactions, deeds: list[tuple[Kind, int]], left: dict[str, set[int]]
) -> None:
    await interactions.record([did(1, kind, 2, minute) for kind, minute in deeds])
    for kind, minute in deeds:
        await interactions.record([did(3, kind, 2, minute)])

    assert await standing(database, 1) == left
    assert await standing(database, 3) == left


async def test_repeated_opinions_are_counted_and_leave_their_time(interactions: Interactions) -> None:
    deeds = [did(1, LIKE, 2, 0), did(1, LIKE, 2, 1), did(1, UNPASS, 2, 2), did(1, BLOCK, 2, 3), did(1, BLOCK, 2, 4)]

    assert await interactions.record(deeds) == Recorded(2, 3, [])
    assert await interactions.record(deeds[:1]) == Recorded(0, 1, [])
    assert [one.occurred_at for batch in [b async for b in interactions.stream()] for one in batch] == [
        deeds[1].occurred_at,
        deeds[4].occurred_at,
    ]


async def test_nothing_from_before_a_repeated_opinion_replaces_it(database: Database, interactions: Interactions) -> None:
    for deed in (did(1, LIKE, 2, 1), did(1, LIKE, 2, 3), did(1, PASS, 2, 2), did(2, UNLIKE, 1, 3), did(2, LIKE, 1, 2)):
        await interactions.record([deed])

    assert await standing(database, 1) == {"liked": {2}}


async def test_what_is_done_now_follows_even_the_last_of_all_times(database: Database, interactions: Interactions) -> None:
    connection = await connect(database.url)
    query = (
        "insert into interactions (actor_id, target_id, family, event_key, kind, occurred_at) values (1, 2, 2, '', 'unblock', "
    )
    await connection.execute(query + "'9999-12-31T23:59:59.999999Z')")
    await connection.close()
    block = Interaction(actor_id=1, target_id=2, kind=BLOCK, occurred_at=NO_TIME)
    assert await interactions.record([block]) == Recorded(1, 0, [])


async def test_what_is_done_at_once_ends_as_if_one_after_another(database: Database, interactions: Interactions) -> None:
    deeds = [(1, LIKE, 2), (2, LIKE, 1), (1, BLOCK, 2), (1, UNBLOCK, 2)]
    given = [Interaction(actor_id=one, target_id=other, kind=kind, occurred_at=NO_TIME) for one, kind, other in deeds]
    assert await interactions.record(given) == Recorded(4, 0, [], [(1, 2)])
    assert await Matches(database.sessions).page(1, 10) == []


async def test_a_repeated_opinion_keeps_the_slate_it_came_of(interactions: Interactions) -> None:
    slate_id = uuid4()
    await interactions.record([did(1, LIKE, 2, slate_id=slate_id)])
    await interactions.record([did(1, LIKE, 2, 1)])

    assert [one.slate_id for batch in [b async for b in interactions.stream()] for one in batch] == [slate_id]


async def test_whose_pass_or_block_gave_way_is_told(interactions: Interactions) -> None:
    await interactions.record([did(1, PASS, 2), did(2, BLOCK, 3), did(1, LIKE, 3), did(4, PASS, 1)])
    after = [did(1, LIKE, 2, 1), did(2, UNBLOCK, 3, 1), did(1, PASS, 3, 1), did(4, PASS, 1, 1)]

    assert (await interactions.record(after)).returned == [(1, 2), (2, 3)]


async def test_messages_are_events_unless_they_bear_the_same_event_id(interactions: Interactions) -> None:
    deeds = [did(1, MESSAGE, 2), did(1, MESSAGE, 2), did(1, MESSAGE, 2, event_id="a"), did(1, MESSAGE, 2, event_id="a")]

    assert await interactions.record(deeds) == Recorded(3, 1, [])
    assert await interactions.record(deeds[2:]) == Recorded(0, 2, [])
    assert await interactions.record([did(1, VIEW, 2, event_id="a"), did(2, MESSAGE, 1, event_id="a")]) == Recorded(2, 0, [])


async def test_two_likes_make_a_match_from_the_later(database: Database, interactions: Interactions) -> None:
    assert await interactions.record([did(2, LIKE, 1, 5)]) == Recorded(1, 0, [])
    assert await interactions.record([did(1, LIKE, 2, 3)]) == Recorded(1, 0, [(1, 2)])
    assert await interactions.record([did(1, LIKE, 2, 9)]) == Recorded(0, 1, [])

    [match] = await Matches(database.sessions).page(1, 10)
    assert (match.user_id, match.matched_at) == (2, did(2, LIKE, 1, 5).occurred_at)


@pytest.mark.parametrize("ending", [(1, UNLIKE), (2, PASS), (1, BLOCK), (2, BLOCK), (2, UNMATCH)])
async def test_a_match_ends_when_either_takes_it_back(
    database: Database, interactions: Interactions, ending: tuple[int, Kind]
) -> None:
    await interactions.record([did(1, LIKE, 2), did(2, LIKE, 1)])
    actor_id, kind = ending
    await interactions.record([did(actor_id, kind, 3 - actor_id, 1)])

    assert await Matches(database.sessions).page(1, 10) == []
    assert await Matches(database.sessions).page(2, 10) == []


async def test_a_match_made_and_ended_in_one_batch_is_none(database: Database, interactions: Interactions) -> None:
    deeds = [did(1, BLOCK, 2, 3), did(1, LIKE, 2, 1), did(2, LIKE, 1, 2)]

    assert await interactions.record(deeds) == Recorded(3, 0, [])
    assert await Matches(database.sessions).page(1, 10) == []


async def test_unmatch_counts_as_a_pass_until_unpass(database: Database, interactions: Interactions) -> None:
    await interactions.record([did(1, LIKE, 2), did(2, LIKE, 1), did(1, UNMATCH, 2, 1)])
    assert await standing(database, 2) == {"liked": {1}, "passed_by": {1}}

    assert await interactions.record([did(1, UNPASS, 2, 2)]) == Recorded(1, 0, [], [(1, 2)])
    assert await standing(database, 2) == {"liked": {1}}
    assert await interactions.record([did(1, LIKE, 2, 3)]) == Recorded(1, 0, [(1, 2)])


async def test_likes_across_a_block_are_no_match_until_a_like_after_it(interactions: Interactions) -> None:
    blocked = [did(1, BLOCK, 2), did(1, LIKE, 2, 1), did(2, LIKE, 1, 2)]

    assert (await interactions.record(blocked)).matches == []
    assert (await interactions.record([did(1, UNBLOCK, 2, 3)])).matches == []
    assert await interactions.record([did(2, LIKE, 1, 4)]) == Recorded(0, 1, [(1, 2)])


async def test_unknown_people_and_oneself_are_named_and_nothing_is_recorded(interactions: Interactions) -> None:
    with pytest.raises(BadInput) as raised:
        await interactions.record([did(1, LIKE, 2), did(9, LIKE, 1), did(1, LIKE, 8)])
    assert [problem.field for problem in raised.value.problems] == ["interactions[1].actor_id", "interactions[2].target_id"]

    with pytest.raises(BadInput) as raised:
        await interactions.record([did(1, LIKE, 2), did(3, LIKE, 3)])
    assert [problem.field for problem in raised.value.problems] == ["interactions[1].target_id"]
    assert await interactions.count() == 0


@pytest.mark.parametrize("event_id", ["\x00", "\ud800", "x" * 201])
async def test_an_event_id_that_cannot_be_stored_is_named(interactions: Interactions, event_id: str) -> None:
    with pytest.raises(BadInput) as raised:
        await interactions.record([did(1, MESSAGE, 2, event_id=event_id)])
    assert [problem.field for problem in raised.value.problems] == ["interactions[0].event_id"]


async def test_the_longest_event_id_is_stored(interactions: Interactions) -> None:
    assert (await interactions.record([did(1, MESSAGE, 2, event_id="🦊" * 200)])).recorded == 1


async def test_a_batch_of_a_thousand_takes_as_many_statements_as_one_of_two(database: Database) -> None:
    await settle(database, 1000)
    statements: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    interactions = Interactions(database.sessions)
    await interactions.record([did(1, LIKE, 2), did(1, MESSAGE, 2)])
    n_of_two = len(statements)
    await interactions.record([did(1 + index % 10, LIKE, 11 + index // 10) for index in range(900)])

    assert len(statements) == 2 * n_of_two
    assert n_of_two <= 6


async def test_stream_gives_every_row_once_by_key(interactions: Interactions) -> None:
    slate_id = uuid4()
    deeds = [
        did(2, LIKE, 1),
        did(1, MESSAGE, 2, event_id="b"),
        did(1, MESSAGE, 2, event_id="a"),
        did(1, LIKE, 2, slate_id=slate_id),
    ]
    await interactions.record(deeds)
    batches = [batch async for batch in interactions.stream(batch_size=3)]

    assert [batch for one in batches for batch in one] == [deeds[3], deeds[2], deeds[1], deeds[0]]
    assert [len(batch) for batch in batches] == [3, 1]


async def test_load_all_gives_the_rows_as_columns(interactions: Interactions) -> None:
    deeds = [did(1, LIKE, 2, 0.123456), did(2, BLOCK, 3), did(4, VIEW, 5, event_id="a"), did(1, UNMATCH, 5)]
    await interactions.record(deeds)
    table = await interactions.load_all()
    rows = sorted(zip(table.actor, table.target, table.kind, table.occurred_at_s, strict=True))

    assert [(actor, target, KINDS[kind]) for actor, target, kind, _ in rows] == [(1, 2, LIKE), (2, 3, BLOCK), (4, 5, VIEW)]
    assert datetime.fromtimestamp(rows[0][3], UTC) == deeds[0].occurred_at


async def test_load_all_of_more_than_one_chunk_is_whole(database: Database, interactions: Interactions) -> None:
    async with database.sessions() as session:
        await session.execute(
            text("insert into interactions select a, a + 1, 1, '', 'like', to_timestamp(a) from generate_series(1, 20000) a")
        )
        await session.commit()
    table = await interactions.load_all()

    assert sorted(table.actor) == list(range(1, 20001))
    assert (table.target == table.actor + 1).all()
    assert (table.occurred_at_s == table.actor).all()
    assert {KINDS[code] for code in table.kind} == {LIKE}


async def test_ids_up_to_the_last_are_recorded(database: Database, interactions: Interactions) -> None:
    last = 2**63 - 1
    await Users(database.sessions).put(person(last))
    await interactions.record([did(1, LIKE, last), did(last, LIKE, 1)])

    assert await standing(database, last) == {"liked": {1}, "liked_by": {1}}
