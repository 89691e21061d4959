"""Compressed messages are compressed once for all sockets, and every client reads what was sent."""

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from modelyard.core.shared_text import SharedBytes, SharedText
from modelyard.workers.websocket_protocol import SharedDeflateProtocol

MESSAGES = [
    SharedText(json.dumps([{"id": number, "name": "ünïcode"} for number in range(2000)], ensure_ascii=False)),
    SharedText('{"small": true}'),
    "an ordinary str, " * 100,
]


async def application(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    for message in MESSAGES:
        await send({"type": "websocket.send", "text": message})
    echo = await receive()
    await send({"type": "websocket.send", "text": echo["text"]})
    await receive()


@pytest.fixture
def address() -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, ws=SharedDeflateProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def talk(address: str, **options: Any) -> None:
    with connect(address, proxy=None, **options) as client:
        assert [client.recv(timeout=10) for _ in MESSAGES] == MESSAGES
        client.send("x" * 3000)
        assert client.recv(timeout=10) == "x" * 3000


def test_clients_with_and_without_compression_read_the_same(address: str) -> None:
    talk(address)
    talk(address, compression=None)
    narrow = ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=True)
    talk(address, compression=None, extensions=[narrow])
    takes_over = ClientPerMessageDeflateFactory(client_no_context_takeover=False)
    talk(address, compression=None, extensions=[takes_over])


def test_a_message_is_compressed_once_for_all_sockets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SharedText(MESSAGES[0])
    monkeypatch.setattr(sys.modules[__name__], "MESSAGES", [text])
    shared = text.encode()
    assert isinstance(shared, SharedBytes)
    for _ in range(3):
        talk(address)
    (form,) = shared.forms.values()
    assert len(form.data) < len(shared) / 5
    for _ in range(2):
        talk(address)
    assert list(shared.forms.values()) == [form]
    assert next(iter(shared.forms.values())) is form


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"Cookie: {'x' * 9_000}\r\n\r\n",
        "".join(f"X-{number}: 1\r\n" for number in range(200)) + "\r\n",
    ],
    ids=["a body", "a chunked body", "a long header", "many headers"],
)
def test_a_handshake_that_is_none_is_answered_and_ended(address: str, headers: str) -> None:
    """Nobody would ever close such a connection, and anybody can open as many as there are descriptors."""
    port = int(address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + headers.encode()
        )
        answer = b""
        while received := raw.recv(65_536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 400 ")
