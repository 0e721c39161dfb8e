"""Mixed traffic of many people in an open loop: visits arrive at a constant rate, however slow the service is.

    make load ARGS="--headless --host http://127.0.0.1:8000 --run-time 60s --per-s 50 --people 5000"

Or by hand, where locust is installed: locust -f benchmarks/locustfile.py, with the same options; --help names all; without
--headless there is a page at http://127.0.0.1:8089. From several processes: --processes N -u N, and the rate is shared out.

A visit: somebody (popular by Zipf's law, or anyone, or new) asks whom to meet, looks at some of them, likes and passes by the
score and the position, sometimes edits the profile, sometimes asks for more. It writes likes, passes, edits and newcomers into
the service that it is aimed at. People are ids 1 to --people. Times of a visit's first request are from when it was due, so that
waits are not left out where the service, or locust, is late; how many visits locust itself began late is told at the end.
"""

import itertools
import time
from typing import Any

import gevent
import numpy as np
from gevent.pool import Group
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from benchmarks.behaviour import Habits, Visit, decisions, new_bio, newcomer, visits

LATE_S = 0.1
LEAVE_S = 5.0
PEOPLE = "/api/v1/users/{}"
RECOMMENDATIONS = "/api/v1/recommendations/users/{}/recommendations"
INTERACTIONS = "/api/v1/interactions"

_generators = itertools.count()
_begun = {"visits": 0, "late": 0}


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    defaults = Habits()
    parser.add_argument("--people", type=int, default=defaults.people, help="ids 1 to this are people who may come")
    parser.add_argument("--per-s", type=float, default=defaults.per_s, help="visits that arrive each second")
    parser.add_argument("--exponent", type=float, default=defaults.exponent, help="of Zipf's law; 0: all come as often")
    parser.add_argument("--cold-share", type=float, default=defaults.cold_share, help="visits by anyone at all")
    parser.add_argument("--join-share", type=float, default=defaults.join_share, help="visits by somebody new, who is created")
    parser.add_argument("--edit-share", type=float, default=defaults.edit_share, help="visits that change the profile")
    parser.add_argument("--again-share", type=float, default=defaults.again_share, help="visits that ask twice")
    parser.add_argument("--think-s", type=float, default=0.5, help="mean time from a list to what is done about it")
    parser.add_argument("--seed", type=int, default=7, help="the same seed, the same visits")
    parser.add_argument("--api-key", default="", is_secret=True, env_var="AMITY_LOAD_KEY", help="a key with read and write")


@events.test_start.add_listener
def start(environment: Environment, **_: Any) -> None:
    _begun.update(visits=0, late=0)


@events.test_stop.add_listener
def stop(environment: Environment, **_: Any) -> None:
    if _begun["visits"]:
        print(f"{_begun['visits']:,} visits, {_begun['late']:,} begun more than {LATE_S:g} s late by locust itself")


class Visits(FastHttpUser):
    """Not a viewer but all of them: makes the visits arrive, each in a greenlet of its own."""

    concurrency = 512

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._options = vars(environment.parsed_options)
        key = self._options["api_key"]
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._visits = Group()

    @task
    def arrive(self) -> None:
        given = {name: self._options[name] for name in Habits.__struct_fields__}
        habits = Habits(**given | {"per_s": given["per_s"] / (self._options["num_users"] or 1)})
        place = getattr(self.environment.runner, "worker_index", 0)
        seed = [self._options["seed"], place, next(_generators)]
        begun_s = time.perf_counter()
        for visit in visits(habits, seed):
            due_s = begun_s + visit.due_s
            gevent.sleep(max(0.0, due_s - time.perf_counter()))
            _begun["visits"] += 1
            _begun["late"] += time.perf_counter() - due_s > LATE_S
            self._visits.spawn(self._visit, visit, due_s, np.random.default_rng([*seed, visit.number]))

    def on_stop(self) -> None:
        self._visits.join(timeout=LEAVE_S)
        self._visits.kill()

    def _visit(self, visit: Visit, due_s: float, rng: np.random.Generator) -> None:
        if visit.joins:
            self._send("PUT", PEOPLE, visit.viewer_id, newcomer(rng))
        slate = self._ask(visit.viewer_id, None if visit.joins else due_s)
        if slate is not None:
            gevent.sleep(rng.exponential(self._options["think_s"]))
            self._act(visit.viewer_id, slate, rng)
        if visit.edits:
            self._send("PATCH", PEOPLE, visit.viewer_id, new_bio(rng))
        if visit.again:
            self._ask(visit.viewer_id, None)

    def _ask(self, viewer_id: int, due_s: float | None) -> Any:
        """The slate, or None. `due_s`: when it should have been asked for, which is where its time begins."""
        begun_s = time.perf_counter() if due_s is None else due_s
        path = RECOMMENDATIONS.format(viewer_id)
        with self.client.get(path, name="recommendations, failed", headers=self._headers, catch_response=True) as answer:
            answer.request_meta["response_time"] = (time.perf_counter() - begun_s) * 1000
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
                return None
            slate = answer.json()
            kind = "degraded" if slate["degraded"] else "cached" if slate["cached"] else "computed"
            answer.request_meta["name"] = f"recommendations, {kind}"
            return slate

    def _act(self, viewer_id: int, slate: Any, rng: np.random.Generator) -> None:
        shown = [(person["id"], person["match_score"]) for person in slate["recommendations"]]
        acts = [
            {"actor_id": viewer_id, "target_id": person_id, "kind": kind, "slate_id": slate["slate_id"]}
            for person_id, kind in decisions(shown, rng)
        ]
        if acts:
            self.client.post(INTERACTIONS, name="likes and passes", json={"interactions": acts}, headers=self._headers)

    def _send(self, method: str, path: str, person_id: int, body: dict[str, object]) -> None:
        name = "somebody joins" if method == "PUT" else "profile edited"
        self.client.request(method, path.format(person_id), name=name, json=body, headers=self._headers)
