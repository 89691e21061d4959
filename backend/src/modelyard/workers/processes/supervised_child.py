"""A child process of the supervisor: how it is started, where its output goes, and when it is started again."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO

from modelyard.core.start_process import ForkedProcess, ForkRequest, Process, request_fork
from modelyard.workers.processes.child_log import ChildLog

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_SETTLED_SECONDS = 30.0


@dataclass
class SupervisedChild:
    """A child of the supervisor: started, watched, and started again after its end."""

    name: str
    arguments: list[str]
    descriptors: tuple[int, ...]
    environment: Mapping[str, str]
    log: ChildLog | None
    """Where its output goes; None: where the supervisor's own goes."""
    fork_channel: int | None = None
    """The descriptor on which a parent is asked to fork it; None: it is started afresh."""
    process: Process | None = None
    request: ForkRequest | None = None
    """For the process; until it is answered there is none."""
    started_at: float = 0.0
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)

    @property
    def due_at(self) -> float:
        """When it is to be started, or the answer to the request is no longer waited for, while it does not run."""
        return self.start_at if self.request is None else self.request.deadline

    @property
    def news(self) -> int | None:
        """The descriptor that tells of an answer or an exit; None where there is none to come, or a signal tells."""
        if self.request is not None:
            return self.request.fileno()
        if isinstance(self.process, ForkedProcess) and self.process.returncode is None:
            return self.process.fileno()
        return None

    def start(self) -> None:
        """Start the process, or ask for a fork: then `take_answer` is to be called."""
        self.started_at = time.monotonic()
        with self._output() as output:
            if self.fork_channel is not None:
                self.request = self._request(output, self.fork_channel)
            if self.request is None:
                self._spawn(output)

    def take_answer(self) -> None:
        """Once the request is answered, take over what was forked, or start the process afresh."""
        if self.request is None or not self.request.is_answered():
            return
        self.started_at = time.monotonic()
        self.process, self.request = self.request.take(), None
        if self.process is None:
            with self._output() as output:
                self._spawn(output)

    @contextlib.contextmanager
    def _output(self) -> Iterator[IO[bytes] | None]:
        log = None if self.log is None else self._open_log(self.log)
        with log or contextlib.nullcontext():
            yield log

    def _open_log(self, log: ChildLog) -> IO[bytes] | None:
        """For appending; None where that cannot be, so that the child starts anyway."""
        try:
            return log.open()
        except OSError as error:
            say(f"{log.path} cannot be written ({error.strerror}): {self.name} writes here instead.", problem=True)
            return None

    def _spawn(self, output: IO[bytes] | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", *self.arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=self.environment,
            pass_fds=self.descriptors,
            start_new_session=True,
        )

    def _request(self, output: IO[bytes] | None, channel: int) -> ForkRequest | None:
        module, *arguments = self.arguments
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            stdout, stderr = (1, 2) if output is None else (output.fileno(), output.fileno())
            descriptors = {0: nothing.fileno(), 1: stdout, 2: stderr} | {number: number for number in self.descriptors}
            return request_fork(module, arguments, self.environment, descriptors, channel=channel)

    def terminate(self) -> None:
        """Send the process SIGTERM, or take the request for it back."""
        if self.request is not None:
            self.request.withdraw()
            self.request = None
        if self.process is not None:
            self.process.terminate()

    def failed(self) -> float:
        """Note that the process died; return the seconds until it is to be started again."""
        if time.monotonic() - self.started_at > _SETTLED_SECONDS:
            self.failures = 0
        delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0**self.failures)
        self.failures += 1
        self.process = None
        self.start_at = time.monotonic() + delay
        return delay

    def last_log_line(self) -> str:
        """Return the last line the process wrote."""
        return "the reason is above" if self.log is None else self.log.last_line()


def say(line: str, *, problem: bool = False) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone by now
        print(line, file=sys.stderr if problem else sys.stdout, flush=True)
