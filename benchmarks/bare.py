"""The fastest an answer can leave uvicorn: a bare ASGI callable that returns the bytes of a file. The measure of the service.

python -m benchmarks.bare FILE PORT
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]


def answering(body: bytes) -> Callable[[dict[str, Any], Any, Send], Awaitable[None]]:
    """An application that answers everything with `body`."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


if __name__ == "__main__":
    uvicorn.run(
        answering(Path(sys.argv[1]).read_bytes()),
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
