"""Pieces of JSON: joined they are the very bytes of the encoder, and what news has overtaken is never kept."""

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.domain import Degradation, ExperimentArm, Profile, RecommendedPerson, Slate
from service.metrics import REGISTRY
from service.recommend.bounded import ENTRY_BYTES
from service.recommend.drops import Drops
from service.recommend.fragments import Entry, Fragments, SlateJson, fragment_of, slate_head, slate_tail

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe_text = st.none() | texts
# PostgreSQL gives times in UTC, to the microsecond.
times = st.datetimes(timezones=st.just(UTC))
profiles = st.builds(
    Profile,
    id=st.integers(1, 2**63 - 1),
    name=texts,
    age=st.none() | st.integers(18, 120),
    gender=maybe_text,
    location=maybe_text,
    bio=texts,
    interests=st.lists(texts, max_size=3).map(tuple),
    created_at=times,
    last_active_at=st.none() | times,
)
slots = st.sampled_from(["ranked", "exploration"])
shown = st.tuples(profiles, st.floats(0, 1), slots, st.lists(texts, max_size=3).map(tuple))
arms = st.none() | st.builds(ExperimentArm, texts, texts)
bent = st.lists(st.builds(Degradation, texts, texts, maybe_text), max_size=2)


def one(profile: Profile, score: float, slot: Any, sources: tuple[str, ...]) -> RecommendedPerson:
    told = {name: getattr(profile, name) for name in RecommendedPerson.__struct_fields__ if hasattr(profile, name)}
    return RecommendedPerson(**told, match_score=score, slot=slot, sources=sources)


@given(
    people=st.lists(shown, max_size=5),
    versions=st.tuples(texts, maybe_text, arms),
    course=st.tuples(st.booleans(), bent, maybe_text),
    answer=st.tuples(st.floats(0, 1e7), st.uuids(), texts),
)
def test_joined_fragments_are_the_bytes_of_the_encoded_slate(people, versions, course, answer) -> None:  # type: ignore[no-untyped-def]
    cached, degraded, message = course
    generation_ms, slate_id, request_id = round(answer[0], 3), answer[1], answer[2]
    slate = Slate(
        recommendations=tuple(one(*shown) for shown in people),
        total_count=len(people),
        algorithm_version=versions[0],
        bundle_version=versions[1],
        experiment=versions[2],
        ordering="score",
        generation_time_ms=generation_ms,
        cached=cached,
        degraded=tuple(degraded),
        message=message,
        slate_id=slate_id,
        request_id=request_id,
    )
    entries = [Entry(fragment_of(profile), score, slot, sources) for profile, score, slot, sources in people]
    joined = SlateJson(slate_head(entries, *versions), slate_tail(cached, degraded, message))
    assert joined.head + joined.end(generation_ms, slate_id, request_id) == msgspec.json.encode(slate)


class Database:
    """Profiles to read; `during` happens while a read is under way."""

    def __init__(self) -> None:
        self.bios: dict[int, str] = dict.fromkeys(range(1, 200), "old")
        self.reads: list[list[int]] = []
        self.during: Callable[[], None] = lambda: None

    async def read(self, ids: Sequence[int]) -> Mapping[int, Profile]:
        self.reads.append(list(ids))
        found = {
            one: Profile(id=one, name="A", bio=self.bios[one], created_at=datetime.now(UTC)) for one in ids if one in self.bios
        }
        self.during()
        return found


class News:
    arrives = True

    def __call__(self) -> bool:
        return self.arrives


async def test_a_fragment_is_read_once_until_it_is_dropped() -> None:
    database, held = Database(), Fragments(100_000, News())
    await held.many([1, 2], database.read)
    again = await held.many([2, 1, 3, 999], database.read)
    held.drop([2])
    await held.many([1, 2], database.read)
    assert sorted(again) == [1, 2, 3]
    assert database.reads == [[1, 2], [3, 999], [2]]


async def test_a_fill_that_a_drop_overtook_is_shown_but_not_kept() -> None:
    database, held = Database(), Fragments(100_000, News())
    database.during = lambda: held.drop([1])
    await held.many([1, 2], database.read)
    database.during = lambda: None
    database.bios[1] = "new"
    assert (await held.many([1], database.read))[1].profile.bio == "new"
    assert database.reads == [[1, 2], [1]]


async def test_a_fill_that_a_clearing_overtook_is_not_kept() -> None:
    database, held = Database(), Fragments(100_000, News())
    database.during = held.clear
    await held.many([1], database.read)
    assert (len(held), held.n_bytes) == (0, 0)


async def test_nothing_is_held_and_nothing_held_is_shown_while_news_does_not_arrive() -> None:
    database, news = Database(), News()
    held = Fragments(100_000, news)
    await held.many([1], database.read)
    news.arrives = False
    await held.many([1, 2], database.read)
    news.arrives = True
    await held.many([1, 2], database.read)
    assert database.reads == [[1], [1, 2], [2]]


async def test_the_longest_unused_go_first_when_bytes_run_out() -> None:
    database = Database()
    one = fragment_of((await database.read([1]))[1]).n_bytes + ENTRY_BYTES
    held = Fragments(10 * one + one // 2, News())
    await held.many(list(range(1, 10)), database.read)
    await held.many([1], database.read)
    await held.many([100, 101, 102], database.read)
    database.reads.clear()
    await held.many([1, 2, 3, 4, 101], database.read)
    assert len(held) <= 10
    assert held.n_bytes <= 10 * one + one // 2
    assert REGISTRY.get_sample_value("amity_first_level_bytes", {"kind": "fragment"}) == held.n_bytes
    assert database.reads == [[2, 3]]


def test_what_was_made_before_a_drop_of_one_of_its_people_is_no_longer_fresh() -> None:
    drops = Drops()
    drops.drop([1])
    since = drops.now
    drops.drop([2])
    assert [drops.is_fresh(ids, since) for ids in ([1, 3], [1, 2], iter([1, 2]), [])] == [True, False, False, True]
    drops.drop_all()
    assert not drops.is_fresh([1], since)
    assert drops.is_fresh([1], drops.now)


def test_what_happened_past_its_memory_counts_as_dropped() -> None:
    drops, since = Drops(capacity=10), 0
    drops.drop(range(20))
    assert not drops.is_fresh([99], since)
    assert drops.is_fresh([1], drops.now)


def test_the_size_of_a_fragment_is_about_what_it_takes() -> None:
    """Within half either way: it bounds memory, and need not tell it to the byte."""
    now = datetime.now(UTC)
    tracemalloc.start()
    made = [
        fragment_of(
            Profile(
                id=10**9 + i,
                name=f"Person {i}",
                age=30,
                gender=f"female {i}",
                location=f"City {i}",
                latitude=i / 7,
                longitude=i / 9,
                bio=f"{i} likes " + "tea " * 40,
                interests=(f"tea {i}", f"chess {i}", f"travel {i}"),
                created_at=now - timedelta(seconds=i),
                last_active_at=now - timedelta(minutes=i),
            )
        )
        for i in range(500)
    ]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 0.67 < sum(one.n_bytes for one in made) / taken < 1.5
