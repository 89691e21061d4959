"""What is forked from the worker parent knows no more and nothing else than what is started afresh."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.start_process import ForkedProcess, can_fork, request_fork
from support.secrets import SECRETS, environment_of
from support.warm import WarmParent

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system starts every child afresh")
PROGRAM = (
    "from modelyard.workers.processes import fork_server, worker_parent\n"
    "fork_server.run('workers', ['known'], worker_parent.LIBRARIES, worker_parent.ENVIRONMENT, worker_parent.READ_ONCE)"
)
AT_A_TERMINAL = ("ITERM_PROFILE", "TERM")
OF_A_HUB = {
    "HF_HOME": "/somewhere/else",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_SYMLINKS": "1",
    "HF_HUB_ETAG_TIMEOUT": "77",
}


@pytest.fixture(scope="module")
def parent() -> Iterator[WarmParent]:
    """One that may fork `known`."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        source = Path(__file__).parents[3] / "src"
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (source, Path(__file__).parent))))
        patch.setenv("PYTHONHASHSEED", "1")  # sets are shown in the same order
        for name in SECRETS:
            patch.setenv(name, "a-long-enough-secret")
        parent = WarmParent(stack, "-c", PROGRAM)
        parent.start()
        yield parent


def forked(parent: WarmParent, environment: Mapping[str, str]) -> tuple[ForkedProcess | None, dict[str, Any]]:
    """The process, if one was forked, and what it printed."""
    reading, writing = os.pipe()
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        descriptors = {0: nothing.fileno(), 1: writing, 2: 2}
        request = request_fork("known", (), environment, descriptors, channel=parent.descriptor)
        assert request is not None
        assert request.is_answered(60)
        process = request.take()
    os.close(writing)
    with os.fdopen(reading) as printed:
        return process, json.loads(printed.read() or "{}")


def environment(**added: str) -> dict[str, str]:
    """As a worker that downloads gets it."""
    return {name: value for name, value in os.environ.items() if name not in AT_A_TERMINAL} | added


@pytest.mark.parametrize("added", [{}, OF_A_HUB, {"HF_HUB_OFFLINE": "1"}], ids=["plain", "hub", "offline"])
def test_a_forked_child_knows_what_one_started_afresh_knows(parent: WarmParent, added: dict[str, str]) -> None:
    process, found = forked(parent, environment(**added))
    assert process is not None
    assert process.wait(30) == 0
    assert found["parent"] == parent.process.pid
    command = [sys.executable, "-P", "-m", "known"]
    afresh = subprocess.run(command, env=environment(**added), check=True, capture_output=True, text=True)
    known = json.loads(afresh.stdout)["known"]
    both = known.keys() & found["known"].keys()
    assert {name: (found["known"][name], known[name]) for name in both if found["known"][name] != known[name]} == {}
    assert known.keys() - both == set()
    assert len(known) > 1000
    assert (known["huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT"] == "77") == ("HF_HUB_ETAG_TIMEOUT" in added)


@pytest.mark.parametrize(
    "variable", ["CELERY_WORKER_REVOKES_MAX", "KOMBU_LOG_CONNECTION", "LC_ALL", "MALLOC_ARENA_MAX"]
)
def test_a_child_for_which_libraries_would_have_been_imported_otherwise_is_refused(
    parent: WarmParent, variable: str
) -> None:
    process, _ = forked(parent, environment(**{variable: "1"}))
    assert process is None


def test_it_holds_no_secret(parent: WarmParent) -> None:
    forked(parent, environment())
    assert not set(SECRETS) & set(environment_of(parent.process.pid))
