"""A throw-away Redis server."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from support.instance import free_port
from support.tools import require


class RedisServer:
    """A server without persistence that tests may freeze, kill and start again. `url` is Celery's broker URL."""

    def __init__(self, folder: Path) -> None:
        self._binary = require("redis-server", package="redis-server")
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL, start_new_session=True)
        client = redis.Redis(port=self._port)
        end = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < end, "Redis does not answer"
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server; everything in it is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As `stop`, without a word to its clients."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Suspend the server: its sockets stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume what `freeze` suspended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(number)
        self._process.wait(10)
        self._process = None


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Yields a running server."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Yields its URL."""
    with redis_server(folder) as server:
        yield server.url
