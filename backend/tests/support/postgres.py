"""A throw-away PostgreSQL server: its own data folder and port, everything gone at the end."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from support.instance import free_port
from support.tools import missing

START_SECONDS = 30.0
_LIGHT = {"max_connections": "100", "shared_buffers": "32MB", "fsync": "off"}
_CARELESS = {"synchronous_commit": "off", "full_page_writes": "off"}


def require_binaries() -> Path:
    """The folder of initdb and postgres. Without one the test is skipped, but on CI it fails."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    if not folders:
        missing("PostgreSQL is not installed on this machine (initdb was not found)")
    return folders[-1]


class PostgresServer:
    """A server that tests may freeze, stop and start again. `url` is what SQLAlchemy takes."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self._binaries = require_binaries()
        self._folder = folder
        self._data, self._log = folder / "data", folder / "log"
        self._port = free_port()
        self._settings = _LIGHT if durable else _LIGHT | _CARELESS
        user = _unprivileged_user()
        self._as_user: dict[str, Any] = {}
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [self._binaries / "initdb", "-D", self._data, *options],
            check=True,
            capture_output=True,
            cwd=folder,
            **self._as_user,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [option for name, value in self._settings.items() for option in ("-c", f"{name}={value}")]
        address = ["-k", str(self._folder), "-h", "127.0.0.1", "-p", str(self._port)]
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, *address, *options],
                stdout=output,
                stderr=output,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C in pytest must not end it before the fixtures do
                **self._as_user,
            )
        _wait_until_it_answers(self._process, self._port, self._log)

    def stop(self) -> None:
        """Stop the server, ending open sessions ("fast")."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop the server at once; what it has to recover from is its next start's."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.thaw()
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    def freeze(self) -> None:
        """Suspend every process of the server: its sockets stay open and the kernel still accepts for it."""
        for process in self._family():
            process.suspend()

    def thaw(self) -> None:
        """Resume what `freeze` suspended."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator, outside a transaction; return its rows."""
        with psycopg.connect(host="127.0.0.1", port=self._port, user="postgres", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Yields a running server. One that is `durable` loses nothing it has committed when it crashes."""
    require_binaries()
    folder = Path(tempfile.mkdtemp(prefix="modelyard-pg-"))
    try:
        server = PostgresServer(folder, durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[str]:
    """Yields the server's address as SQLAlchemy takes it, with the database `postgres`."""
    with postgres_server() as server:
        yield server.url


def _version(binaries: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in binaries.parent.name.split(".") if part.isdigit())


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom the server runs as; None for ourselves. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, f"PostgreSQL ended: {log.read_text()}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer: {log.read_text()}"
            time.sleep(0.05)
