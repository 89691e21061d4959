"""A process that imports libraries once and forks: children share what is imported, copy on write.

A forked child behaves as if it had been started afresh: environment, descriptors, folder, arguments. The parent runs no
tensor operation, has one thread and no accelerator, so that it can be forked at any time. Requests come from
`core.start_process` as messages on a socket. `warm_parent` and `worker_parent` are such processes.

Where an accelerator is present, children that may use it are refused, and their starters start them afresh: drivers do
not survive a fork, and what libraries find out about devices when they are imported is not true here.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import logging
import os
import resource
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from modelyard.core.process import PARENT_FD, configure_logging, die_with_parent, prepare_process
from modelyard.core.start_process import STATUS, receive_message, send_message

_READ_ON_IMPORT = (
    "ATEN_", "BNB_", "DNNL_", "GOMP_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_", "MKL_", "OMP_", "ONEDNN_", "PYTHON",
    "PYTORCH_", "TORCH_",
)  # fmt: skip
_READ_LATER = frozenset({"ITERM_PROFILE", "OMP_NUM_THREADS", "TERM"})
"""What counts later, or only at a terminal, which no child has."""
_PR_SET_NAME = 15

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A child to be. `descriptors` are the numbers that the `received` ones are to have.

    `limits` are those of its starter: what is limited, the soft and the hard limit.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    descriptors: Sequence[int]
    limits: Sequence[tuple[int, int, int]]
    received: Sequence[int]
    link: socket.socket


@dataclass(frozen=True)
class _Running:
    pid: int
    pidfd: int
    link: socket.socket


class ForkServer:
    """Forks children on request, reports how they end, and kills those whose starters are gone.

    Whoever asks whether the libraries are imported is sent its id, and sees the end of the socket when it ends.

    `refusal` returns why a request cannot be met by a fork, or None.
    """

    def __init__(
        self, control: socket.socket, supervisor: int, refusal: Callable[[Mapping[str, Any]], str | None]
    ) -> None:
        self._control = control
        self._supervisor = supervisor
        self._refusal = refusal
        self._running: list[_Running] = []
        self._watching: list[socket.socket] = []
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(supervisor, select.POLLIN)

    def serve(self) -> Request:
        """Answer requests until the supervisor is gone; return only in a child, with what it is to do."""
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if self._supervisor in ready:
                sys.exit(0)
            for child in list(self._running):
                if child.pidfd in ready:
                    self._report_end(child)
                elif child.link.fileno() in ready and is_at_end(child.link):
                    _kill_group(child.pid)
                    self._poll.unregister(child.link)
            for link in list(self._watching):
                if link.fileno() in ready and is_at_end(link):
                    self._poll.unregister(link)
                    self._watching.remove(link)
                    link.close()
            if self._control.fileno() in ready and (request := self._answer()) is not None:
                return request

    def _answer(self) -> Request | None:
        """Answer one request; return it in the child that was forked for it, otherwise None."""
        asked, (number, *received) = receive_message(self._control)
        link = socket.socket(fileno=number)
        if not asked:
            send_message(link, {"pid": os.getpid()})
            self._poll.register(link, select.POLLIN)
            self._watching.append(link)
            return None
        if (reason := self._refusal(asked)) is not None:
            log.info("%s is started afresh: %s", asked["module"], reason)
            send_message(link, {"refused": reason})
        elif not is_at_end(link):
            try:
                pid = os.fork()
            except OSError as error:
                log.warning("%s cannot be forked: %s", asked["module"], error)
            else:
                if not pid:
                    return self._leave(Request(**asked, received=received, link=link))
                self._watch(pid, link.dup())
        link.close()
        for descriptor in received:
            os.close(descriptor)
        return None

    def _watch(self, pid: int, link: socket.socket) -> None:
        child = _Running(pid, os.pidfd_open(pid), link)
        self._running.append(child)
        self._poll.register(child.pidfd, select.POLLIN)
        self._poll.register(link, select.POLLIN)

    def _report_end(self, child: _Running) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._poll.unregister(child.pidfd)
        with suppress(KeyError):
            self._poll.unregister(child.link)
        with suppress(OSError):  # nobody waits for it
            child.link.send(STATUS.pack(status))
        child.link.close()
        os.close(child.pidfd)
        self._running.remove(child)

    def _leave(self, request: Request) -> Request:
        """In a child: forget the descriptors, which it is about to close, so that no object closes them again."""
        for each in (self._control, *self._watching, *(child.link for child in self._running)):
            each.detach()
        return request


def become(request: Request) -> None:
    """Make this forked process what it would be if it had been started afresh, and tell its starter that it runs."""
    os.setsid()  # in this one's session, the system would hang up on a suspended child when this process dies
    pid = os.getpid()
    pidfd = os.pidfd_open(pid)
    if not send_message(request.link, {"pid": pid}, [pidfd]):
        os._exit(1)  # nobody waits for it any more
    request.link.detach()
    _take_descriptors(request.received, request.descriptors)
    for kind, *limits in request.limits:
        if resource.getrlimit(kind) != tuple(limits):
            with suppress(ValueError):  # above what this process may have, whose own then stay
                resource.setrlimit(kind, (limits[0], limits[1]))
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    tempfile.tempdir = None
    logging.getLogger().handlers.clear()
    _show([sys.executable, "-P", "-m", request.module, *request.arguments])
    _read_environment_again()


def _take_descriptors(received: Sequence[int], numbers: Sequence[int]) -> None:
    """Give the received descriptors these numbers, and close all others."""
    above = max(2, *numbers) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in received]
    for descriptor, number in zip(moved, numbers, strict=True):
        os.dup2(descriptor, number)
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number not in numbers:
            with suppress(OSError):  # the folder's own
                os.close(number)


def _read_environment_again() -> None:
    """Repeat what libraries do with the environment when they are imported."""
    if (constants := sys.modules.get("huggingface_hub.constants")) is not None:
        _reload_constants(constants)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or all children would draw the same numbers
    if "torch" in sys.modules:
        from modelyard.ml.loading.threads import obey_environment

        obey_environment()


def _reload_constants(constants: ModuleType) -> None:
    """Have huggingface_hub read the environment again, also for its modules that have copied what it found there."""
    importlib.reload(constants)
    for name, module in list(sys.modules.items()):
        if name.startswith("huggingface_hub.") and module is not constants:
            for copied in vars(module).keys() & vars(constants).keys():
                if copied.isupper():
                    setattr(module, copied, getattr(constants, copied))


def _show(words: Sequence[str]) -> None:
    """Have `ps` and /proc show these words as this process's command line, as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    size = end - start
    # Linux takes the text up to the first NUL for the whole line where the last byte is none.
    line = " ".join(words).encode()[: size - 2].ljust(size - 1, b"\0") + b" "
    ctypes.memmove(start, line, size)
    last = next(word for word in reversed(words) if any(map(str.isalpha, word)))
    name = last.rpartition(".")[2].encode()[:15]
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name, 0, 0, 0)


def is_at_end(link: socket.socket) -> bool:
    """Return whether the other side of a socket, which sends nothing, is gone."""
    try:
        return not link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


class Rules:
    """Which children may be forked: those of a list, in the environment that the libraries were imported with.

    `given` is the environment this process was started with, and the one it has now is what libraries have read.
    `read` are names of variables that some have read besides those that are known to be.
    """

    def __init__(
        self,
        children: Iterable[str],
        given: Mapping[str, str],
        *,
        read: Collection[str] = (),
        broken: str | None = None,
        accelerator: bool = False,
    ) -> None:
        self._children = frozenset(children)
        self._read = frozenset(read) - _READ_LATER
        self._given = {name for name in given if name.startswith(_READ_ON_IMPORT) or name in self._read}
        self._imported = self._of_interest(os.environ)
        self._broken = broken
        self._accelerator = accelerator

    def refusal(self, request: Mapping[str, Any]) -> str | None:
        """Return why a request cannot be met by a fork, or None."""
        environment: Mapping[str, str] = request["environment"]
        asked = self._of_interest(environment)
        differing = {name for name, value in asked.items() if self._imported.get(name) != value}
        differing |= self._given - environment.keys()
        if self._broken is not None:
            return self._broken
        if request["module"] not in self._children:
            return "it is none of those that may be forked"
        if differing:
            return f"{', '.join(sorted(differing))} are not as they were when the libraries were imported"
        if self._accelerator and environment.get("CUDA_VISIBLE_DEVICES") != "":
            return "it may use the accelerator"
        return None

    def _of_interest(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {
            name: value
            for name, value in environment.items()
            if name in self._read or (name.startswith(_READ_ON_IMPORT) and name not in _READ_LATER)
        }


def _has_accelerator() -> bool:
    """Return whether torch, if it is imported, could use a device of this machine; asks no driver."""
    version = getattr(sys.modules.get("torch"), "version", None)
    nodes = (("cuda", "/dev/nvidiactl"), ("cuda", "/dev/dxg"), ("hip", "/dev/kfd"), ("xpu", "/dev/dri"))
    return any(getattr(version, kind, None) and Path(node).exists() for kind, node in nodes)


@contextmanager
def _noting_reads() -> Iterator[set[str]]:
    """Note which variables of the environment are read by name meanwhile."""
    environment, plain, read = os.environ, type(os.environ), set[str]()

    class Noting(plain):  # type: ignore[misc, valid-type]
        def __getitem__(self, name: str) -> str:
            read.add(name)
            value: str = super().__getitem__(name)
            return value

        def items(self) -> Any:  # whoever goes through all of them looks for names of its own
            return [(self.decodekey(name), self.decodevalue(value)) for name, value in self._data.items()]

    environment.__class__ = Noting
    try:
        yield read
    finally:
        environment.__class__ = plain


def run(
    name: str,
    children: Iterable[str],
    libraries: Iterable[str],
    environment: Mapping[str, str],
    read: Collection[str] | None = None,
) -> None:
    """Import libraries, then serve requests on the socket that the first argument names.

    `name` is what errors at the console begin with, and `environment` is added while the libraries are imported. `read`
    names variables that they read; what they are seen to read is added, and whoever has another value there is refused.
    Without it, only variables that count below Python do.
    """
    given = dict(os.environ)
    prepare_process()
    supervisor = int(os.environ.pop(PARENT_FD))
    # No thread may watch the supervisor: threads cannot be forked.
    die_with_parent(signal.SIGKILL)
    configure_logging(name)
    os.environ.update(environment)
    gc.disable()  # next to nothing that an import makes is garbage, and each collection goes through all of it
    broken = None
    try:
        with _noting_reads() as seen:
            for library in libraries:
                importlib.import_module(library)
        if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
            broken = f"a library has started {threads - 1} threads, which cannot be forked"
            log.error("Children are started afresh: %s", broken)
    except Exception:
        log.exception("the libraries cannot be imported, so children are started afresh")
        broken = "the libraries cannot be imported here"
    noted = () if read is None else {*read, *seen}
    rules = Rules(children, given, read=noted, broken=broken, accelerator=_has_accelerator())
    gc.collect()
    gc.freeze()
    gc.enable()
    request = ForkServer(socket.socket(fileno=int(sys.argv[1])), supervisor, rules.refusal).serve()
    # From here on this is a child.
    become(request)
    sys.argv[:] = [request.module, *request.arguments]
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if not isinstance(error.code, int | None):
            raise
        _leave(error.code or 0)
    _leave(0)


def _leave(exit_code: int) -> NoReturn:
    """End this process without taking apart what it shares with its parent, which would copy all of it first.

    That takes a third of a second where torch is imported. Everything else is as when Python ends, in the way of
    `multiprocessing`: threads are waited for that are no daemons, exit functions run, and what was printed is written.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more, or the disk is full
            stream.flush()
    os._exit(exit_code)
