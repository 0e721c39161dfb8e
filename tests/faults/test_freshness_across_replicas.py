"""What is written through one replica shows in the very next answer of another, whatever pool that one has in its cache."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.faults.rules import Rules
from tests.replicas import Replica, shown
from tests.servers import run_now

PROMPT_S = 60.0
Write = Callable[[Replica, int, int], Any]

HIDING: dict[str, Write] = {
    "like": lambda replica, viewer, other: replica.act((viewer, other, "like")),
    "pass": lambda replica, viewer, other: replica.act((viewer, other, "pass")),
    "passed by": lambda replica, viewer, other: replica.act((other, viewer, "pass")),
    "block": lambda replica, viewer, other: replica.act((viewer, other, "block")),
    "blocked by": lambda replica, viewer, other: replica.act((other, viewer, "block")),
    "pause": lambda replica, viewer, other: replica.patch(other, status="paused"),
    "ban": lambda replica, viewer, other: replica.patch(other, status="banned"),
    "seeks others": lambda replica, viewer, other: replica.patch(other, seeks_genders=["nobody"]),
    "viewer seeks others": lambda replica, viewer, other: replica.patch(viewer, seeks_genders=["nobody"]),
    "erase": lambda replica, viewer, other: replica.client.delete(f"/api/v1/users/{other}").raise_for_status(),
}


@pytest.mark.parametrize("way", [(0, 1), (1, 0)], ids=["A to B", "B to A"])
@pytest.mark.parametrize("what", HIDING)
def test_a_write_shows_in_the_next_answer_of_the_other_replica(pair: list[Replica], what: str, way: tuple[int, int]) -> None:
    writer, reader = (pair[index] for index in way)
    viewer = 1 + 2 * list(HIDING).index(what) + way[0]
    for replica in pair:
        replica.recommend(viewer)
    warm = reader.recommend(viewer)
    HIDING[what](writer, viewer, other := shown(warm)[0])
    after = reader.recommend(viewer)
    assert warm["cached"] is True
    assert other not in shown(after)
    assert after["degraded"] == []


def test_the_pool_of_somebody_who_is_passed_is_still_used(pair: list[Replica]) -> None:
    pair[0].recommend(60)
    other = shown(pair[1].recommend(60))[0]
    pair[0].act((other, 60, "pass"))
    after = pair[1].recommend(60)
    assert (after["cached"], other in shown(after), after["total_count"]) == (True, False, 20)


def test_somebody_new_is_recommended_by_the_other_replica(pair: list[Replica]) -> None:
    new = {"name": "Newcomer", "age": 30, "location": "Atlantis", "interests": ["tea"]}
    assert pair[0].client.put("/api/v1/users/5001", json=new).status_code == 201
    everywhere = {"limit": 100, "use_cache": False}
    assert eventually(lambda: any(5001 in shown(pair[1].recommend(viewer, **everywhere)) for viewer in range(70, 80)), PROMPT_S)
    of_them = pair[1].recommend(5001)
    assert of_them["total_count"] == 20
    assert of_them["degraded"] == []


def test_whoever_joins_just_after_being_asked_for_is_there_on_both_replicas(pair: list[Replica]) -> None:
    path = "/api/v1/recommendations/users/5002/recommendations"
    assert [replica.client.get(path).status_code for replica in pair] == [404, 404]
    assert pair[0].client.put("/api/v1/users/5002", json={"name": "Newcomer"}).status_code == 201
    assert [replica.recommend(5002)["total_count"] for replica in reversed(pair)] == [20, 20]


def test_somebody_else_with_an_erased_id_has_none_of_its_past(pair: list[Replica]) -> None:
    pair[0].recommend(81)
    other = shown(pair[1].recommend(81))[0]
    pair[0].act((81, other, "pass"))
    assert pair[0].client.delete(f"/api/v1/users/{other}").status_code == 204
    assert pair[1].client.put(f"/api/v1/users/{other}", json={"name": "Somebody else"}).status_code == 201
    everyone = {"limit": 100, "use_cache": False}
    for replica in pair:  # each hears of the erasure from the feed: until then it holds that the viewer has passed the id
        assert eventually(lambda replica=replica: other in shown(replica.recommend(81, **everyone)), PROMPT_S)  # type: ignore[misc]
    found = next(person for person in pair[1].recommend(81, limit=100)["recommendations"] if person["id"] == other)
    assert (found["name"], found["age"]) == ("Somebody else", None)


class History:
    """Random writes and reads through random replicas, each reply held to the rules."""

    def __init__(self, pair: list[Replica], rules: Rules, seed: int) -> None:
        self.pair = pair
        self.rules = rules
        self.random = random.Random(seed)
        self.viewers = self.random.sample(sorted(rules.people), 12)
        self.last_shown = list(self.viewers)

    def step(self) -> None:
        self.random.choices((self.read, self.interact, self.change, self.erase), (50, 40, 9, 1))[0]()

    def read(self) -> None:
        viewer, exclude_seen = self.random.choice(self.viewers), self.random.random() < 0.7
        query = {"limit": self.random.choice((5, 20, 100)), "exclude_seen": exclude_seen}
        answer = self.random.choice(self.pair).recommend(viewer, **query)
        ids = shown(answer)
        wrong = set(ids) - self.rules.allowed(viewer, exclude_seen)
        assert not wrong, (viewer, query, answer["cached"], wrong)
        assert len(set(ids)) == len(ids)
        assert answer["degraded"] == []
        self.last_shown = [person for person in ids if person in self.rules.people] or self.viewers

    def interact(self) -> None:
        viewer, other = self.random.choice(self.viewers), self.random.choice([*self.last_shown, *self.viewers])
        if viewer == other:
            return
        actor, target = (viewer, other) if self.random.random() < 0.6 else (other, viewer)
        kind = self.random.choice(("like", "like", "pass", "pass", "block", "unlike", "unpass", "unblock", "unmatch"))
        matched = {(min(actor, target), max(actor, target))} - self.rules.matches
        recorded = self.random.choice(self.pair).act((actor, target, kind))
        changed = self.rules.act(actor, target, kind)
        assert (recorded["recorded"], recorded["repeated"]) == (int(changed), int(not changed)), (actor, target, kind)
        assert {tuple(match) for match in recorded["matches"]} == matched & self.rules.matches

    def change(self) -> None:
        person = self.random.choice([*self.last_shown, *self.viewers])
        changes: dict[str, Any] = self.random.choice(
            (
                {"status": self.random.choice(("active", "paused"))},
                {"seeks_genders": self.random.choice(([], ["woman", "Female"], ["male", "man"]))},
                {"seeks_min_age": None, "seeks_max_age": self.random.choice((None, 25, 35, 60))},
                {"seeks_max_km": self.random.choice((None, 5.0, 50.0))},
                {"age": self.random.choice((None, 20, 30, 40))},
                {"latitude": None, "longitude": None},
                {"gender": self.random.choice((None, "Nobody's", "female"))},
            )
        )
        self.random.choice(self.pair).patch(person, **changes)
        self.rules.people[person] |= changes

    def erase(self) -> None:
        person = self.random.choice(self.last_shown)
        if person not in self.viewers:
            self.random.choice(self.pair).client.delete(f"/api/v1/users/{person}").raise_for_status()
            self.rules.erase(person)
            self.last_shown = list(self.viewers)

    def settled(self, replica: Replica, viewer: int) -> bool:
        """Whether a replica shows as many as there are: nobody is lost for good to a stale memory or pool."""
        ids = shown(replica.recommend(viewer, limit=100))
        allowed = self.rules.allowed(viewer)
        assert set(ids) <= allowed
        return len(ids) == min(100, len(allowed))


@pytest.mark.parametrize("seed", [1, 2])
def test_random_histories_through_random_replicas_keep_to_the_rules(world: World, pair: list[Replica], seed: int) -> None:
    history = History(pair, run_now(Rules.of(world.database_url)), seed)
    for _ in range(150):
        history.step()
    for viewer in history.viewers:
        for replica in pair:
            assert eventually(lambda replica=replica, viewer=viewer: history.settled(replica, viewer), PROMPT_S), viewer  # type: ignore[misc]
