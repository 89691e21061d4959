"""A Kombu transport that keeps its messages in a folder and loses none of them to a race.

Kombu's own `filesystem://` opens the final name before it writes, so a reader can take an empty file, lose the
message and stop the worker. Here a message is written under a temporary name and renamed to publish it, and claimed
by renaming it again. All of that happens inside one folder, hence on one filesystem, where a rename is atomic.
Who publishes a message rings the queue's bell (`bells`), which wakes the consumers on this host.

Transport options: `folder` (absolute path; created if needed) and Kombu's `polling_interval` (seconds), after which
consumers look at the latest: they may have no bells, or have been too busy for a message when it rang.
"""

import logging
import math
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote

from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from modelyard.core import locks
from modelyard.core.private_files import open_private
from modelyard.workers.broker import bells
from modelyard.workers.broker.messages import envelope_problem

logger = logging.getLogger(__name__)

UNFINISHED_SECONDS = 60.0
"""Publishing and claiming take milliseconds: what is still under way after this long was left by a killed process."""

PROBE_BYTES = 16_384
"""More than the tables that are written by every worker that starts."""

_NEW = ".new-"
_CLAIMED = ".claimed-"
_BELLS = "bells"

Binding = tuple[str, str, str]
"""A row of an exchange's table, in Kombu's order: routing key, pattern, queue."""


class Channel(virtual.Channel):
    """Message files are named `<publishing time, ns>_<unique>.<queue>`; a name that begins with a dot is no message."""

    supports_fanout = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        client: Any = self.connection.client
        folder = Path(client.transport_options["folder"])
        self._messages = folder / "messages"
        self._tables = folder / "exchanges"
        self._damaged = folder / "damaged"
        self._bells = folder / _BELLS
        for each in (self._messages, self._tables, self._damaged, self._bells):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._recover()

    # Messages

    def _put(self, queue: str, message: Any, **_options: Any) -> None:
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{quote(queue, safe='')}"
        try:
            _write_then_rename(self._messages / name, dumps(message))
        except OSError as error:
            raise ChannelError(f"cannot add a message to {self._messages}: {error}") from error
        bells.ring(self._bells, queue)

    def _put_fanout(self, exchange: str, message: Any, _routing_key: str, **options: Any) -> None:
        for _, _, queue in self.get_table(exchange):
            self._put(queue, message, **options)

    def _get(self, queue: str, timeout: float | None = None) -> Any:  # noqa: ARG002 - Kombu never gives one
        for path in self._waiting(queue):
            claimed = path.with_name(f"{_CLAIMED}{time.time_ns()}-{path.name}")
            try:
                path.rename(claimed)
                message = _parse(claimed.read_bytes())
            except FileNotFoundError:
                continue  # another consumer was faster
            except ValueError as error:
                kept = self._damaged / path.name
                claimed.rename(kept)
                logger.error("Skipped a damaged queue message (%s); it is kept as %s", error, kept)
                continue
            claimed.unlink(missing_ok=True)
            return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        waiting = self._waiting(queue)
        for path in waiting:
            path.unlink(missing_ok=True)
        return len(waiting)

    def _waiting(self, queue: str) -> list[Path]:
        """Return the queue's messages, oldest first."""
        suffix = quote(queue, safe="")
        return sorted(path for path in self._messages.iterdir() if path.name.partition(".")[2] == suffix)

    def _recover(self) -> None:
        """Finish what a killed process began: give back what it had claimed, remove what it had not yet published."""
        now = time.time()
        for path in self._messages.glob(".*"):
            try:
                if path.name.startswith(_CLAIMED):
                    claimed_at, _, name = path.name.removeprefix(_CLAIMED).partition("-")
                    if now - int(claimed_at) / 1e9 > UNFINISHED_SECONDS:
                        path.rename(self._messages / name)
                elif path.name.startswith(_NEW) and now - path.stat().st_mtime > UNFINISHED_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                continue  # its owner, or another process that recovers, was faster

    # Exchange tables: which queues get a message. Readers need no lock because a table is replaced as a whole.

    def get_table(self, exchange: str) -> list[Binding]:
        file = self._table(exchange)
        try:
            return [(key, pattern, queue) for key, pattern, queue in loads(file.read_text())]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            # Every worker and publisher declares its queues again when it starts.
            logger.warning("Starting over with a damaged exchange table, %s: %s", file, error)
            return []

    def _queue_bind(self, exchange: str, routing_key: str | None, pattern: str | None, queue: str | None) -> None:
        row = (routing_key or "", pattern or "", queue or "")
        with self._changing(exchange) as table:
            if row not in table:
                table.append(row)

    def _delete(
        self, queue: str, exchange: str, routing_key: str | None, pattern: str | None, *_args: Any, **_kwargs: Any
    ) -> None:
        self._purge(queue)
        row = (routing_key or "", pattern or "", queue or "")
        with self._changing(exchange) as table:
            if row in table:
                table.remove(row)

    @contextmanager
    def _changing(self, exchange: str) -> Iterator[list[Binding]]:
        """Yield the table, saved afterwards if it changed; one process at a time."""
        file = self._table(exchange)
        with open_private(file.with_suffix(".lock"), "ab") as lock:
            locks.lock(lock.fileno(), wait=True)
            try:
                table = self.get_table(exchange)
                before = list(table)
                yield table
                if table != before:
                    _write_then_rename(file, dumps(table), durable=True)
            finally:
                locks.unlock(lock.fileno())

    def _table(self, exchange: str) -> Path:
        return self._tables / f"{quote(exchange, safe='')}.json"


class Transport(virtual.Transport):
    Channel = Channel
    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    # A folder that is full or was removed for a moment: workers connect again, which also creates it again.
    connection_errors = (OSError,)
    default_port = 0
    driver_type = "safe-filesystem"
    driver_name = "safe-filesystem"

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self._bells = bells.Bells(Path(client.transport_options["folder"]) / _BELLS)

    def establish_connection(self) -> Any:
        """Raises OSError where the folder takes no message: whoever connects tries again later, less and less often."""
        client: Any = self.client
        folder = Path(client.transport_options["folder"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f"{_NEW}{uuid.uuid4().hex}"
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            probe.unlink(missing_ok=True)
        return super().establish_connection()

    def drain_events(self, _connection: Any, timeout: float | None = None) -> None:  # type: ignore[override]
        """Deliver one message, when there is one. Raises TimeoutError after `timeout` seconds without."""
        transport: Any = self  # its base has no types
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._bells.listen(queue for channel in transport.channels for queue in channel._active_queues)
            try:
                transport.cycle.get(transport._deliver, timeout=timeout)
            except Empty:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError from None
                self._bells.wait(min(transport.polling_interval, left))
            else:
                return

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self._bells.close()

    def driver_version(self) -> str:
        return "1"


def _write_then_rename(path: Path, text: str, *, durable: bool = False) -> None:
    """Give `path` its content in one step. Messages are not `durable`: one that a power failure takes is sent again."""
    temporary = path.with_name(f"{_NEW}{uuid.uuid4().hex}-{path.name}")
    try:
        with open_private(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _parse(content: bytes) -> Any:
    """Raise ValueError unless `content` is what Kombu can make a message of."""
    try:
        message = loads(content.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if problem := envelope_problem(message):
        raise ValueError(problem)
    return message
