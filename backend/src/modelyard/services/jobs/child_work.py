"""The heavy part of a job, in a process of its own: it may be stopped and killed, and its memory comes back."""

import signal
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from modelyard.core.container import killed_for_memory, oom_kills
from modelyard.core.errors import OutOfMemory
from modelyard.core.process_limits import Limits
from modelyard.core.units import size
from modelyard.models import JobControl
from modelyard.services.jobs.control import (
    IMPORTING_MESSAGE,
    STARTING,
    JobPaused,
    JobProgress,
    JobReporter,
    raise_if_stopped,
)


class LimitExceeded(Exception):
    """The child was ended because it took more than its limits; the text ends the sentence "the child …"."""


def report_importing(reporter: JobReporter, phase: str) -> None:
    """Report that a phase begins with the import of the libraries."""
    reporter.report(JobProgress(phase=phase, message=IMPORTING_MESSAGE, step=STARTING))


def run_in_child(
    module: str,
    request: dict[str, Any],
    reporter: JobReporter,
    *,
    phase: str,
    doing: str,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Run `module` with `request`, report `phase` and then the child's own steps, and return its result.

    `doing` ends the sentence "Memory ran out while …". `limits` are handed to the child, which sets those that the
    kernel enforces. Raises JobPaused or JobCancelled when asked to stop, LimitExceeded, OutOfMemory for a child that
    the system killed, and what the child raises.
    """
    from modelyard.core.process import ChildCrashed, ChildStopped, run_child
    from modelyard.core.start_process import EXIT_UNKNOWN

    report_importing(reporter, phase)
    kills, started = oom_kills(), time.monotonic()

    def should_stop() -> bool:
        if limits is not None and time.monotonic() - started > limits.seconds:
            raise LimitExceeded(f"took more than {limits.seconds:g} s")
        return reporter.control() is not JobControl.RUN

    try:
        return run_child(
            module,
            request if limits is None else request | {"limits": asdict(limits)},
            on_report=lambda report: reporter.report(_progress(report)),
            should_stop=should_stop,
        )
    except ChildStopped:
        raise_if_stopped(reporter)
        raise JobPaused from None
    except ChildCrashed as error:
        if error.exit_code in (-signal.SIGKILL, EXIT_UNKNOWN) and killed_for_memory(kills, oom_kills()):
            raise OutOfMemory(f"Memory ran out while {doing}.") from error
        if limits is not None and error.exit_code == -signal.SIGXCPU:
            raise LimitExceeded(f"took more than {limits.cpu_seconds} s of processor time") from error
        if limits is not None and error.exit_code == -signal.SIGABRT:  # how native code ends that is refused memory
            raise LimitExceeded(f"used more than {size(limits.memory_bytes)} of memory, or crashed") from error
        raise


def _progress(report: Mapping[str, Any]) -> JobProgress:
    return JobProgress(
        phase=report["phase"],
        files_done=report["done"],
        files_total=report["total"],
        message=report["message"],
        step={"name": report["phase"], "done": report["done"], "total": report["total"]},
    )
