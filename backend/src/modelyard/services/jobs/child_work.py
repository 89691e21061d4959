"""The heavy part of a job, in a process of its own: it may be stopped and killed, and its memory comes back."""

import signal
from collections.abc import Mapping
from typing import Any

from modelyard.core.container import killed_for_memory, oom_kills
from modelyard.core.errors import OutOfMemory
from modelyard.models import JobControl
from modelyard.services.jobs.control import (
    IMPORTING_MESSAGE,
    STARTING,
    JobPaused,
    JobProgress,
    JobReporter,
    raise_if_stopped,
)


def report_importing(reporter: JobReporter, phase: str) -> None:
    """Report that a phase begins with the import of the libraries."""
    reporter.report(JobProgress(phase=phase, message=IMPORTING_MESSAGE, step=STARTING))


def run_in_child(
    module: str, request: dict[str, Any], reporter: JobReporter, *, phase: str, doing: str
) -> dict[str, Any]:
    """Run `module` with `request`, report `phase` and then the child's own steps, and return its result.

    `doing` ends the sentence "Memory ran out while …". Raises JobPaused or JobCancelled when asked to stop, OutOfMemory
    for a child that the system killed, and what the child raises.
    """
    from modelyard.core.process import ChildCrashed, ChildStopped, run_child
    from modelyard.core.start_process import EXIT_UNKNOWN

    report_importing(reporter, phase)
    kills = oom_kills()
    try:
        return run_child(
            module,
            request,
            on_report=lambda report: reporter.report(_progress(report)),
            should_stop=lambda: reporter.control() is not JobControl.RUN,
        )
    except ChildStopped:
        raise_if_stopped(reporter)
        raise JobPaused from None
    except ChildCrashed as error:
        if error.exit_code in (-signal.SIGKILL, EXIT_UNKNOWN) and killed_for_memory(kills, oom_kills()):
            raise OutOfMemory(f"Memory ran out while {doing}.") from error
        raise


def _progress(report: Mapping[str, Any]) -> JobProgress:
    return JobProgress(
        phase=report["phase"],
        files_done=report["done"],
        files_total=report["total"],
        message=report["message"],
        step={"name": report["phase"], "done": report["done"], "total": report["total"]},
    )
