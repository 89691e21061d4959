"""Processes that never outlive the one that started them, and heavy work in a process that may be killed.

For Linux and macOS. A parent keeps the writing end of a pipe open; when it dies, however it dies, its children read
the end of that pipe and stop.
"""

import contextlib
import ctypes
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO
from urllib.request import getproxies_environment

from modelyard.core.child_environment import child_environment
from modelyard.core.errors import ModelyardError, error_from
from modelyard.core.printable import printable
from modelyard.core.private_files import open_private
from modelyard.core.start_process import EXIT_UNKNOWN, Process, start_process
from modelyard.core.storage import storage_errors

PARENT_FD = "MODELYARD_PARENT_FD"
PARENT_PID = "MODELYARD_PARENT_PID"
REPORT_FD = "MODELYARD_REPORT_FD"
CONSOLE_FD = "MODELYARD_CONSOLE_FD"

EXIT_CONFIGURATION = 78
"""A child's exit code (EX_CONFIG in sysexits.h) for what only a person can put right: starting it again is no use."""

EXIT_STORAGE = 73
"""A child's exit code (EX_CANTCREAT) where a disk kept it from its work; its output is the error."""

_PR_SET_PDEATHSIG = 1
_M_ARENA_MAX = -8
_GOMP_SPINS = "20000"  # libgomp counts 100,000 as a millisecond

Report = Callable[[dict[str, Any]], None]


class ChildCrashed(ModelyardError):
    """A child process ended without an answer.

    `exit_code` is negative if a signal (its number) ended it, and EXIT_UNKNOWN where nobody could find out.
    """

    code = "child_crashed"
    default_hint = "The worker's log in the logs folder of MODELYARD_HOME has the details."

    def __init__(self, module: str, exit_code: int, log: Path | None = None) -> None:
        hint = None if log is None else f"{log} has the details."
        super().__init__(f"The process for {module} {describe_exit(exit_code)}.", hint=hint)
        self.exit_code = exit_code


class ChildStopped(Exception):
    """The child was ended because `should_stop` asked for it."""


def describe_exit(exit_code: int) -> str:
    if exit_code == EXIT_UNKNOWN:
        return "ended"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"was killed by {name}" + (" (often: the machine ran out of memory)" if name == "SIGKILL" else "")


@contextlib.contextmanager
def parent_pipe() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the descriptor and environment a child needs for `watch_parent`; leaving the context tells it to stop."""
    reading, writing = os.pipe()
    try:
        yield reading, {PARENT_FD: str(reading), PARENT_PID: str(os.getpid())}
    finally:
        os.close(writing)
        os.close(reading)


def watch_parent(*, grace_seconds: float = 10.0, kill: bool = False) -> None:
    """Stop this process (and its process group, if it leads one) when its parent is gone.

    To be called first thing in a child; does nothing in a process that was not started with a `parent_pipe`. The
    process gets SIGTERM, and SIGKILL after `grace_seconds`; with `kill`, SIGKILL at once, for work that may hold the
    interpreter for so long that it would not notice anything else.
    """
    descriptor = os.environ.pop(PARENT_FD, None)
    if descriptor is None:
        return
    die_with_parent(signal.SIGKILL if kill else signal.SIGTERM)
    parent = int(descriptor)
    os.set_inheritable(parent, False)
    threading.Thread(target=_stop_at_end_of, args=(parent, 0.0 if kill else grace_seconds), daemon=True).start()


def die_with_parent(death_signal: signal.Signals) -> None:
    """Have the kernel send a signal when the process that holds the pipe dies, where it started this one itself.

    Works even while native code holds the interpreter. A process that was forked from the warm parent has another
    parent than that; the warm parent kills it.
    """
    holder = os.environ.pop(PARENT_PID, None)
    if sys.platform == "linux" and holder == str(os.getppid()):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)


def _stop_at_end_of(parent: int, grace_seconds: float) -> None:
    while os.read(parent, 1):
        pass
    if grace_seconds:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class _Plain(logging.Formatter):
    """Without what would steer the terminal of whoever reads it: lines repeat texts of strangers."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _OneLine(logging.Formatter):
    """For people at a console: no traceback, which is in the log."""

    def format(self, record: logging.LogRecord) -> str:
        first = printable(record.getMessage()).strip().partition("\n")[0]
        return f"{self._fmt}: {first}" + (f" (details in {self._fmt}.log)" if record.exc_info else "")


class _Log(logging.StreamHandler[TextIO]):
    """Loses lines while the disk of the log is full, and says nothing about it where nothing can be said."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def prepare_process() -> None:
    """Set up what every process of ours needs, before it starts a thread and before a library reads its environment.

    A proxy is for other machines: this instance's own Hub is on this one. NVML and torch are to number GPUs alike. And
    threads of OpenMP that wait for each other are to sleep soon: by default they spin, and where something else wants
    the processor, one spins for as long as another is kept from running. Sleeping at once has its price on idle cores,
    because one pass of a model waits thousands of times: 14 tokens/s of a 135M model instead of 26. GNU's runtime
    spins for a fifth of a millisecond, which costs nothing on idle cores; the others know only to sleep at once.
    """
    _use_one_arena()
    _use_no_proxy_for_this_machine()
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _GOMP_SPINS)


def _use_no_proxy_for_this_machine() -> None:
    # In the spelling that counts where both are set; `*` counts only where it stands alone.
    known = [host for host in getproxies_environment().get("no", "").split(",") if host.strip()]
    hosts = ["*"] if "*" in map(str.strip, known) else [*known, "localhost", "127.0.0.1", "::1"]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(dict.fromkeys(hosts))


def _use_one_arena() -> None:
    """Have glibc keep the memory of all threads in one arena, unless the user has set how many.

    What is free at the end of any other is never given back to the system, not even by `malloc_trim`: a thread that
    has read one tensor may leave 64 MB behind.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


def configure_logging(name: str) -> None:
    """Log to stderr, in UTC; under a supervisor, warnings and errors also go to its console, in one line each.

    Of libraries only errors go there: what one of them warns of, Modelyard either handles or says better.
    """
    log = _Log()
    formatter = _Plain("{asctime}Z {levelname} {name}: {message}", "%Y-%m-%dT%H:%M:%S", style="{")
    formatter.converter = time.gmtime
    log.setFormatter(formatter)
    handlers: list[logging.Handler] = [log]
    descriptor = os.environ.pop(CONSOLE_FD, None)
    if descriptor is not None:
        os.set_inheritable(int(descriptor), False)
        console = _Log(os.fdopen(int(descriptor), "w"))
        console.setLevel(logging.WARNING)
        console.addFilter(lambda record: record.levelno >= logging.ERROR or record.name.startswith("modelyard"))
        console.setFormatter(_OneLine(name, validate=False))
        handlers.append(console)
    logging.basicConfig(level=logging.INFO, handlers=handlers)
    for library in ("httpx", "httpx2"):
        logging.getLogger(library).setLevel(logging.WARNING)  # they note every request
    # It warns on every import that a package is missing whose code it would fetch from a Hub.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def run_child(
    module: str,
    request: Mapping[str, Any],
    *,
    on_report: Report,
    should_stop: Callable[[], bool],
    log: Path | None = None,
    poll_seconds: float = 0.5,
    grace_seconds: float = 5.0,
) -> dict[str, Any]:
    """Run `python -m module`, whose body is `child_main(…)`, with `request` (JSON); return its result.

    `on_report` gets each of its reports and `should_stop` is asked every `poll_seconds` (it may renew a lease). When
    it says yes, or either of them raises, the child and everything it started get SIGTERM, then SIGKILL after
    `grace_seconds`. What it prints goes to the end of the file `log`, or where this process's own output goes. Raises
    ChildStopped, ChildCrashed, or the ModelyardError the child ended with.
    """

    def stop_if_asked() -> None:
        if should_stop():
            raise ChildStopped

    reading, writing = os.pipe()
    requests, asking = os.pipe()
    with (
        os.fdopen(reading, "rb", buffering=0) as reports,
        os.fdopen(asking, "wb") as stdin,
        parent_pipe() as (parent, environment),
        contextlib.nullcontext() if log is None else open_private(log, "ab") as printed,
    ):
        # Only the child keeps them, so that its end is the end of the reports.
        with os.fdopen(writing, "wb"), os.fdopen(requests, "rb"):
            process = start_process(
                module,
                child_environment(**environment, **{REPORT_FD: str(writing)}),
                stdin=requests,
                stdout=1 if printed is None else printed.fileno(),
                stderr=2 if printed is None else printed.fileno(),
                keep=(parent, writing),
                leads_group=True,
                while_waiting=stop_if_asked,
            )
        try:
            with contextlib.suppress(BrokenPipeError), stdin:
                stdin.write(json.dumps(dict(request)).encode())
            answer = _follow(reports, on_report, should_stop, poll_seconds)
            # It is about to end by itself, with an exit code that says more than a signal's.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
        finally:
            end_group(process, grace_seconds)
    if answer is None:
        raise ChildCrashed(module, process.wait(), log)
    if "error" in answer:
        raise error_from(answer["error"])
    result: dict[str, Any] = answer["result"]
    return result


def _follow(
    reports: IO[bytes], on_report: Report, should_stop: Callable[[], bool], poll_seconds: float
) -> dict[str, Any] | None:
    """Hand on reports until the answer (the result or the error) comes; None if the child ended without one."""
    buffered = b""
    next_poll = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(reports, selectors.EVENT_READ)
        while True:
            if time.monotonic() >= next_poll:
                if should_stop():
                    raise ChildStopped
                next_poll = time.monotonic() + poll_seconds
            if not selector.select(max(0.0, next_poll - time.monotonic())):
                continue
            received = reports.read(65_536)
            if not received:
                return None
            *lines, buffered = (buffered + received).split(b"\n")
            for line in lines:
                message: dict[str, Any] = json.loads(line)
                if "report" not in message:
                    return message
                on_report(message["report"])


def end_group(process: Process, grace_seconds: float) -> None:
    """End a child that leads a process group: SIGTERM, after `grace_seconds` SIGKILL for whatever is left of it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child_main(work: Callable[[dict[str, Any], Report], dict[str, Any]]) -> NoReturn:
    """Return the body of a module that `run_child` runs: `work(request, report)` returns the result.

    A ModelyardError, or a disk that is full or may not be used, is handed to the parent; any other exception ends the
    process with a traceback in the log.
    """
    watch_parent(kill=True)
    descriptor = int(os.environ.pop(REPORT_FD))
    os.set_inheritable(descriptor, False)
    request = json.load(sys.stdin)
    with os.fdopen(descriptor, "w", buffering=1) as channel:

        def send(message: dict[str, Any]) -> None:
            channel.write(json.dumps(message) + "\n")

        try:
            with storage_errors():
                result = work(request, lambda report: send({"report": report}))
            send({"result": result})
        except ModelyardError as error:
            send({"error": error.as_dict() | {"extra": error.extra}})
    sys.exit(0)
