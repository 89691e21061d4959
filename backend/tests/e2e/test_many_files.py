"""Models of very many files on a slow disk: refused, or cancelled and deleted while everybody else goes on writing."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from hub.hub_faults import serve
from modelyard.core.database import Database
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.models import Job, JobKind, JobState, Model, ModelStatus
from support.instance import Instance

pytestmark = pytest.mark.thorough

MANY, TOO_MANY = 9_900, 99_000
LONGEST_WRITE_SECONDS = 5.0
"""Half of what a writer waits for SQLite's lock."""

SLOW_DISK = """
import itertools, os, time
unlink, count = os.unlink, itertools.count()
def slow(*arguments, **options):
    if next(count) % 200 == 0:
        time.sleep(0.12)
    unlink(*arguments, **options)
os.unlink = os.remove = slow
"""
"""Files are removed as by a disk that takes 0.6 ms for each: one model in longer than a writer waits for SQLite."""


async def vast_hub(scope: Scope, receive: Receive, send: Send) -> None:
    """A Hub whose only repository has too many files."""
    files = [{"rfilename": f"part/{number}.json", "size": 2, "blobId": "0" * 40} for number in range(TOO_MANY)]
    await JSONResponse({"id": "lab/vast", "sha": "c" * 40, "siblings": files, "tags": []})(scope, receive, send)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("many")
    (folder / "slow").mkdir()
    (folder / "slow" / "sitecustomize.py").write_text(SLOW_DISK)
    with serve(vast_hub) as endpoint:
        instance = Instance(folder, {"HF_ENDPOINT": endpoint, "PYTHONPATH": str(folder / "slow")})
        instance.start()
        yield instance
        assert instance.stop() == 0


class Writer:
    """Changes a setting every 100 ms."""

    def __init__(self, instance: Instance) -> None:
        self.answers: list[int] = []
        self.longest_seconds = 0.0
        self._url = f"{instance.url}/api/v1/settings"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._ended.wait(0.1):
                began = time.monotonic()
                answer = client.put(self._url, json={"parallel_downloads": 1 + len(self.answers) % 3})
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
                self.answers.append(answer.status_code)


def add(instance: Instance, model_id: str, status: ModelStatus) -> str:
    """A row with its files, as a download leaves them that was paused or is done."""
    cache = HubCache(instance.hf_home / "hub")
    cache.prepare(model_id)
    files = []
    for number in range(MANY):
        content = json.dumps([model_id, number]).encode()
        file = RemoteFile(f"part/{number}.json", len(content), hashlib.sha256(content).hexdigest(), None)
        cache.blob_path(model_id, file.blob).write_bytes(content)
        files.append(file)
    folder = cache.snapshot_path(model_id, "c" * 40) / "part"
    folder.mkdir(parents=True)
    for file in files:
        (folder / Path(file.path).name).symlink_to(f"../../../blobs/{file.blob}")
    database = Database(f"sqlite:///{instance.home / 'modelyard.db'}")
    with database.session() as session:
        row = Model(
            model_id=model_id, canonical_id=model_id, endpoint="https://huggingface.co", commit="c" * 40,
            status=status, files=[vars(file) | {"present_before": False} for file in files],
        )  # fmt: skip
        session.add(row)
        session.flush()
        if status is ModelStatus.PAUSED:
            job = Job(kind=JobKind.DOWNLOAD, queue="downloads", subject_id=row.id, state=JobState.PAUSED)
            session.add(job)
            session.flush()
            row.job_id = job.id
    database.dispose()
    return row.id


def test_a_repository_of_too_many_files_is_refused(instance: Instance) -> None:
    began = time.monotonic()
    with Writer(instance) as writer:
        answers = [
            instance.api.get("/models/info/lab/vast"),
            instance.api.post("/models/download", json={"model_id": "lab/vast"}),
        ]
    assert [answer.json()["code"] for answer in answers] == ["too_many_files"] * 2
    assert time.monotonic() - began < 30
    assert set(writer.answers) <= {200}


def test_others_write_while_many_files_are_removed(instance: Instance) -> None:
    before = instance.cache_bytes()
    paused = add(instance, "lab/paused", ModelStatus.PAUSED)
    ready = add(instance, "lab/ready", ModelStatus.READY)
    answers: dict[str, Any] = {}

    def ask(name: str, method: str, path: str) -> None:
        with httpx.Client(base_url=f"{instance.url}/api/v1", timeout=120) as client:
            answers[name] = client.request(method, path)

    calls = [
        threading.Thread(target=ask, args=call)
        for call in (
            ("cancelled", "POST", f"/models/{paused}/cancel"),
            ("deleted", "DELETE", f"/models/{ready}"),
        )
    ]
    began = time.monotonic()
    with Writer(instance) as writer:
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert time.monotonic() - began > 10, "the disk is not slow enough for this test"
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "cancelled": 202,
        "deleted": 200,
    }
    cancelled = answers["cancelled"].json()
    assert (cancelled["status"], cancelled["disk_bytes"]) == ("cancelled", 0)
    assert answers["deleted"].json()["freed_bytes"] > MANY
    assert instance.cache_bytes() == before
    assert set(writer.answers) == {200}
    assert writer.longest_seconds < LONGEST_WRITE_SECONDS
    logs = "".join(path.read_text() for path in (instance.home / "logs").glob("*.log"))
    assert "database is locked" not in logs + instance.console()
