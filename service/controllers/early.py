"""The shortest way for recommendations that are there already: from the protocol straight to the orchestrator and back.

A task, its coroutines and the messages of ASGI cost a hit a quarter of its time. Here it is two calls, before and after its
tokens are read. What the answer says and leaves behind is what the short way of `hot` gives; whatever is not sure goes that way.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from service import telemetry
from service.controllers.exchange import Exchange, Scope, begun, finish
from service.controllers.hot import ROUTE, Answering, HotPath, describe, viewer_of
from service.errors import AmityError
from service.fleet.tokens import Asked
from service.recommend.held import Promise
from service.recommend.stages import unexpected

_HEAD = (
    b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nx-process-time: %.6f\r\n"
    b"server-timing: pool;dur=%.2f, total;dur=%.2f\r\n"
)
"""As the application's headers are written out."""

Give = Callable[[bytes, Sequence[bytes]], None]
"""Takes the lines of the headers and the parts of the body of a 200."""


class EarlyAnswers:
    """Takes a request before there is a task for it."""

    def __init__(self, hot: HotPath, trace_ratio: float) -> None:
        self._hot = hot
        self._trace_ratio = trace_ratio

    def take(self, scope: Scope, give: Give, leave: Callable[[], None]) -> bool:
        """Whether it is taken: then `give` gets the answer, or `leave` is called once, and the long way has to answer."""
        viewer_id, answering = viewer_of(scope), self._hot.find()
        if viewer_id is None or answering is None:
            return False
        exchange = begun(scope, self._trace_ratio)
        request = self._hot.asked(scope, viewer_id, exchange)
        if request is None:
            return False
        exchange.is_looked_up = True
        try:
            promise = answering.promise(request)
        except AmityError:
            return False  # who makes an answer meets it too
        except Exception as exc:  # noqa: BLE001 - the door of a request: the long way may still answer it
            unexpected("request", exc)
            return False
        if promise is None:
            return False
        promise.asked.add_done_callback(partial(self._end, exchange, answering, promise, give, leave, time.perf_counter()))
        return True

    def _end(
        self,
        exchange: Exchange,
        answering: Answering,
        promise: Promise,
        give: Give,
        leave: Callable[[], None],
        asked_s: float,
        _: Asked,
    ) -> None:
        recording = exchange.recording
        look = telemetry.note_stage(recording, "pool", asked_s)
        try:
            ready = answering.redeem(promise, look, recording.timings)
        except Exception as exc:  # noqa: BLE001 - the door of a request: the long way may still answer it
            unexpected("request", exc)
            ready = None
        if ready is None:
            leave()
            return
        exchange.status, exchange.route = 200, ROUTE
        describe(exchange, promise.request.viewer_id, ready)
        elapsed_s = time.perf_counter() - recording.started_s
        n_bytes = sum(map(len, ready.parts))
        times = (elapsed_s, recording.timings["pool"], elapsed_s * 1000)
        give(_HEAD % (n_bytes, exchange.request_id.encode(), *times), ready.parts)
        finish(exchange)
