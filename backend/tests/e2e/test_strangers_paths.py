"""Folders and files of strangers on the server's machine: what a server reads for them, and what it hands out.

Where the tests run as root, the server runs without its rights, and the stranger is another user.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.folder_hub import make_llama
from support.instance import Instance
from support.storage import unprivileged

pytestmark = pytest.mark.thorough

STRANGER = 64002
"""A user of no account."""

SECRET = b'{"secret": "of the user who runs the server"}'
KEY = "a-key-of-more-than-sixteen-characters"


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-strangers-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def serving(place: Path, name: str, **environment: str) -> Iterator[Instance]:
    """A server and a worker for imports; its user owns a file that nobody else may read."""
    folder = place / name
    folder.mkdir()
    user = unprivileged()
    (folder / "secret.json").write_bytes(SECRET)
    (folder / "secret.json").chmod(0o600)
    user.own(folder)
    environment = {"HOME": str(folder), "MODELYARD_LEASE_SECONDS": "4", **environment}
    instance = Instance(folder, environment, arguments=("--no-workers",), user=user).start()
    with (folder / "worker.log").open("ab") as log:
        worker = subprocess.Popen(
            [*user.prefix, sys.executable, "-m", "modelyard", "worker", "--queues", "downloads"],
            env={**instance.environment, "MODELYARD_ALLOWED_PATHS": "/"},
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            **user.popen,
        )
    try:
        yield instance
    finally:
        worker.terminate()
        worker.wait(30)
        instance.stop()


@pytest.fixture(scope="module")
def instance(place: Path) -> Iterator[Instance]:
    with serving(place, "open") as instance:
        yield instance


@pytest.fixture
def folder(place: Path) -> Iterator[Path]:
    """A model's folder of the stranger."""
    made = make_llama(place / "model", weight_bytes=100_000)
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def _give(path: Path) -> None:
    """To the stranger."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def _import(instance: Instance, path: Path, name: str, mode: str = "copy") -> httpx.Response:
    return instance.api.post("/models/import", json={"path": str(path), "model_id": name, "mode": mode})


def _served(instance: Instance, name: str, file: str = "config.json") -> httpx.Response:
    return httpx.get(f"{instance.url}/hub/{name}/resolve/main/{file}", headers=instance.api.headers, timeout=60)


def _refused(answer: httpx.Response, name: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (403, "path_not_allowed"), answer.text
    assert name in answer.json()["detail"]
    assert answer.json()["hint"]


def test_a_link_to_what_only_the_server_may_read_is_refused_by_name(instance: Instance, folder: Path) -> None:
    secret = instance.folder / "secret.json"
    assert instance.user is not None
    if os.geteuid() == 0:
        for path in (secret, instance.home / "modelyard.db", Path("/etc/shadow")):
            read = subprocess.run(["cat", path], user=STRANGER, group=STRANGER, extra_groups=[], capture_output=True)
            assert read.returncode != 0, "a plain read fails"
    assert instance.user.run("cat", str(secret)).stdout.encode() == SECRET
    config = (folder / "config.json").read_bytes()
    targets = [secret, instance.home / "modelyard.db", Path("/etc/shadow"), Path("../open/secret.json")]
    for target in targets:
        for name in ("config.json", "README.md", "tokenizer.json"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)
            _refused(_import(instance, folder, "local/attack"), name)
            (folder / name).unlink()
            (folder / "config.json").write_bytes(config)
    (folder / "chain").symlink_to(secret)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("chain")
    _refused(_import(instance, folder, "local/attack"), "c")
    assert _served(instance, "local/attack").status_code == 404
    assert instance.api.get("/models", params={"q": "attack"}).json()["total"] == 0


def test_what_is_no_file_and_what_is_no_models_folder_is_refused_at_once(instance: Instance, folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    began = time.monotonic()
    _refused(_import(instance, folder, "local/fifo"), "config.json")
    (folder / "additional_chat_templates").symlink_to("/etc")
    (folder / "config.json").unlink()
    _refused(_import(instance, folder, "local/linked"), "additional_chat_templates")
    for path in ("/", "/etc", "/proc", "/sys", "/dev", "/usr", f"{folder}/../../../etc", f"{instance.home}"):
        answer = _import(instance, Path(path), "local/system")
        assert answer.status_code in (403, 422), answer.text
        assert answer.json()["code"] in ("path_not_allowed", "invalid_request", "no_weights")
    assert _import(instance, Path("model"), "local/relative").json()["code"] == "invalid_request"
    assert time.monotonic() - began < 30, "it walked the disk"


def test_a_file_that_the_server_may_not_read_is_said_so(instance: Instance, folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files to others")
    (folder / "model.safetensors").chmod(0o600)
    _give(folder / "model.safetensors")
    assert instance.user is not None
    assert instance.user.run("cat", str(folder / "model.safetensors")).returncode != 0, "a plain read fails"
    answer = _import(instance, folder, "local/unreadable")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "model.safetensors cannot be read" in answer.json()["detail"]


def _ended(instance: Instance, row_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        row = instance.model(row_id)
        return row if row["status"] in ("ready", "failed", "missing") else None

    row: dict[str, Any] = instance.wait_until(ended, 60, "the import has ended")
    return row


def test_a_file_that_is_swapped_while_it_is_imported_is_not_handed_out(instance: Instance, folder: Path) -> None:
    config = (folder / "config.json").read_bytes()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (folder / ".link").symlink_to(instance.folder / "secret.json")
            (folder / ".link").replace(folder / "config.json")
            (folder / ".file").write_bytes(config)
            (folder / ".file").replace(folder / "config.json")
            time.sleep(0.001)

    thread = threading.Thread(target=swap)
    thread.start()
    rows: list[dict[str, Any]] = []
    codes: set[int] = set()
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end or not rows:
            answer = _import(instance, folder, f"local/swap-{len(rows)}")
            codes.add(answer.status_code)
            if answer.status_code == 202:
                rows.append(answer.json())
            assert time.monotonic() < end + 60
        ended = [_ended(instance, row["id"]) for row in rows]
    finally:
        stop.set()
        thread.join()
    assert codes <= {202, 403, 409, 422}
    for row in ended:
        if row["status"] == "ready":
            assert _served(instance, row["model_id"]).content == config
        else:
            assert row["error"]["code"] in ("path_not_allowed", "conflict", "invalid_request"), row["error"]


def test_a_linked_file_that_changes_in_place_is_not_served_under_its_old_hash(
    instance: Instance, folder: Path, place: Path
) -> None:
    assert instance.user is not None
    instance.user.own(folder)
    row = _ended(instance, _import(instance, folder, "local/linked", "link").json()["id"])
    assert row["status"] == "ready", row["error"]
    source = folder / "config.json"
    content = source.read_bytes()
    assert source.stat().st_nlink == 2
    assert _served(instance, "local/linked").content == content

    source.write_bytes(content.replace(b"1024", b"4096"))
    assert source.stat().st_size == len(content)
    assert _served(instance, "local/linked").status_code == 410
    refused = instance.api.post(f"/models/{row['id']}/quantize", json={"quantization": "8bit"})
    assert refused.status_code == 409, refused.text
    missing = instance.wait_for(row["id"], "missing")
    assert missing["error"]["code"] == "files_changed"
    assert "import the folder again" in missing["error"]["hint"]
    assert _served(instance, "local/linked").status_code == 404
    instance.api.post(f"/models/{row['id']}/verify")
    failed = instance.wait_until(lambda: _failed(instance, row["id"]), 60, "the check has failed")
    assert failed["error"]["code"] == "checksum_mismatch"

    # The same content under its hash again, from elsewhere: what lies under that name is not trusted.
    copy = place / "again"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_bytes(content)
    try:
        again = _ended(instance, _import(instance, copy, "local/linked").json()["id"])
        assert again["status"] == "ready", again["error"]
        assert _served(instance, "local/linked").content == content
        # Touched, but the same: a check makes it ready again.
        blob = Path(again["snapshot_path"]) / "config.json"
        os.utime(blob)
        assert _served(instance, "local/linked").status_code == 410
        instance.wait_for(again["id"], "missing")
        instance.api.post(f"/models/{again['id']}/verify")
        assert _ended(instance, again["id"])["status"] == "ready"
        assert _served(instance, "local/linked").content == content
    finally:
        shutil.rmtree(copy)


def _failed(instance: Instance, row_id: str) -> dict[str, Any] | None:
    row = instance.model(row_id)
    return row if row["status"] == "failed" else None


def test_a_data_set_is_no_way_around(instance: Instance, folder: Path) -> None:
    (folder / "corpus.jsonl").symlink_to(instance.folder / "secret.json")
    (folder / "pipe.txt").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.txt")
    for path in (folder / "corpus.jsonl", folder / "pipe.txt", Path("/etc/../etc/os-release")):
        answer = _plan(instance, path)
        _refused(answer, path.name)
        assert answer.json()["errors"][0]["field"] == "dataset.path"


def _plan(instance: Instance, path: Path) -> httpx.Response:
    dataset = {"path": str(path), "column": None}
    request = {"model_id": "0" * 32, "hook_point": "model.layers.1", "dataset": dataset, "training_tokens": 10_000}
    return instance.api.post("/trainings/plan", json=request)


def test_a_cached_snapshot_that_leads_out_of_its_repository_is_not_adopted(instance: Instance, folder: Path) -> None:
    snapshot = instance.hf_home / "hub" / "models--some--body" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(folder / "model.safetensors", snapshot)
    (snapshot / "config.json").symlink_to(instance.folder / "secret.json")
    assert instance.user is not None
    instance.user.own(snapshot.parents[1])
    (listed,) = (i for i in instance.api.get("/models/cache").json()["items"] if i["model_id"] == "some/body")
    assert (listed["importable"], "config.json" in listed["problem"]) == (False, True)
    answer = instance.api.post("/models/import", json={"cached": "some/body"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    _refused(_import(instance, snapshot, "local/body"), "config.json")


def test_a_shared_server_reads_below_its_allowed_folders_only(place: Path, folder: Path) -> None:
    """Also after a worker, whose own environment allows everything, has taken the job."""
    allowed = [folder, place / "weights"]
    (place / "weights").mkdir()
    (folder / "model.safetensors").rename(place / "weights" / "big")
    (folder / "model.safetensors").symlink_to("../weights/big")
    outside = make_llama(place / "outside", weight_bytes=100_000)
    (outside / "corpus.txt").write_text("Nothing but text.")
    (folder / "corpus.txt").write_text("Nothing but text.")
    environment = {"MODELYARD_API_KEY": KEY, "MODELYARD_ALLOWED_PATHS": ":".join(map(str, allowed))}
    with serving(place, "shared", **environment) as instance:
        ready = _ended(instance, _import(instance, folder, "local/both").json()["id"])
        assert ready["status"] == "ready", ready["error"]
        served = _served(instance, "local/both", "model.safetensors")
        assert served.content == (place / "weights" / "big").read_bytes()
        for path in (outside, folder / ".." / "outside", place, Path("/etc"), instance.home):
            _refused(_import(instance, path, "local/outside"), str(path.name))
        hint = _import(instance, outside, "local/outside").json()["hint"]
        assert str(folder) in hint
        assert "MODELYARD_ALLOWED_PATHS" in hint
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to(outside / "config.json")
        _refused(_import(instance, folder, "local/linked-out"), "config.json")
        _refused(_plan(instance, outside / "corpus.txt"), "corpus.txt")
        assert _plan(instance, folder / "corpus.txt").json()["code"] == "model_not_found"
        # A folder of the cache is always allowed.
        assert _import(instance, Path(ready["snapshot_path"]), "local/cached").status_code == 202


def test_with_a_key_and_no_allowed_folders_only_uploads_and_the_cache_are_read(place: Path, folder: Path) -> None:
    (folder / "corpus.txt").write_text("Nothing but text.")
    with serving(place, "keyed", MODELYARD_API_KEY=KEY) as instance:
        _refused(_import(instance, folder, "local/any"), folder.name)
        _refused(_plan(instance, folder / "corpus.txt"), "corpus.txt")
        sent = instance.api.post("/datasets", files={"file": ("corpus.txt", b"Nothing but text.")}).json()
        assert _plan(instance, Path(sent["path"])).json()["code"] == "model_not_found"
