"""Models that are here already: adopted from the shared cache, imported from a folder, verified and mended."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.instance import Instance

GPT2 = "modelyard-samples/tiny-gpt2"


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("local"), {"MODELYARD_LEASE_SECONDS": "4"}).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


@pytest.fixture(autouse=True)
def _nothing_left(instance: Instance) -> Iterator[None]:
    yield
    for model in instance.api.get("/models").json()["items"]:
        answer = instance.api.delete(f"/models/{model['id']}", params={"confirm_shared": True})
        assert answer.status_code == 200, answer.text


def _blobs(ready: dict[str, Any]) -> dict[str, Path]:
    return {path.name: path.resolve() for path in Path(ready["snapshot_path"]).iterdir()}


def test_verify_fetches_again_only_what_is_damaged(instance: Instance) -> None:
    ready = instance.wait_for(instance.download(GPT2)["id"], "ready")
    blobs = _blobs(ready)
    untouched = {name: path.stat().st_ino for name, path in blobs.items() if name != "model.safetensors"}
    content = blobs["model.safetensors"].read_bytes()
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    blobs["model.safetensors"].write_bytes(flipped)
    blobs["config.json"].unlink()

    assert instance.api.post(f"/models/{ready['id']}/verify").status_code == 202
    again = instance.wait_for(ready["id"], "ready")
    mended = _blobs(again)
    assert mended["model.safetensors"].read_bytes() == content
    assert mended["config.json"].exists()
    untouched.pop("config.json")
    assert {name: mended[name].stat().st_ino for name in untouched} == untouched


def test_a_whole_model_is_verified_without_the_hub(instance: Instance) -> None:
    ready = instance.wait_for(instance.download(GPT2)["id"], "ready")
    instance.api.put("/settings", json={"endpoint": "http://127.0.0.1:9"})
    try:
        instance.api.post(f"/models/{ready['id']}/verify")
        instance.wait_for(ready["id"], "ready")
    finally:
        instance.use_builtin_hub()


def test_what_other_tools_downloaded_is_adopted_and_deleted_only_on_request(instance: Instance) -> None:
    code = "import sys; from huggingface_hub import snapshot_download; print(snapshot_download(sys.argv[1]))"
    environment = instance.environment | {"HF_ENDPOINT": f"{instance.url}/hub"}
    subprocess.run([sys.executable, "-c", code, GPT2], env=environment, check=True, capture_output=True, timeout=60)
    size = instance.cache_bytes()

    listed = instance.api.get("/models/cache").json()["items"]
    assert [(item["model_id"], item["importable"]) for item in listed] == [(GPT2, True)]
    answer = instance.api.post("/models/import", json={"cached": GPT2})
    assert answer.status_code == 202, answer.text
    ready = instance.wait_for(answer.json()["id"], "ready")
    assert ready["adopted"] is True
    assert ready["architecture"] == "GPT2LMHeadModel"
    assert instance.cache_bytes() == size
    assert instance.api.get("/models/cache").json()["items"] == []

    refused = instance.api.delete(f"/models/{ready['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "shared_cache")
    assert instance.api.delete(f"/models/{ready['id']}", params={"dry_run": True}).json()["shared_cache"] is True
    assert instance.cache_bytes() == size
    freed = instance.api.delete(f"/models/{ready['id']}", params={"confirm_shared": True}).json()["freed_bytes"]
    assert freed == ready["disk_bytes"]
    assert not list((instance.hf_home / "hub").glob("models--*"))


def test_a_download_uses_what_the_cache_holds(instance: Instance) -> None:
    code = "import sys; from huggingface_hub import hf_hub_download; hf_hub_download(sys.argv[1], 'model.safetensors')"
    environment = instance.environment | {"HF_ENDPOINT": f"{instance.url}/hub"}
    subprocess.run([sys.executable, "-c", code, GPT2], env=environment, check=True, capture_output=True, timeout=60)
    info = instance.api.get(f"/models/info/{GPT2}").json()
    assert info["missing_bytes"] < 2_000_000 < info["size_bytes"]
    ready = instance.wait_for(instance.download(GPT2)["id"], "ready")
    assert ready["adopted"] is True


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_a_folder_is_imported(instance: Instance, mode: str, tmp_path: Path) -> None:
    folder = _exported(instance, tmp_path)
    answer = instance.api.post(
        "/models/import", json={"path": str(folder), "model_id": f"local/mine-{mode}", "mode": mode}
    )
    assert answer.status_code == 202, answer.text
    ready = instance.wait_for(answer.json()["id"], "ready")
    assert ready["architecture"] == "GPT2LMHeadModel"
    assert ready["licence"] == "apache-2.0", "as its model card says"
    assert ready["update_available"] is None
    weights = Path(ready["snapshot_path"]) / "model.safetensors"
    same_file = weights.resolve().stat().st_ino == (folder / "model.safetensors").stat().st_ino
    assert same_file is (mode == "link")
    instance.api.delete(f"/models/{ready['id']}")
    assert (folder / "model.safetensors").exists()


def test_what_is_no_model_is_not_imported(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, code in ((tmp_path / "empty", "no_weights"), (tmp_path / "gone", "invalid_request")):
        answer = instance.api.post("/models/import", json={"path": str(path), "model_id": "local/x"})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert instance.api.post("/models/import", json={}).json()["code"] == "invalid_request"
    assert instance.api.post("/models/import", json={"cached": "no/body"}).json()["code"] == "model_not_found"


def test_leftovers_are_listed_and_dropped(instance: Instance) -> None:
    blobs = instance.hf_home / "hub" / "models--some--one" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'ab' * 32}.modelyard.part").write_bytes(b"x" * 4096)
    leftovers = instance.api.get("/models/cache").json()["leftovers"]
    assert [(item["model_id"], item["size_bytes"]) for item in leftovers] == [("some/one", 4096)]
    assert instance.api.delete("/models/cache/leftovers").json() == {"freed_bytes": 0}
    dropped = instance.api.delete("/models/cache/leftovers", params={"older_than_seconds": 0})
    assert dropped.json() == {"freed_bytes": 4096}
    assert not blobs.exists()


def _exported(instance: Instance, folder: Path) -> Path:
    """A plain folder with a sample's files, on the disk of the cache."""
    samples = instance.home / "samples" / "tiny-gpt2"
    instance.wait_until(samples.exists, 60, "the samples are made")
    target = folder / "exported"
    subprocess.run(["cp", "-rL", str(samples), str(target)], check=True)
    return target
