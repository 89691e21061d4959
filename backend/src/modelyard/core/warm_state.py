"""Whether the warm parent has imported the libraries, for a process that never waits for it."""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.core.start_process import WARM_FD, WORKERS_FD, given_channel, receive_message, request_news


@dataclass(frozen=True)
class WarmState:
    """Whether the libraries are imported, and the ids of the warm parent, the worker parent and what they have forked.

    `importing`: they are not yet, but there is or will be a warm parent that imports them.
    """

    warm: bool
    importing: bool = False
    pids: tuple[int, ...] = ()


class _Watch:
    """Holds a socket on which a parent says that it has imported, and which ends when it does. Thread-safe.

    `variable` names the descriptor on which that parent is asked.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._lock = threading.Lock()
        self._channel: int | None = None
        self._link: socket.socket | None = None
        self._pid: int | None = None

    def state(self) -> WarmState:
        channel = given_channel(self._variable)
        with self._lock:
            if channel != self._channel:
                self._forget()
                self._channel = channel
            if channel is None:
                return WarmState(warm=False)
            self._look()
            if self._link is None:
                self._link = request_news(channel)
                self._look()
            pid = self._pid
        if pid is None:
            return WarmState(warm=False, importing=True)
        return WarmState(warm=True, pids=(pid, *_children_of(pid)))

    def _look(self) -> None:
        while self._link is not None:
            try:
                answer, _ = receive_message(self._link)
            except BlockingIOError:
                return
            self._pid = answer.get("pid")
            if not answer:  # it has ended; the next one is asked
                self._forget()

    def _forget(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = self._pid = None


_warm, _workers = _Watch(WARM_FD), _Watch(WORKERS_FD)


def warm_state() -> WarmState:
    """Return the warm parent's state at once; the first call only asks for it."""
    warm = _warm.state()
    return replace(warm, pids=(*warm.pids, *_workers.state().pids))


def _children_of(pid: int) -> list[int]:
    with suppress(OSError):  # it has just ended, or this kernel does not tell
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
