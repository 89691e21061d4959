"""A child process of the supervisor: how it is started, where its output goes, and when it is started again."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from modelyard.workers.processes.child_log import ChildLog

_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
_SETTLED_SECONDS = 30.0


@dataclass
class SupervisedChild:
    name: str
    arguments: list[str]
    descriptors: tuple[int, ...]
    environment: Mapping[str, str]
    log: ChildLog | None
    """Where its output goes; None: where the supervisor's own goes."""
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        self.started_at = time.monotonic()
        if self.log is None:
            self._spawn(None)
            return
        log = self._open_log(self.log)
        with log or contextlib.nullcontext():
            self._spawn(log)

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

    def failed(self) -> float:
        """Note that the process died; return the seconds until it is to be started again."""
        if time.monotonic() - self.started_at > _SETTLED_SECONDS:
            self.failures = 0
        delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2.0**self.failures)
        self.failures += 1
        self.process = None
        self.start_at = time.monotonic() + delay
        return delay

    def last_words(self) -> str:
        """The last line the process wrote."""
        return "the reason is above" if self.log is None else self.log.last_line()


def say(line: str, *, problem: bool = False) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone by now
        print(line, file=sys.stderr if problem else sys.stdout, flush=True)
