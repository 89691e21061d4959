"""A home that comes back from a backup, and one whose tables are those of the first version, with jobs under way."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData

from modelyard.core import migrate
from modelyard.core.database import Database
from support.instance import Instance
from support.samples import link_samples

pytestmark = pytest.mark.thorough

LLAMA, GPT2 = "modelyard-samples/tiny-llama", "modelyard-samples/tiny-gpt2"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server with a model, its 4-bit copy, and another model with a label."""
    instance = Instance(tmp_path_factory.mktemp("first")).start()
    instance.use_builtin_hub()
    llama, gpt2 = (instance.wait_for(instance.download(name)["id"], "ready") for name in (LLAMA, GPT2))
    copy = instance.api.post(f"/models/{llama['id']}/quantize", json={"quantization": "4bit"}).json()
    instance.wait_for(copy["id"], "ready", seconds=120)
    instance.api.patch(f"/models/{gpt2['id']}", json={"note": "for the course", "tags": ["course"]})
    yield instance
    instance.stop()


def test_a_backup_made_while_the_server_runs(first: Instance, tmp_path: Path) -> None:
    """The database and the cache are there again, the copies' folder is not."""
    second = Instance(tmp_path)
    second.home.mkdir(mode=0o700)
    with (
        closing(sqlite3.connect(first.home / "modelyard.db")) as source,
        closing(sqlite3.connect(second.home / "modelyard.db")) as copy,
    ):
        source.backup(copy)  # what `.backup` of the sqlite3 program calls
    shutil.copytree(first.hf_home, second.hf_home, symlinks=True)
    link_samples(second.home)

    second.start()
    try:
        before, after = _by_name(first), _by_name(second)
        assert after.keys() == before.keys()
        original, restored = before[GPT2, "none"], after[GPT2, "none"]
        for field in ("id", "commit", "status", "note", "tags", "disk_bytes", "memory_estimated_bytes"):
            assert restored[field] == original[field], field
        answer = second.api.post(f"/models/{restored['id']}/generate", json={"prompt": "The", "max_new_tokens": 2})
        assert answer.status_code == 200, answer.text

        lost = after[LLAMA, "4bit"]
        second.wait_until(lambda: second.model(lost["id"])["status"] == "missing", 30, "the copy's files are missed")
        assert second.api.post(f"/models/{lost['id']}/resume").status_code == 202
        again = second.wait_for(lost["id"], "ready", seconds=120)
        assert again["disk_bytes"] == before[LLAMA, "4bit"]["disk_bytes"]
    finally:
        second.stop()


def test_jobs_of_the_first_tables_go_on(first: Instance, tmp_path: Path) -> None:
    """One model was being fetched by a worker that is gone, another one waited to be quantized."""
    old = Instance(tmp_path)
    old.home.mkdir(mode=0o700)
    old.hf_home.mkdir()
    rows = _by_name(first)
    database = Database(f"sqlite:///{old.home / 'modelyard.db'}")
    migrate.upgrade(database, "0001")
    _insert(database, rows[GPT2, "none"], "downloading", kind="download", queue="downloads", state="running")
    _insert(database, rows[LLAMA, "none"], "ready")
    _insert(database, rows[LLAMA, "4bit"], "quantizing", kind="quantize", queue="compute", state="queued")
    tables = MetaData()
    tables.reflect(database.engine)
    with database.engine.begin() as connection:
        connection.execute(tables.tables["settings"].insert().values(key="endpoint", value="builtin"))
    database.dispose()
    name = f"models--{LLAMA.replace('/', '--')}"
    shutil.copytree(first.hf_home / "hub" / name, old.hf_home / "hub" / name, symlinks=True)
    link_samples(old.home)

    old.start()
    try:
        for key in ((GPT2, "none"), (LLAMA, "4bit")):
            found = old.wait_for(rows[key]["id"], "ready", seconds=120)
            assert (found["commit"], found["disk_bytes"]) == (rows[key]["commit"], rows[key]["disk_bytes"])
        for model_id, quantization in rows:
            path = f"/models/{rows[model_id, quantization]['id']}/generate"
            answer = old.api.post(path, json={"prompt": "The", "max_new_tokens": 2})
            assert answer.status_code == 200, answer.text
    finally:
        old.stop()


def _by_name(instance: Instance) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["model_id"], row["quantization"]): row for row in instance.api.get("/models").json()["items"]}


def _insert(database: Database, row: dict[str, Any], status: str, **job: str) -> None:
    """Insert a row, and the job that works on it, as the first version wrote them."""
    tables = MetaData()
    tables.reflect(database.engine)
    now = datetime.now(UTC)
    kept = (
        "id",
        "model_id",
        "endpoint",
        "commit",
        "quantization",
        "architecture",
        "model_type",
        "num_parameters",
        "dtype",
    )
    values = {name: row[name] for name in kept} | {
        "canonical_id": row["model_id"], "revision": "main", "status": status, "keep_original": True,
        "allow_pickle": False, "gated": False, "adopted": False, "size_bytes": row["size_bytes"], "disk_bytes": 0,
        "created_at": now, "updated_at": now,
    }  # fmt: skip
    with database.engine.begin() as connection:
        if job:
            values["job_id"] = f"job-{row['id']}"[:32]
            started = {"owner": "gone@elsewhere", "lease_expires_at": now} if job["state"] == "running" else {}
            fields = {
                "id": values["job_id"], "subject_id": row["id"], "control": "run", "attempts": 1,
                "wake_after": now - timedelta(hours=1), "bytes_done": 0, "files_done": 0,
                "created_at": now, "updated_at": now,
            }  # fmt: skip
            connection.execute(tables.tables["jobs"].insert().values(fields | started | job))
        connection.execute(tables.tables["models"].insert().values(values))
