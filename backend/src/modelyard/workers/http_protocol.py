"""Limits of what a client may send before a request is handled; uvicorn has no settings for them."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Of a request line with its headers, or of trailers."""
CHECK_SECONDS = 30.0
LEAST_BYTES = 1_000
"""A request under way that brings less than this in `CHECK_SECONDS` loses its connection."""

_TOO_LARGE = b"Request header fields too large."
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_TOO_LARGE), _TOO_LARGE)
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Limits the size of headers and how slowly a request may arrive.

    Bodies are not counted here. The rest of a body that is answered early is read and dropped, so that the client
    can read the answer, but for no longer than two checks.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._received = 0
        self._uncounted = 0
        """Bytes since the last one that belonged to a body, or ended a head or a request."""
        self._advanced = False
        self._in_body = False
        self._dropping = False
        self._check_due: asyncio.TimerHandle | None = None
        self._expect_bytes()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_none()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        self._advanced = False
        super().data_received(data)
        self._uncounted = 0 if self._advanced else self._uncounted + len(data)
        if self._uncounted > MAX_HEAD_BYTES and not self.transport.is_closing():
            if not self._in_body:
                self.transport.write(_REFUSAL)
            self.transport.close()

    def handle_websocket_upgrade(self) -> None:
        self._expect_none()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_bytes()

    def on_headers_complete(self) -> None:
        self._advanced = self._in_body = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._advanced = True
        self._in_body = self._dropping = False
        self._expect_none()
        super().on_message_complete()

    def _expect_bytes(self) -> None:
        if self._check_due is None:
            self._received = 0
            self._check_due = self.loop.call_later(CHECK_SECONDS, self._check)

    def _expect_none(self) -> None:
        if self._check_due is not None:
            self._check_due.cancel()
            self._check_due = None

    def _check(self) -> None:
        self._check_due = None
        too_slow = self._received < LEAST_BYTES and not self.flow.read_paused
        answered = self._in_body and self.cycle.response_complete
        if too_slow or (answered and self._dropping):
            self.transport.close()
            return
        self._dropping = answered
        self._expect_bytes()
