import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelyard.core.errors import AlreadyExists, DiskFull
from modelyard.core.process import ChildCrashed, ChildStopped, configure_logging, parent_pipe, run_child
from modelyard.core.start_process import WARM_FD
from support.secrets import SECRETS
from support.storage import small_disk
from support.warm import warm_parent_of, without_channel


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    source = Path(__file__).parents[2] / "src"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(source), str(Path(__file__).parent)]))
        yield


@pytest.fixture(scope="module", params=["afresh", "forked"])
def start(request: pytest.FixtureRequest, _importable: None) -> Iterator[str]:
    """How `run_child` starts children: what these tests say holds for both."""
    with ExitStack() as stack:
        if request.param == "forked":
            parent = stack.enter_context(warm_parent_of("tiny_child"))
            parent.start()
            os.environ |= parent.environment
        else:
            stack.enter_context(without_channel())
        yield request.param
        os.environ.pop(WARM_FD, None)


def run(reports: list[dict[str, Any]] | None = None, **request: object) -> dict[str, Any]:
    on_report = (reports if reports is not None else []).append
    return run_child("tiny_child", request, on_report=on_report, should_stop=lambda: False)


def assert_gone(pids: list[int]) -> None:
    """Killed is killed, but the system may take a moment to clear a process away."""
    deadline = time.monotonic() + 5
    while alive := [pid for pid in pids if not is_gone(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.usefixtures("start")
def test_a_child_reports_and_answers() -> None:
    reports: list[dict[str, Any]] = []
    assert run(reports, do="add", a=1, b=2, steps=3) == {"sum": 3}
    assert reports == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_the_children_are_started_as_these_tests_say(start: str) -> None:
    assert (run(do="parent")["parent"] == os.getpid()) == (start == "afresh")


@pytest.mark.usefixtures("start")
def test_a_child_gets_its_folders_and_devices_and_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    given = {"MODELYARD_HOME": "/home", "HF_HUB_CACHE": "/cache", "CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "1"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = run(do="environment")
    assert seen["environment"].items() >= given.items()
    assert not set(SECRETS) & set(seen["environment"])
    assert not set(SECRETS) & {entry.partition("=")[0] for entry in seen["shown"].split("\0")}


@pytest.mark.usefixtures("start")
def test_many_reports_arrive_whole_and_in_order() -> None:
    reports: list[dict[str, Any]] = []
    run(reports, do="add", a=0, b=0, steps=20_000)
    assert [report["step"] for report in reports] == list(range(20_000))


@pytest.mark.usefixtures("start")
def test_a_childs_error_is_raised_here_with_all_it_says() -> None:
    with pytest.raises(AlreadyExists) as caught:
        run(do="error")
    assert (caught.value.message, caught.value.hint, caught.value.extra) == ("It is there.", "Look.", {"id": "1"})


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize(("what", "words", "exit_code"), [("bug", "exit code 1", 1), ("die", "out of memory", -9)])
def test_a_child_that_dies_says_how(what: str, words: str, exit_code: int) -> None:
    with pytest.raises(ChildCrashed, match=words) as caught:
        run(do=what)
    assert caught.value.exit_code == exit_code


@pytest.mark.usefixtures("start")
def test_what_children_print_goes_to_their_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("what an earlier one printed\n")
    with pytest.raises(ChildCrashed) as caught:
        run_child("tiny_child", {"do": "bug"}, on_report=print, should_stop=lambda: False, log=log)
    assert caught.value.hint == f"{log} has the details."
    first, second, *traceback = log.read_text().splitlines()
    assert (first, second[:15]) == ("what an earlier one printed", "libraries print")
    assert traceback[-1] == "ValueError: a bug"


@pytest.mark.usefixtures("start")
def test_a_stopped_child_is_killed_with_all_it_started() -> None:
    reports: list[dict[str, Any]] = []
    with pytest.raises(ChildStopped):
        run_child(
            "tiny_child",
            {"do": "hang"},
            on_report=reports.append,
            should_stop=lambda: bool(reports),
            poll_seconds=0.05,
            grace_seconds=0.2,
        )
    assert_gone(reports[0]["pids"])


@pytest.mark.usefixtures("start")
def test_a_child_is_killed_when_looking_after_it_fails() -> None:
    pids: list[int] = []

    def on_report(report: dict[str, Any]) -> None:
        pids.extend(report["pids"])
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        run_child("tiny_child", {"do": "hang"}, on_report=on_report, should_stop=lambda: False, grace_seconds=0.2)
    assert_gone(pids)


@pytest.mark.parametrize("platform", [sys.platform, "other"])
def test_a_process_ends_with_its_parent_on_every_platform(platform: str) -> None:
    program = (
        f"import sys; sys.platform = {platform!r}\n"
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "from modelyard.core.process import watch_parent; watch_parent(grace_seconds=0.5)\n"
        "print('watching', flush=True); time.sleep(60)"
    )
    with parent_pipe() as (parent, environment):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            pass_fds=(parent,),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"watching\n"
        time.sleep(0.2)
        assert child.poll() is None
    # The life line is cut: that is what the death of this process would look like.
    assert child.wait(30) == -9
    child.stdout.close()


@pytest.mark.parametrize(
    ("set_by_the_user", "policy", "spins"),
    [
        ({}, "PASSIVE", "20000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", "None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "PASSIVE", "None"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE", "7"),
    ],
)
def test_threads_that_wait_sleep_soon_unless_the_user_wants_otherwise(
    set_by_the_user: dict[str, str], policy: str, spins: str
) -> None:
    program = (
        "import sys, os; from modelyard.core.process import prepare_process; prepare_process()\n"
        "print(os.environ['OMP_WAIT_POLICY'], os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in ours} | set_by_the_user
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [policy, spins, "False"]


def test_the_console_gets_one_line_and_the_log_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    monkeypatch.setenv("MODELYARD_CONSOLE_FD", str(writing))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logging("downloads")
    logging.getLogger("modelyard.x").info("calm")
    logging.getLogger("modelyard.x").warning("first line\nsecond line")
    logging.getLogger("modelyard.x").warning("a name with \x1b[31m\x9b31m in it")
    logging.getLogger("some.library").warning("chatter")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    for handler in root.handlers:
        handler.flush()
    console = os.read(reading, 10_000).decode()
    shown = "a name with \ufffd[31m\ufffd31m in it"
    assert console == f"downloads: first line\ndownloads: {shown}\ndownloads: it broke (details in downloads.log)\n"
    log = capsys.readouterr().err
    assert shown in log
    assert all(words in log for words in ("calm", "second line", "chatter", "Traceback"))
    assert "Z WARNING modelyard.x: first line" in log
    for handler in root.handlers[1:]:
        handler.stream.close()  # type: ignore[attr-defined]
    os.close(reading)


@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "limit"])
def test_a_full_disk_of_the_log_stops_nobody(tmp_path: Path, stand_in: bool) -> None:
    """Lines are lost while it lasts, and only then."""
    script = (
        "import logging, sys\n"
        "from modelyard.core.process import configure_logging\n"
        "configure_logging('api')\n"
        "for line in sys.stdin:\n"
        "    for number in range(500): logging.warning('%s %d %s', line.strip(), number, 'x' * 100)\n"
        "    print('went on', flush=True)\n"
    )
    with small_disk(tmp_path / "logs", stand_in=stand_in) as disk, (disk.folder / "api.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for word in ("before", "during", "after"):
            if word == "during":
                disk.fill()
            if word == "after":
                disk.make_room()
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "went on\n"
        process.stdin.close()
        assert process.wait(10) == 0
        written = (disk.folder / "api.log").read_text()
        assert "before 499" in written
        assert "during 499" not in written
        assert "after 499" in written
        assert "Traceback" not in written


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("stand_in", [False, True], ids=["mounted", "limit"])
def test_a_disk_that_fills_up_under_a_child_is_named(tmp_path: Path, stand_in: bool) -> None:
    with small_disk(tmp_path / "small", stand_in=stand_in) as disk:
        disk.fill()
        with pytest.raises(DiskFull) as caught:
            run(do="write", path=str(disk.folder / "weights"))
        disk.make_room()
        assert run(do="write", path=str(disk.folder / "weights"), a=1, b=2) == {"sum": 3}
    assert isinstance(caught.value, DiskFull)
