"""uvicorn's WebSocket protocol, with compression that costs once per message instead of once per socket."""

import logging
import zlib
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.server import ServerProtocol

from modelyard.core.shared_text import SharedBytes

COMPRESS_FROM_BYTES = 512
_LEVEL = 1
_MALFORMED = b"This is no WebSocket handshake."
_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_MALFORMED), _MALFORMED)
)


class _SharedDeflate(PerMessageDeflate):
    """Without context takeover a message is compressed alike for all sockets with the same window."""

    def encode(self, frame: Frame) -> Frame:
        if len(frame.data) < COMPRESS_FROM_BYTES:
            return frame  # RFC 7692 lets each message be sent as it is
        if not isinstance(frame.data, SharedBytes):
            return super().encode(frame)
        forms = frame.data.forms
        if self.local_max_window_bits not in forms:
            forms[self.local_max_window_bits] = super().encode(frame)
        compressed: Frame = forms[self.local_max_window_bits]
        return compressed


class _SharedDeflateFactory(ServerPerMessageDeflateFactory):
    def process_request_params(self, *arguments: Any) -> Any:
        answer, extension = super().process_request_params(*arguments)
        shared = _SharedDeflate(
            extension.remote_no_context_takeover,
            extension.local_no_context_takeover,
            extension.remote_max_window_bits,
            extension.local_max_window_bits,
            extension.compress_settings,
        )
        return answer, shared


class SharedDeflateProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=…)`. A client that offers no compression gets none."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        deflate = _SharedDeflateFactory(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            compress_settings={"level": _LEVEL, "strategy": zlib.Z_DEFAULT_STRATEGY},
        )
        self.conn = ServerProtocol(
            extensions=[deflate], max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error")
        )

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Passed by the HTTP parser and refused by that of websockets: uvicorn would neither answer nor close it.
            self.transport.write(_REFUSAL)
            self.transport.close()
