"""The parent's side of the inspector: one warm child process that builds models on the meta device.

Imports neither torch nor transformers. The child (`inspector_child`) patches transformers while it builds, so it never
loads weights, and no process that loads weights inspects.
"""

import json
import logging
import os
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from modelyard.core.child_environment import child_environment
from modelyard.core.errors import ModelyardError, error_from
from modelyard.core.process import describe_exit
from modelyard.core.start_process import Process, start_process

Kind = Literal["warm_up", "support", "memory", "kv_cache", "activations", "architecture", "dtype_speed"]

_CHILD = "modelyard.ml.inspect.inspector_child"
_CHILD_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
_GRACE_SECONDS = 1.5
_LEAST_SECONDS = 0.05
_WAY_SECONDS = 0.1
_START_SECONDS = 120.0  # imports take seconds, and many on a busy machine


logger = logging.getLogger(__name__)


class InspectorTimeout(ModelyardError):
    """The answer did not come in time."""

    code = "inspector_timeout"
    default_hint = "Try again; a very deep model may need longer than the limit."


class InspectorBusy(InspectorTimeout):
    """The question was not even put: others were being answered, or the child is starting."""

    code = "inspector_busy"


class _Hung(InspectorTimeout):
    """Not even the child's own time limit worked."""


class InspectorCrashed(ModelyardError):
    """The child process ended instead of answering; the next question starts a new one."""

    code = "inspector_crashed"
    default_hint = "Try again; if it happens again, this config.json cannot be inspected here."


class Inspector:
    """Asks questions about configs, one at a time, and restarts its child when it hangs or dies.

    Thread-safe: callers wait for each other, and waiting counts towards their own time limit. A question that gives way
    is dropped as soon as another comes. The child starts with the first question and ends when this process does,
    however that ends; before, when nothing was asked for `idle_seconds`, if that is given: to be used where the next
    one starts in no time.
    """

    def __init__(self, *, idle_seconds: float | None = None) -> None:
        self._idle_seconds = idle_seconds
        self._idle: threading.Timer | None = None
        self._lock = threading.Lock()  # guards the child and the timer
        self._child: _Child | None = None
        self._closed = False
        self._way = threading.Lock()  # guards these two; held for moments only
        self._gives_way = False  # the question that is being answered
        self._gave_way = False

    def inspect(
        self, kind: Kind, config: Mapping[str, Any], *, timeout: float, gives_way: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Return the child's answer to one question, as the JSON form of the dataclass that `kind` names.

        `timeout` is in seconds and covers waiting, starting and answering. A question that `gives_way` waits for
        nobody. `options` are the keyword arguments of the function asked for. Raises `InspectorTimeout`,
        `InspectorCrashed`, or the error the child's function raised.
        """
        deadline = time.monotonic() + timeout
        if not self._acquire(0.0 if gives_way else timeout):
            raise InspectorBusy("The inspector was busy with other questions.")
        try:
            self._stop_idle_timer()
            if self._closed:
                raise InspectorCrashed("The inspector was closed.")
            if self._child is None or not self._child.alive:
                self._stop()
                self._child = _Child()
            if not self._child.wait_until_ready(time.monotonic() if gives_way else deadline):
                # A child that is stopped while it starts would never get to answer anybody.
                raise InspectorBusy("The inspector is still starting.", hint="Try again in a few seconds.")
            with self._way:
                self._gives_way, self._gave_way = gives_way, False
            reply = self._ask(self._child, kind, config, options, deadline)
        except (_Hung, InspectorCrashed):
            self._stop()
            if not self._closed:
                self._child = _Child()  # so that it is warm for the next question
            raise
        finally:
            with self._way:
                gave_way, self._gives_way, self._gave_way = self._gave_way, False, False
            self._start_idle_timer()
            self._lock.release()
        if reply["ok"]:
            result: dict[str, Any] = reply["result"]
            return result
        if gave_way and reply["error"]["code"] == InspectorTimeout.code:
            raise InspectorBusy("The inspector was asked something else.")
        raise error_from(reply["error"])

    def _acquire(self, timeout: float) -> bool:
        """Hold the lock within `timeout` seconds; a question that gives way is made to."""
        deadline = time.monotonic() + timeout
        while not self._lock.acquire(timeout=max(0.0, min(_WAY_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                return False
            with self._way:
                if self._gives_way and (child := self._child) is not None:
                    self._gave_way = True
                    child.stop_answering()
        return True

    def close(self) -> None:
        """End the child at once; the question it is answering fails, and so do later ones."""
        self._closed = True
        while not self._lock.acquire(timeout=0.1):
            # Whoever waits for the child's answer holds the lock, and may have started the child just now.
            if (child := self._child) is not None:
                child.interrupt()
        try:
            self._stop_idle_timer()
            self._stop()
        finally:
            self._lock.release()

    def _start_idle_timer(self) -> None:
        if self._idle_seconds is None or self._child is None:
            return
        self._idle = threading.Timer(self._idle_seconds, self._end_idle)
        self._idle.name, self._idle.daemon = "inspector-idle", True
        self._idle.start()

    def _stop_idle_timer(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _end_idle(self) -> None:
        with self._lock:
            # Cancelled too late, it finds another timer in its place, or none.
            if self._idle is threading.current_thread():
                self._idle = None
                self._stop()

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    @staticmethod
    def _ask(
        child: "_Child", kind: Kind, config: Mapping[str, Any], options: Mapping[str, Any], deadline: float
    ) -> dict[str, Any]:
        left = deadline - time.monotonic()
        # The child gives up by itself a little earlier, which keeps it warm; killing it is for real hangs.
        limit = max(left - _GRACE_SECONDS, left / 2, _LEAST_SECONDS)
        child.send({"kind": kind, "config": config, "options": options, "limit_seconds": limit})
        return child.receive(deadline - time.monotonic())


class _Killed(Exception):
    """It was killed before it was started."""


class _Child:
    """The child process and the two ends of its pipes.

    A thread starts it, because that waits for the warm parent where there is one, and then reads its replies.
    """

    def __init__(self) -> None:
        # Killed in the middle of a question, the child leaves a config behind.
        self._folder = tempfile.TemporaryDirectory(prefix="modelyard-inspector-")
        self._process: Process | None = None
        self._killed = False
        self._lock = threading.Lock()  # guards these two
        self._started = time.monotonic()
        self._ready = False
        self._replies: queue.Queue[str | None] = queue.Queue()
        stdin, asking = os.pipe()
        self._requests = os.fdopen(asking, "w", encoding="utf-8")
        self._thread = threading.Thread(target=self._run, args=(stdin,), name="inspector-replies", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and (self._process is None or self._process.poll() is None)

    def wait_until_ready(self, deadline: float) -> bool:
        """Return whether the child has started by then. Raises `InspectorCrashed` if it never will."""
        if not self._ready:
            try:
                self._ready = self._receive(deadline - time.monotonic()) == {"ready": True}
            except queue.Empty:
                if time.monotonic() - self._started > _START_SECONDS:
                    raise InspectorCrashed(f"The inspector did not start within {_START_SECONDS:.0f} s.") from None
        return self._ready

    def send(self, request: Mapping[str, Any]) -> None:
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
        except BrokenPipeError as error:
            raise self._crashed() from error

    def receive(self, timeout: float) -> dict[str, Any]:
        try:
            return self._receive(timeout)
        except queue.Empty:
            raise _Hung("The inspector did not answer in time and was restarted.") from None

    def _receive(self, timeout: float) -> dict[str, Any]:
        line = self._replies.get(timeout=max(timeout, 0.0))
        if line is None:
            raise self._crashed()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def interrupt(self) -> None:
        """Kill the process; whoever waits for an answer hears that it crashed."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def stop_answering(self) -> None:
        """End the question that is being answered as its time limit would, which keeps the child."""
        if self._process is not None:
            self._process.send_signal(signal.SIGALRM)

    def kill(self) -> None:
        self.interrupt()
        self._thread.join()
        with suppress(BrokenPipeError):  # a request that it never read
            self._requests.close()
        self._folder.cleanup()

    def _crashed(self) -> InspectorCrashed:
        if self._process is None:
            return InspectorCrashed("The inspector did not start.")
        return InspectorCrashed(f"The inspector {describe_exit(self._process.wait())}.")

    def _run(self, stdin: int) -> None:
        reading, stdout = os.pipe()
        try:
            with os.fdopen(reading, encoding="utf-8") as replies:
                with os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"):
                    self._start(stdin, stdout)
                for line in replies:
                    self._replies.put(line)
            if self._process is not None:
                self._process.wait()
        except _Killed:
            pass
        except OSError:
            logger.exception("the inspector cannot be started")
        finally:
            self._replies.put(None)

    def _start(self, stdin: int, stdout: int) -> None:
        environment = child_environment(**_CHILD_ENVIRONMENT, TMPDIR=self._folder.name)
        process = start_process(_CHILD, environment, stdin=stdin, stdout=stdout, while_waiting=self._stop_if_killed)
        with self._lock:
            self._process = process
            if self._killed:
                process.kill()

    def _stop_if_killed(self) -> None:
        if self._killed:
            raise _Killed
