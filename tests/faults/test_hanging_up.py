"""Callers who hang up while several requests of theirs are answered in a row."""

import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.embedded import eventually
from tests.faults.conftest import World
from tests.replicas import Replica

N_VIEWERS = 30
ENDINGS: dict[str, Callable[[socket.socket], None]] = {
    "closed": lambda connection: None,
    "reset": lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    "half closed": lambda connection: connection.shutdown(socket.SHUT_WR),
}


@pytest.fixture(scope="module")
def replica(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """It holds a slate of each viewer's, to be served again."""
    with Replica(world.settings, tmp_path_factory.mktemp("hanging") / "replica.log") as started:
        for viewer in [*range(1, N_VIEWERS + 1)] * 2:
            started.recommend(viewer, limit=5)
        yield started


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("query", ["limit=5", "limit=5&use_cache=false"], ids=["there already", "made"])
def test_what_is_answered_to_nobody_any_more_is_no_defect(replica: Replica, query: str, ending: str) -> None:
    one = "GET /api/v1/recommendations/users/{}/recommendations?{} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    in_a_row = "".join(one.format(1 + turn % N_VIEWERS, query) for turn in range(500)).encode()
    for turn in range(20):
        with socket.create_connection(replica.address, timeout=30) as connection:
            connection.sendall(in_a_row)
            time.sleep(0.02 * (turn % 2))  # else it ends before anything is answered
            ENDINGS[ending](connection)
    assert eventually(lambda: replica.metric("amity_recommendations_in_flight") == 0)
    replica.assert_unharmed()
