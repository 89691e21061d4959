"""A child process that breaks its limits is ended, and the job is told which one it was."""

import signal
from pathlib import Path
from typing import Any

import pytest

from modelyard.core import process
from modelyard.core.process import ChildCrashed
from modelyard.core.process_limits import Limits
from modelyard.models import JobControl
from modelyard.services.jobs.child_work import LimitExceeded, run_in_child
from modelyard.services.jobs.control import JobProgress
from support.warm import without_channel

ENDLESS = """
import json, sys
limits = json.load(sys.stdin)["limits"]
assert limits["cpu_seconds"] == 5
while True:
    pass
"""


class Reporter:
    def report(self, progress: JobProgress) -> None:
        """Nobody watches."""

    def control(self) -> JobControl:
        return JobControl.RUN


def _run(module: str, limits: Limits) -> dict[str, Any]:
    return run_in_child(module, {}, Reporter(), phase="converting", doing="it ran", limits=limits)


def test_a_child_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with without_channel(), pytest.raises(LimitExceeded, match=r"took more than 0\.2 s"):
        _run("endless", Limits(memory_bytes=10**9, cpu_seconds=5, seconds=0.2))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGXCPU, "took more than 5 s of processor time"),
        (signal.SIGABRT, r"used more than 1\.00 GB of memory"),
    ],
)
def test_what_ended_a_child_is_told(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, words: str) -> None:
    def run_child(module: str, _request: dict[str, Any], **_options: Any) -> dict[str, Any]:
        raise ChildCrashed(module, -number)

    monkeypatch.setattr(process, "run_child", run_child)
    with pytest.raises(LimitExceeded, match=words):
        _run("any", Limits(memory_bytes=10**9, cpu_seconds=5, seconds=60.0))
