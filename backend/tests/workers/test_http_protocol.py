"""Clients that send slowly, or never stop sending."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from modelyard.workers import http_protocol

CHECK_SECONDS = 0.5


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body, except under /early."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    content = str(size).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_protocol, "CHECK_SECONDS", CHECK_SECONDS)
    config = uvicorn.Config(app, lifespan="off", http=http_protocol.BoundedHttpProtocol, log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(10)


def closed_within(raw: socket.socket, drip: bytes, seconds: float) -> bool:
    """Whether the server ends the connection while `drip` is sent every 100 ms."""
    raw.settimeout(0.1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if raw.recv(65_536) == b"":
                return True
        except TimeoutError:
            pass
        except ConnectionError:
            return True
        try:
            raw.sendall(drip)
        except ConnectionError:
            return True
        time.sleep(0.05)
    return False


POST = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"A: 1\r\n"),
        (POST % b"/", b"x"),
        (POST % b"/early", b"x" * 2_000),
    ],
    ids=["says nothing", "slow headers", "slow body", "goes on after the answer"],
)
def test_the_connection_is_ended(port: int, start: bytes, drip: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as raw:
        raw.sendall(start)
        assert closed_within(raw, drip, 20 * CHECK_SECONDS)


def test_a_steady_client_is_served(port: int) -> None:
    """Five checks long, at a little more than the least pace, twice over one connection."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as raw:
        for _ in range(2):
            raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n")
            for _ in range(25):
                raw.sendall(b"x" * 2_000)
                time.sleep(CHECK_SECONDS / 5)
            answer = b""
            while not answer.endswith(b"50000"):
                received = raw.recv(65_536)
                assert received, "the server ended the connection"
                answer += received
