"""A balancer and its callers, in the test's own threads: replicas come and go, and nobody may notice."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.embedded import eventually
from tests.faults.conftest import N_PEOPLE
from tests.replicas import Replica

N_CALLERS = 2
PAUSE_S = 0.1
DRAINED_S = 60.0
NEWCOMERS = 100_000
"""Ids of people who join meanwhile come after it."""


class Rotation:
    """Gives each request to the next of the replicas that are in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replicas: list[Replica] = []
        self._asked: Counter[Replica] = Counter()
        self._turns = itertools.count()
        self._n_answered = 0
        self.failures: list[str] = []
        self.degraded: list[Any] = []

    def add(self, replica: Replica) -> None:
        """Once it is ready."""
        assert eventually(lambda: replica.client.get("/health/ready").status_code == 200, DRAINED_S), replica.said
        with self._lock:
            self._replicas.append(replica)

    def take_out(self, replica: Replica) -> None:
        """Returns when all that it was asked is answered."""
        with self._lock:
            self._replicas.remove(replica)
        assert eventually(lambda: not self._asked[replica], DRAINED_S)

    def has_answered_more(self, n: int = 10) -> bool:
        """Waits for some answers from now on, so that what was just done has been under load."""
        begun = self._n_answered
        return eventually(lambda: self._n_answered >= begun + n, DRAINED_S)

    @contextmanager
    def called(self) -> Iterator[None]:
        """Callers who rest a little after each turn: recommendations, likes, profiles changed, people who join."""
        over = threading.Event()
        callers = [threading.Thread(target=self._call, args=(number, over)) for number in range(N_CALLERS)]
        for caller in callers:
            caller.start()
        try:
            yield
        finally:
            over.set()
            for caller in callers:
                caller.join(DRAINED_S)

    @contextmanager
    def _next(self) -> Iterator[Replica]:
        with self._lock:
            replica = self._replicas[next(self._turns) % len(self._replicas)]
            self._asked[replica] += 1
        try:
            yield replica
        finally:
            with self._lock:
                self._asked[replica] -= 1

    def _call(self, caller: int, over: threading.Event) -> None:
        clients: dict[str, httpx.Client] = {}
        for turn in itertools.count(caller * 1000):
            if over.wait(PAUSE_S):
                break
            with self._next() as replica:
                if replica.url not in clients:  # making one takes 40 ms of a core
                    clients[replica.url] = httpx.Client(base_url=replica.url, timeout=60)
                try:
                    self._converse(clients[replica.url], turn)
                except httpx.HTTPError as exc:
                    self.failures.append(f"{exc!r} of {replica.log.name}")
            self._n_answered += 1
        for client in clients.values():
            client.close()

    def _converse(self, client: httpx.Client, turn: int) -> None:
        viewer = 1 + turn % N_PEOPLE
        use_cache = str(turn % 2 == 0).lower()
        path = f"/api/v1/recommendations/users/{viewer}/recommendations"
        body = self._answered(client.get(path, params={"limit": 5, "use_cache": use_cache}))
        self.degraded += body.get("degraded", [])
        for person in body.get("recommendations", [])[: turn % 4 == 0]:
            like = {"actor_id": viewer, "target_id": person["id"], "kind": "like", "slate_id": body["slate_id"]}
            self._answered(client.post("/api/v1/interactions", json={"interactions": [like]}))
        if turn % 3 == 0:
            self._answered(client.patch(f"/api/v1/users/{viewer}", json={"bio": f"at turn {turn}"}))
        if turn % 5 == 0:
            self._answered(client.put(f"/api/v1/users/{NEWCOMERS + turn}", json={"name": "New", "bio": "here"}))

    def _answered(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code not in (200, 201):
            self.failures.append(f"{answer.status_code} {answer.url} {answer.text}")
            return {}
        body: dict[str, Any] = answer.json()
        return body
