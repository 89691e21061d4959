"""Start a child process: forked from the warm parent where there is one that can, otherwise afresh.

The warm parent (`workers/processes/warm_parent.py`) is a process that has imported the large libraries already. The
supervisor hands its children one end of a socket to it and names the descriptor in `MODELYARD_WARM_FD`. Each request
brings a socket of its own, over which the new process answers and the warm parent later reports how it ended. The
worker parent (`worker_parent.py`), whose socket `MODELYARD_WORKERS_FD` names, is another such process.
"""

import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

WARM_FD = "MODELYARD_WARM_FD"
WORKERS_FD = "MODELYARD_WORKERS_FD"
EXIT_UNKNOWN = 256
"""In place of an exit code: the process has ended, and so has the warm parent, which alone could learn how."""

STATUS = struct.Struct("!i")
"""How the warm parent reports a wait status."""

START_SECONDS = 120.0
"""How long a request waits for the warm parent, which may still be importing."""

LARGEST_MESSAGE_BYTES = 1 << 17
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_MOST_DESCRIPTORS = 64
_POLL_SECONDS = 0.1


class Process(Protocol):
    """What `subprocess.Popen` and a forked process have in common."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def start_process(
    module: str,
    environment: Mapping[str, str],
    *,
    stdin: int,
    stdout: int = 1,
    stderr: int = 2,
    keep: Sequence[int] = (),
    leads_group: bool = False,
    while_waiting: Callable[[], None] = lambda: None,
) -> Process:
    """Run `python -m module` with exactly this environment and these descriptors; `keep` keep their numbers.

    With `leads_group` it leads a process group of its own; a forked one always does. The caller closes its copies of
    the descriptors afterwards. `while_waiting` is called ten times a second while the warm parent is still importing;
    what it raises ends the attempt. A forked process is killed when this one ends.
    """
    descriptors = {0: stdin, 1: stdout, 2: stderr} | {number: number for number in keep}
    request = request_fork(module, (), environment, descriptors)
    if request is not None:
        try:
            while not request.is_answered(_POLL_SECONDS):
                while_waiting()
        except BaseException:
            request.withdraw()
            raise
        forked = request.take()
        if forked is not None:
            return forked
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(environment),
        pass_fds=keep,
        process_group=0 if leads_group else None,
    )


@cache
def can_fork() -> bool:
    """Return whether the system can fork children as here: it has process descriptors and message sockets."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # an old Python or kernel, or a container that forbids it
        return False
    return True


def given_channel(variable: str = WARM_FD) -> int | None:
    """Return the descriptor on which this process may ask a parent for forks; None if it was given none."""
    given = os.environ.get(variable, "")
    if not given.isdigit() or not can_fork():
        return None
    try:
        channel = socket.socket(fileno=int(given))
    except OSError:  # nothing, or no socket: the variable came without the descriptor
        return None
    kind = channel.family, channel.type
    channel.detach()
    return int(given) if kind == (socket.AF_UNIX, socket.SOCK_SEQPACKET) else None


class ForkRequest:
    """A request to the warm parent, which may still be importing; to be taken or withdrawn."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self.deadline = time.monotonic() + START_SECONDS
        """When it is no longer waited for, on the clock of `time.monotonic`."""

    def fileno(self) -> int:
        """Return a descriptor that has something to read once there is an answer."""
        return self._link.fileno()

    def is_answered(self, seconds: float = 0.0) -> bool:
        """Return whether there is an answer within so many seconds, or none will be waited for."""
        return _readable(self.fileno(), seconds) or time.monotonic() > self.deadline

    def take(self) -> "ForkedProcess | None":
        """Return the process once the request is answered; None where it is to be started afresh."""
        answer, passed = receive_message(self._link) if _readable(self.fileno(), 0) else ({}, [])
        if "pid" not in answer:  # refused, or the warm parent died before it forked, or takes too long
            self.withdraw()
            return None
        return ForkedProcess(answer["pid"], passed[0], self._link)

    def withdraw(self) -> None:
        """Have nothing forked; what was forked already is killed."""
        self._link.close()


class ForkedProcess:
    """A process that the warm parent has forked for this one. Thread-safe."""

    def __init__(self, pid: int, pidfd: int, link: socket.socket) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._link = link
        self._lock = threading.Lock()
        self._returncode: int | None = None
        self._orphaned = False

    def __del__(self) -> None:
        os.close(self._pidfd)

    @property
    def returncode(self) -> int | None:
        return self._returncode

    def fileno(self) -> int:
        """Return a descriptor that has something to read when there may be an exit code; it may be another later."""
        return self._pidfd if self._orphaned else self._link.fileno()

    def poll(self) -> int | None:
        with self._lock:
            if self._returncode is None:
                self._returncode = self._exit_code()
            return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and timeout is not None and left <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            _readable(self.fileno(), left)
        return code

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, sig)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _exit_code(self) -> int | None:
        if not self._orphaned:
            if not _readable(self._link.fileno(), 0):
                return None
            with suppress(ConnectionError):
                if status := self._link.recv(STATUS.size):
                    return os.waitstatus_to_exitcode(*STATUS.unpack(status))
            self._orphaned = True
        return EXIT_UNKNOWN if _readable(self._pidfd, 0) else None


def request_fork(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
    *,
    channel: int | None = None,
) -> ForkRequest | None:
    """Ask the warm parent for a process that runs `python -m module arguments`; None where it cannot be asked.

    `descriptors` are those of this process, by the numbers that they are to have in the new one. `channel` is the
    descriptor on which to ask; by default the one that this process was given.
    """
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:  # it was removed; only a process started afresh can be in it
        return None
    request = {
        "module": module,
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": folder,
        "descriptors": list(descriptors),
        "limits": [(kind, *resource.getrlimit(kind)) for kind in _LIMITS],
    }
    link = _request(request, list(descriptors.values()), given_channel() if channel is None else channel)
    return None if link is None else ForkRequest(link)


def request_news(channel: int) -> socket.socket | None:
    """Ask the warm parent to report that it is warm, on a socket that does not block and ends when it does.

    Returns None where it cannot be asked.
    """
    link = _request({}, [], channel)
    if link is not None:
        link.setblocking(False)
    return link


def _request(request: Mapping[str, Any], descriptors: Sequence[int], channel: int | None) -> socket.socket | None:
    """Send a request to the warm parent; return the socket on which the answer will come, None where it cannot be."""
    if channel is None:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        control = socket.socket(fileno=channel)
        try:
            sent = send_message(control, request, [theirs.fileno(), *descriptors])
        finally:
            control.detach()
    if not sent:
        ours.close()
        return None
    return ours


def send_message(link: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> bool:
    """Send a message (JSON) with descriptors; return False where nobody takes it, or not now, or it is too large."""
    content = json.dumps(dict(message)).encode()
    if len(content) > LARGEST_MESSAGE_BYTES:
        return False
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
    try:
        # A flag, because other processes have the same socket: what is set on it is set for them too. And not
        # socket.send_fds, which Python 3.11 has ignore flags.
        link.sendmsg([content], ancillary, socket.MSG_DONTWAIT)
    except OSError:
        return False
    return True


def receive_message(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next message and the descriptors that came with it; nothing where the other side is gone."""
    room = socket.CMSG_LEN(_MOST_DESCRIPTORS * array("i").itemsize)
    try:
        message, ancillary, _, _ = link.recvmsg(LARGEST_MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return {}, []
    descriptors = array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    answer: dict[str, Any] = json.loads(message) if message else {}
    return answer, list(descriptors)


def _readable(descriptor: int, seconds: float | None) -> bool:
    """Return whether a descriptor has something to read, or its end, within so many seconds (None: wait for it)."""
    poll = select.poll()  # select() takes no descriptor above 1,023, and the API may have more
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
