"""A child is the same whether it is forked from a warm parent or started afresh, and survives the warm parent."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.core.child_environment import child_environment
from modelyard.core.process import ChildCrashed, ChildStopped, run_child
from modelyard.core.start_process import EXIT_UNKNOWN, WARM_FD, Process, can_fork, start_process
from modelyard.core.warm_state import warm_state
from modelyard.workers.processes.fork_server import Rules
from support.warm import WarmParent, warm_parent_of, without_channel

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system starts every child afresh")
PATH = os.pathsep.join(
    [str(Path(__file__).parents[2] / "src"), str(Path(__file__).parent), str(Path(__file__).parents[1])]
)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmParent]:
    """A channel whose warm parent the test starts."""
    monkeypatch.setenv("PYTHONPATH", PATH)
    with warm_parent_of("tiny_child") as parent:
        monkeypatch.setenv(WARM_FD, parent.environment[WARM_FD])
        yield parent


def run(
    on_report: Callable[[dict[str, Any]], None] = print,
    should_stop: Callable[[], bool] = lambda: False,
    **request: object,
) -> dict[str, Any]:
    return run_child("tiny_child", request, on_report=on_report, should_stop=should_stop, poll_seconds=0.05)


def is_forked(process: Process) -> bool:
    return not isinstance(process, subprocess.Popen)


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_forked_child_is_what_one_started_afresh_is(
    parent: WarmParent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parent.start()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        forked = run(do="describe")
        with without_channel():
            afresh = run(do="describe")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [soft - 1, hard] in forked["limits"]
    assert forked == afresh
    assert forked["descriptors"] == [0, 1, 2, *forked["descriptors"][3:]]
    assert len(forked["descriptors"]) == 5, "the life line, and the reports"


@pytest.mark.parametrize("forked", [True, False])
def test_a_child_leaves_nothing_undone_when_it_ends(forked: bool, parent: WarmParent, tmp_path: Path) -> None:
    """A forked one does not take Python apart, and yet waits for threads, runs exit functions and writes its output."""
    parent.start()
    with nullcontext() if forked else without_channel():
        result = run_child(
            "tiny_child",
            {"do": "leave", "folder": str(tmp_path), "a": 1, "b": 2},
            on_report=print,
            should_stop=lambda: False,
            log=tmp_path / "log",
        )
    assert result == {"sum": 3}
    assert (tmp_path / "ended").read_text() == "True"
    assert (tmp_path / "log").read_text().endswith("the last words")


def test_a_forked_child_is_shown_as_what_it_runs(parent: WarmParent, tmp_path: Path) -> None:
    parent.start()
    seen: list[list[str]] = []

    def look(report: dict[str, Any]) -> None:
        seen.append(psutil.Process(report["pids"][0]).cmdline()[1:])
        (tmp_path / "go").touch()

    run(look, do="wait", until=str(tmp_path / "go"), a=1, b=1)
    assert seen == [["-P", "-m", "tiny_child"]]


def test_work_goes_on_when_the_warm_parent_is_killed(parent: WarmParent, tmp_path: Path) -> None:
    parent.start()

    def kill(_report: dict[str, Any]) -> None:
        parent.kill()
        (tmp_path / "go").touch()

    assert run(kill, do="wait", until=str(tmp_path / "go"), a=1, b=2) == {"sum": 3}


def test_a_child_that_dies_after_the_warm_parent_is_noticed(parent: WarmParent, tmp_path: Path) -> None:
    parent.start()

    def kill_both(report: dict[str, Any]) -> None:
        parent.kill()
        os.kill(report["pids"][0], signal.SIGKILL)

    with pytest.raises(ChildCrashed, match="ended") as caught:
        run(kill_both, do="wait", until=str(tmp_path / "never"))
    assert caught.value.exit_code == EXIT_UNKNOWN


def test_a_child_can_be_stopped_after_the_warm_parent(parent: WarmParent, tmp_path: Path) -> None:
    parent.start()
    pids: list[int] = []

    def kill(report: dict[str, Any]) -> None:
        parent.kill()
        pids.extend(report["pids"])

    with pytest.raises(ChildStopped):
        run(kill, lambda: bool(pids), do="wait", until=str(tmp_path / "never"))
    wait_until(lambda: gone(pids[0]))


def test_a_request_waits_for_a_warm_parent_that_is_starting(parent: WarmParent) -> None:
    answers: list[dict[str, Any]] = []
    asked = threading.Event()

    def note() -> bool:
        asked.set()
        return False

    asking = threading.Thread(target=lambda: answers.append(run(should_stop=note, do="parent")))
    asking.start()
    assert asked.wait(30)
    assert not warm_state().warm
    process = parent.start()
    asking.join(60)
    assert answers == [{"parent": process.pid}]
    wait_until(lambda: warm_state().warm)


def test_what_is_known_of_a_warm_parent_follows_it(parent: WarmParent, tmp_path: Path) -> None:
    known: list[tuple[int, ...]] = []

    def look(report: dict[str, Any]) -> None:
        known.append((parent.process.pid, *report["pids"]))
        known.append(warm_state().pids)
        (tmp_path / "go").touch()

    assert (warm_state().warm, warm_state().importing) == (False, True)
    parent.start()
    wait_until(lambda: warm_state().warm)
    run(look, do="wait", until=str(tmp_path / "go"), a=1, b=1)
    assert known[0] == known[1]
    parent.kill()
    wait_until(lambda: not warm_state().warm)
    assert warm_state().importing, "it is started again"
    parent.start()
    wait_until(lambda: warm_state().warm)
    assert warm_state().pids == (parent.process.pid,)


def test_whoever_waits_for_a_warm_parent_can_stop(parent: WarmParent) -> None:
    with pytest.raises(ChildStopped):
        run(should_stop=lambda: True, do="parent")
    parent.start()
    wait_until(lambda: warm_state().warm)
    assert warm_state().pids == (parent.process.pid,), "the request that was given up is not met"


def test_a_warm_parent_that_takes_no_more_is_not_waited_for(parent: WarmParent) -> None:
    """As one that cannot be started for a long time."""
    assert _is_full(parent)
    assert run(do="parent") == {"parent": os.getpid()}


def _is_full(parent: WarmParent) -> bool:
    import socket

    channel = socket.socket(fileno=parent.descriptor)
    try:
        while True:
            channel.send(b"{}" * 5000, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    finally:
        channel.detach()


@pytest.mark.parametrize("descriptor", ["", "nonsense", "77777", "2"])
def test_without_a_channel_children_are_started_afresh(
    descriptor: str, parent: WarmParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.start()
    monkeypatch.setenv(WARM_FD, descriptor)
    assert run(do="parent") == {"parent": os.getpid()}
    assert not warm_state().warm


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "OMP_WAIT_POLICY", "LC_ALL", "MKL_NUM_THREADS"])
def test_a_child_for_which_libraries_would_have_been_imported_otherwise_is_started_afresh(
    variable: str, parent: WarmParent, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.start()
    assert run(do="parent") == {"parent": parent.process.pid}
    monkeypatch.setenv(variable, "7")
    assert run(do="parent") == {"parent": os.getpid()}


def test_only_listed_modules_are_forked(parent: WarmParent) -> None:
    parent.start()
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        process = start_process("this", child_environment(), stdin=nothing.fileno())
    assert not is_forked(process)
    assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "devices", "refused"),
    [
        ({}, None, False),
        ({}, "", False),
        ({"accelerator": True}, None, True),
        ({"accelerator": True}, "0", True),
        ({"accelerator": True}, "", False),
        ({"broken": "torch is missing"}, "", True),
    ],
)
def test_what_may_use_an_accelerator_or_lacks_libraries_is_refused(
    options: dict[str, Any], devices: str | None, refused: bool
) -> None:
    environment: Mapping[str, str] = {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
    rules = Rules(["child"], {}, **options)
    assert (rules.refusal({"module": "child", "environment": environment}) is not None) == refused


@pytest.mark.parametrize("warm_parent_lives", [True, False])
def test_a_forked_child_ends_with_the_process_that_asked_for_it(
    warm_parent_lives: bool, parent: WarmParent, tmp_path: Path
) -> None:
    parent.start()
    program = (
        "import pathlib; from modelyard.core.process import run_child\n"
        "run_child('tiny_child', {'do': 'hang'}, on_report=lambda r: print(*r['pids'], flush=True),"
        " should_stop=lambda: False, log=pathlib.Path('/dev/null'))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | parent.environment,
        pass_fds=[parent.descriptor],
        stdout=subprocess.PIPE,
        text=True,
    ) as asking:
        assert asking.stdout is not None
        child, grandchild = map(int, asking.stdout.readline().split())
        assert psutil.Process(child).ppid() == parent.process.pid
        if not warm_parent_lives:
            parent.kill()
        asking.kill()
    wait_until(lambda: gone(child) and gone(grandchild))


def test_a_warm_parent_ends_with_its_supervisor(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import time\n"
        "from support.warm import warm_parent_of\n"
        "with warm_parent_of() as parent: print(parent.start().pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
    wait_until(lambda: gone(pid))


def test_the_exit_of_a_forked_process_is_reported_as_that_of_any_other(parent: WarmParent) -> None:
    parent.start()
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        reading, writing = os.pipe()
        process = start_process("tiny_child", child_environment(MODELYARD_REPORT_FD="2"), stdin=reading)
        os.close(reading)
        assert is_forked(process)
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(signal_number)
        assert process.wait(30) == process.poll() == process.returncode == -signal_number
        process.kill()  # has no effect any more
        os.close(writing)
