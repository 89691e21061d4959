import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from modelyard.core.start_process import can_fork
from modelyard.workers.processes import child_log
from support.secrets import SECRETS, environment_of
from support.tiny_server import SERVE, WORK, Server, is_gone, wait_for

ROTATE = f"""
from modelyard.workers.processes import child_log
child_log.LOG_BYTES, child_log.CHECK_SECONDS = 4000, 0.1
{SERVE}
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers = []

    def make(**options: object) -> Server:
        server = Server(tmp_path, **options)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_works_and_stops_without_orphans(serve: Callable[..., Server], number: signal.Signals) -> None:
    server = serve()
    server.start_and_wait()
    assert server.said().count("\n") == 1, server.said()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url(), timeout=5) as response:
        assert response.read() == b"ok"
    server.wake("compute", "tiny.note", "1")
    server.wake("inference", "tiny.wait_until_stopping", "2")
    wait_for(lambda: server.noted("job-1") == [str(server.worker_pid("compute"))])
    wait_for((server.notes / "waiting-2").exists)
    family = server.family()
    assert len(family) == 4

    server.process.send_signal(number)
    assert server.process.wait(30) == 0
    assert all(is_gone(each) for each in family)
    assert server.noted("stopped-2") == ["True"]
    assert "has stopped" in server.said()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(server.url().rpartition(":")[2])))


def wait_for_warm_parent(server: Server, after: psutil.Process | None = None) -> psutil.Process:
    found: list[psutil.Process] = []

    def appeared() -> bool:
        for each in server.family():
            with suppress(psutil.Error):  # it ends just now
                if each != after and "modelyard.workers.processes.warm_parent" in each.cmdline():
                    found.append(each)
        return bool(found)

    wait_for(appeared)
    return found[0]


@pytest.mark.skipif(not can_fork(), reason="there is no warm parent on this system")
@pytest.mark.parametrize("program", [SERVE, WORK], ids=["serve", "worker"])
def test_the_warm_parent_has_no_secret_and_is_started_again(serve: Callable[..., Server], program: str) -> None:
    held = [name for name in SECRETS if name not in ("MODELYARD_BROKER_URL", "MODELYARD_DATABASE_URL")]
    server = serve(program=program, environment={"MODELYARD_WARM": "1", **dict.fromkeys(held, "a-long-enough-secret")})
    server.start()
    killed = wait_for_warm_parent(server)
    assert not set(SECRETS) & set(environment_of(killed.pid))
    killed.kill()
    assert wait_for_warm_parent(server, after=killed).is_running()
    family = server.family()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) == 0
    assert all(is_gone(each) for each in family)


def test_nothing_is_left_when_it_is_killed(serve: Callable[..., Server]) -> None:
    server = serve()
    server.start_and_wait()
    family = server.family()
    assert len(family) == 4
    server.process.kill()
    wait_for(lambda: all(is_gone(each) for each in family), 12)


def test_a_killed_child_is_started_again_under_the_same_name(serve: Callable[..., Server]) -> None:
    server = serve()
    server.start_and_wait()
    killed, api = server.worker_pid("downloads"), int(server.noted("api-pid")[0])
    os.kill(killed, signal.SIGKILL)
    os.kill(api, signal.SIGKILL)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url(), timeout=10) as response:
        assert response.status == 200, "a request made meanwhile waits for the new API"
    wait_for(lambda: len(server.noted("pids")) == 4)
    assert server.worker_pid("downloads") != killed
    names = server.noted("names")
    assert len(names) == 4
    assert len(set(names)) == 3
    assert "downloads was killed by SIGKILL" in server.said()
    server.wake("downloads", "tiny.note", "1")
    wait_for(lambda: server.noted("job-1") == [str(server.worker_pid("downloads"))])


def test_a_second_server_for_the_same_home_uses_other_worker_names(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    server.start_and_wait()
    command = [sys.executable, "-m", "modelyard.workers", "worker", "--celery", "tiny_tasks:celery_app"]
    with subprocess.Popen([*command, "--queues", "downloads"], env=server.environment) as second:
        try:
            wait_for(lambda: len(server.noted("pids")) == 4)
        finally:
            second.kill()
    names = server.noted("names")
    assert len(set(names)) == 4
    assert f"{min(name for name in names if ':downloads' in name)}.2" in names


def test_what_ignores_the_stop_is_killed_with_all_it_started(serve: Callable[..., Server]) -> None:
    server = serve(grace_seconds=1.0)
    server.start_and_wait()
    server.wake("compute", "tiny.stubborn", "1")
    wait_for(lambda: bool(server.noted("stubborn-1")))
    family = server.family()
    assert int(server.noted("stubborn-1")[0]) in [each.pid for each in family]
    server.process.terminate()
    assert server.process.wait(30) == 0
    wait_for(lambda: all(is_gone(each) for each in family))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such processes")
def test_orphans_of_a_container_are_reaped(serve: Callable[..., Server]) -> None:
    """As the first process of a container, to which the system gives the children of those that died."""
    takes_orphans = "import ctypes; ctypes.CDLL(None).prctl(36, 1)\n"  # PR_SET_CHILD_SUBREAPER
    server = serve(program=takes_orphans + SERVE)
    server.start_and_wait()
    server.wake("compute", "tiny.stubborn", "1")
    wait_for(lambda: bool(server.noted("stubborn-1")))
    orphan = int(server.noted("stubborn-1")[0])
    os.kill(server.worker_pid("compute"), signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(orphan))
    wait_for(lambda: len(server.noted("pids")) == 4)


def test_a_second_signal_kills_at_once(serve: Callable[..., Server]) -> None:
    server = serve(grace_seconds=60.0)
    server.start_and_wait()
    server.wake("compute", "tiny.stubborn", "1")
    wait_for(lambda: bool(server.noted("stubborn-1")))
    others = [each for each in server.family() if each.pid != server.worker_pid("compute")]
    server.process.send_signal(signal.SIGINT)
    wait_for(lambda: any(is_gone(each) for each in others))  # two that come before the first was seen are one
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0


def test_a_taken_port_is_one_clear_line(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = serve(port=taken.getsockname()[1])
        server.start()
        assert server.process.wait(30) == 1
    assert server.said().count("\n") == 1
    assert "is already in use. Set MODELYARD_PORT" in server.said()
    assert not list(server.home.glob("logs/*")), "nothing was started"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0"}, "MODELYARD_API_KEY"),
        ({"host": "no-such-host.invalid"}, "MODELYARD_HOST"),
        ({"environment": {"MODELYARD_BROKER_URL": "kafka://x"}}, "MODELYARD_BROKER_URL"),
        ({"application": "tiny_api:misconfigured"}, "The database is from a newer version. Install that version."),
    ],
)
def test_what_only_a_person_can_put_right_ends_it_with_one_line(
    serve: Callable[..., Server], options: dict[str, object], words: str
) -> None:
    server = serve(**options)
    server.start()
    assert server.process.wait(15) == 1
    assert server.said().count("\n") == 1
    assert words in server.said()


def test_an_api_that_never_starts_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve(application="tiny_api:broken")
    server.start()
    assert server.process.wait(20) == 1
    assert "RuntimeError: no such luck" in server.said()
    assert server.said().count("starts again") == 2


def test_without_workers_there_is_only_the_api(serve: Callable[..., Server]) -> None:
    server = serve(workers=False, host="0.0.0.0", environment={"MODELYARD_API_KEY": "k" * 16})
    server.start_and_wait(workers=0)
    assert len(server.family()) == 1
    assert server.url().startswith("http://127.0.0.1:")


def test_a_short_key_is_for_this_machine_only(serve: Callable[..., Server]) -> None:
    server = serve(workers=False, host="0.0.0.0", environment={"MODELYARD_API_KEY": f" {'k' * 15}\n"})
    server.start()
    assert server.process.wait(20) == 1
    assert "MODELYARD_API_KEY is shorter than 16 characters" in server.said()
    assert "kkk" not in server.said()


def test_only_the_api_and_downloads_get_the_key_and_the_token(serve: Callable[..., Server]) -> None:
    secrets = {"MODELYARD_API_KEY": "k" * 16, "HF_TOKEN": "token", "HUGGING_FACE_HUB_TOKEN": "token"}
    server = serve(environment=secrets)
    server.start_and_wait()
    workers = {queue: server.worker_pid(queue) for queue in ("downloads", "compute", "inference")}
    (api,) = {process.pid for process in server.family()} - set(workers.values())
    held = {name: set(secrets) & set(environment_of(pid)) for name, pid in {"api": api, **workers}.items()}
    assert held == {"api": set(secrets), "downloads": set(secrets), "compute": set(), "inference": set()}
    assert set(server.noted("offline")) == {"compute", "inference"}, "a library may not look for anything on a Hub"


def test_a_large_log_is_put_aside_when_its_process_starts(serve: Callable[..., Server]) -> None:
    server = serve(workers=False)
    logs = server.home / "logs"
    logs.mkdir(parents=True)
    with (logs / "api.log").open("wb") as log:
        log.truncate(11_000_000)
    server.start_and_wait(workers=0)
    assert (logs / "api.log.1").stat().st_size == 11_000_000
    assert (logs / "api.log").stat().st_size < 10_000


def test_a_log_that_grows_large_is_put_aside_while_its_process_runs(serve: Callable[..., Server]) -> None:
    server = serve(workers=False, program=ROTATE)
    server.start_and_wait(workers=0)
    pid = (server.notes / "api-pid").read_text()
    log, aside = server.home / "logs" / "api.log", server.home / "logs" / "api.log.1"
    for _ in range(2):
        with log.open("ab") as file:
            file.write(b"x" * 5000)
        wait_for(lambda: log.stat().st_size < 5000)
        assert b"x" * 5000 in aside.read_bytes()
        assert aside.stat().st_mode & 0o077 == 0
        send_garbage(server)
        wait_for(lambda: b"Invalid HTTP request" in log.read_bytes())
        assert b"\0" not in log.read_bytes(), "it is appended to, not written where the old content ended"
    os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: (server.notes / "api-pid").read_text() != pid)


def send_garbage(server: Server) -> None:
    host, port = server.url().removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        while raw.recv(4096):
            pass


def test_the_last_line_of_a_log_that_was_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_log, "LOG_BYTES", 1000)
    log = child_log.ChildLog(tmp_path / "a.log")
    (tmp_path / "a.log").write_bytes(b"old\n" * 100)
    with log.open() as file:
        assert log.last_line() == "it said nothing"
        file.write(b"y" * 2000)
        file.flush()
        log.rotate()
        file.write(b"the end\n")
        file.flush()
        assert log.last_line() == "the end"
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [8, 2400]


def test_a_worker_alone_is_started_again_too(serve: Callable[..., Server]) -> None:
    server = serve(program=WORK)
    server.start()
    wait_for(lambda: len(server.noted("pids")) == 1)
    (killed,) = server.family()
    killed.kill()
    wait_for(lambda: len(server.noted("pids")) == 2)
    assert len(set(server.noted("names"))) == 1
    assert "worker was killed by SIGKILL" in server.said()
    server.wake("compute", "tiny.note", "1")
    (child,) = server.family()
    wait_for(lambda: server.noted("job-1") == [str(child.pid)])
    server.process.terminate()
    assert server.process.wait(10) == 0
    assert is_gone(child)


def test_a_worker_alone_that_only_a_person_can_put_right_ends(serve: Callable[..., Server]) -> None:
    server = serve(program=WORK.replace("downloads", "uploads"))
    server.start()
    assert server.process.wait(20) == 1
    assert "There is no queue 'uploads'." in server.said()
    assert "starts again" not in server.said()


def test_a_second_server_on_a_home_is_refused_by_name(serve: Callable[..., Server], tmp_path: Path) -> None:
    first = serve(workers=False)
    first.start_and_wait(workers=0)
    second = Server(tmp_path, workers=False, notes="notes-of-second")
    second.start()
    assert second.process.wait(10) == 1
    said = second.said().splitlines()[-1]
    assert f"(pid {first.process.pid}, port {first.url().rpartition(':')[2]})" in said
    assert "MODELYARD_HOME" in said
    first.process.kill()
    first.process.wait()
    third = serve(workers=False, notes="notes-of-third")
    third.start()
    wait_for(lambda: third.said().count("is ready") == 2)


def test_servers_with_a_database_and_a_queue_of_their_own_may_share_a_home(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    environment = {"MODELYARD_DATABASE_URL": "postgresql+psycopg://db/x", "MODELYARD_BROKER_URL": "redis://queue:6379"}
    serve(workers=False, environment=environment).start_and_wait(workers=0)
    second = serve(workers=False, environment=environment, notes="notes-of-second")
    second.start()
    wait_for(lambda: second.said().count("is ready") == 2)


def test_a_log_that_cannot_be_written_stops_nothing(serve: Callable[..., Server]) -> None:
    server = serve()
    for name in ("api", "downloads"):
        (server.home / "logs" / f"{name}.log").mkdir(parents=True)
    server.start_and_wait()
    for name in ("api", "downloads"):
        assert server.said().count(f"{name}.log cannot be written (Is a directory): {name} writes here instead.") == 1
    pid = server.worker_pid("downloads")
    psutil.Process(pid).kill()
    wait_for(lambda: "downloads was killed" in server.said())
    wait_for(lambda: len(server.noted("pids")) >= 4)
    assert server.worker_pid("downloads") != pid
    assert server.process.poll() is None
    assert "Traceback" not in server.said()
