"""How requests come off the wire: uvicorn's protocol, bounded where it is not."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 131_072
"""Request line and headers, in bytes. Ours need a few hundred; 500 exclude_ids of 19 digits take 16 kB."""


class BoundedHttp(HttpToolsProtocol):
    """httptools gathers the request line and the headers for as long as a caller sends them: 150 MB of header took 177 MB of
    memory. Here too much of them is a 400 and the end of the connection."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
