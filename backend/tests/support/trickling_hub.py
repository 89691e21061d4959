"""A server that accepts every connection and then sends so little that no read ever times out."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PAUSE_SECONDS = 0.3
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\nX-Padding: "


class TricklingHub:
    """`open` are the connections whose client is still there. In the body, or before the headers are complete."""

    def __init__(self, *, in_body: bool) -> None:
        self.open = 0
        self.most = 0
        self.closing = threading.Event()
        self._start = ANSWER + b"\r\n\r\n[" if in_body else ANSWER
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.most = max(self.most, self.open)
        with connection, suppress(OSError):
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(self._start)
            while not self.closing.wait(PAUSE_SECONDS):
                connection.sendall(b" ")
        with self._lock:
            self.open -= 1


@contextmanager
def trickling(*, in_body: bool = False) -> Iterator[tuple[TricklingHub, str]]:
    """The Hub and its address."""
    hub = TricklingHub(in_body=in_body)

    def accept() -> None:
        while not hub.closing.is_set():
            with suppress(TimeoutError):
                connection, _address = listener.accept()
                threading.Thread(target=hub.serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield hub, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            hub.closing.set()
            thread.join(5)
            end = time.monotonic() + 5
            while hub.open and time.monotonic() < end:
                time.sleep(0.05)
