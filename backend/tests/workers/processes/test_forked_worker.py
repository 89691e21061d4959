"""The supervisor has workers forked, and runs them as any other child: the one that loads models from the warm parent.

The others are forked from the worker parent.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from modelyard.core.start_process import WARM_FD, WORKERS_FD, can_fork
from support.secrets import SECRETS, environment_of
from support.tiny_server import Server, is_gone, wait_for
from support.warm import WarmParent, warm_parent_of

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system starts every child afresh")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def parent(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[WarmParent]:
    """The warm parent that the server shares; it imports nothing, and the test starts it."""
    monkeypatch.setenv("PYTHONPATH", server.environment["PYTHONPATH"])
    with warm_parent_of("modelyard.workers") as parent:
        server.environment |= {**parent.environment, "MODELYARD_WARM": "1"}
        server.descriptors = (parent.descriptor,)
        yield parent


@pytest.fixture
def worker_parent(server: Server, parent: WarmParent) -> Iterator[WarmParent]:
    """The worker parent that the server shares; it imports nothing, and the test starts it, as the warm parent."""
    with warm_parent_of("modelyard.workers") as worker_parent:
        server.environment[WORKERS_FD] = worker_parent.environment[WARM_FD]
        server.descriptors += (worker_parent.descriptor,)
        yield worker_parent


def worker(server: Server, number: int = 0) -> psutil.Process:
    """The inference worker, which is the one that is registered last and no child of the supervisor."""
    wait_for(lambda: len(forked(server)) > number)
    return psutil.Process(forked(server)[number])


def forked(server: Server) -> list[int]:
    family = {each.pid for each in server.family()}
    return [pid for pid in map(int, server.noted("pids")) if pid not in family]


def test_it_works_and_stops_as_one_that_is_started_afresh(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.start_and_wait()
    inference = worker(server)
    assert inference.ppid() == parent.process.pid
    assert inference.cmdline()[-2:] == ["--queues", "inference"]
    assert len(server.family()) == 3, "the API and the other workers"
    assert set(server.noted("offline")) == {"compute", "inference"}, "a library may not look for anything on a Hub"
    server.wake("inference", "tiny.wait_until_stopping", "1")
    wait_for((server.notes / "waiting-1").exists)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert is_gone(inference)
    assert server.noted("stopped-1") == ["True"]
    assert parent.process.poll() is None, "it is not this server's"


def test_a_killed_one_is_forked_again_under_the_same_name(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.start_and_wait()
    worker(server).kill()
    again = worker(server, 1)
    assert again.ppid() == parent.process.pid
    assert "inference was killed by SIGKILL" in server.said()
    names = server.noted("names")
    assert (len(names), len(set(names))) == (4, 3)
    server.wake("inference", "tiny.note", "1")
    wait_for(lambda: server.noted("job-1") == [str(again.pid)])


def test_one_whose_warm_parent_died_works_and_is_replaced_and_stops(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.start_and_wait()
    orphan = worker(server)
    parent.kill()
    server.wake("inference", "tiny.note", "1")
    wait_for(lambda: server.noted("job-1") == [str(orphan.pid)])
    orphan.kill()
    wait_for(lambda: "inference ended" in server.said())
    assert len(server.noted("pids")) == 3, "the next one waits for the next warm parent"
    parent.start()
    replaced = worker(server, 1)
    assert replaced.ppid() == parent.process.pid
    parent.kill()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert is_gone(replaced)


def test_a_server_stops_while_it_waits_for_the_warm_parent(server: Server, parent: WarmParent) -> None:
    server.start_and_wait(workers=2)
    assert len(server.family()) == 3
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    process = parent.start()
    other = Server(server.folder, notes="notes-of-other")
    other.environment |= {**parent.environment, "MODELYARD_WARM": "1"}
    other.descriptors = (parent.descriptor,)
    other.start_and_wait()
    try:
        (only,) = psutil.Process(process.pid).children()
        assert only.pid == worker(other).pid, "what the first server asked for is not forked"
    finally:
        other.process.terminate()
        other.process.wait(30)


def test_one_that_may_not_be_forked_is_started_afresh(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.environment["OMP_WAIT_POLICY"] = "ACTIVE"
    server.start_and_wait()
    assert forked(server) == []
    assert server.worker_pid("inference") in map(int, server.noted("pids"))


def test_nothing_is_left_when_the_supervisor_is_killed(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.start_and_wait()
    inference, family = worker(server), server.family()
    os.kill(server.process.pid, signal.SIGKILL)
    wait_for(lambda: all(is_gone(each) for each in (inference, *family)))


def test_workers_that_load_nothing_are_forked_and_have_the_secrets_of_their_queue(
    server: Server, parent: WarmParent, worker_parent: WarmParent
) -> None:
    secrets = {"HF_TOKEN": "token", "MODELYARD_API_KEY": "k" * 16}
    server.environment |= secrets
    for each in (parent, worker_parent):
        each.start()
    server.start_and_wait()
    workers = [psutil.Process(pid) for pid in forked(server)]
    parents = {process.cmdline()[-1]: process.ppid() for process in workers}
    assert parents == {
        "downloads": worker_parent.process.pid,
        "compute": worker_parent.process.pid,
        "inference": parent.process.pid,
    }
    assert server.noted("secrets") == [f"downloads:{name}" for name in sorted(secrets)]
    assert set(server.noted("offline")) == {"compute", "inference"}, "a library may not look for anything on a Hub"
    for process in workers:
        assert not set(SECRETS) & set(environment_of(process.pid)), "what the parent was given"
    server.wake("downloads", "tiny.wait_until_stopping", "1")
    wait_for((server.notes / "waiting-1").exists)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(30) == 0
    assert all(is_gone(process) for process in workers)
    assert server.noted("stopped-1") == ["True"]


def test_workers_outlive_the_worker_parent_and_are_forked_from_the_next_one(
    server: Server, parent: WarmParent, worker_parent: WarmParent
) -> None:
    for each in (parent, worker_parent):
        each.start()
    server.start_and_wait()
    workers = map(psutil.Process, forked(server))
    (downloads,) = (process for process in workers if process.cmdline()[-1] == "downloads")
    worker_parent.kill()
    server.wake("downloads", "tiny.note", "1")
    wait_for(lambda: server.noted("job-1") == [str(downloads.pid)])
    downloads.kill()
    wait_for(lambda: "downloads ended" in server.said())
    assert len(server.noted("pids")) == 3, "the next one waits for the next worker parent"
    worker_parent.start()
    wait_for(lambda: len(server.noted("pids")) == 4)
    again = psutil.Process(int(server.noted("pids")[-1]))
    assert again.ppid() == worker_parent.process.pid
    server.wake("downloads", "tiny.note", "2")
    wait_for(lambda: server.noted("job-2") == [str(again.pid)])


def test_workers_are_started_afresh_where_only_a_warm_parent_is_given(server: Server, parent: WarmParent) -> None:
    parent.start()
    server.start_and_wait()
    assert {server.worker_pid(queue) for queue in ("downloads", "compute")} <= set(map(int, server.noted("pids")))
