"""Models carried from one home to another that has no Hub: whole, checked, and through kills of the workers."""

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support import programs
from support.folder_hub import FolderSource, make_llama
from support.instance import Instance

LLAMA = "modelyard-samples/tiny-llama"
NOWHERE = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "MODELYARD_LEASE_SECONDS": "3"}
BIG_BYTES = 400_000_000
GENERATES = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
name = sys.argv[1]
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name)
ids = model.generate(**tokenizer("Once", return_tensors="pt"), max_new_tokens=4, do_sample=False)
print(json.dumps(ids.tolist()))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("source"), {"MODELYARD_LEASE_SECONDS": "3"}).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(tmp_path / "target", NOWHERE).start()
    yield instance
    if instance.process is not None:
        instance.stop()


def _downloaded(instance: Instance) -> dict[str, Any]:
    """The sample, which another test may have fetched."""
    answer = instance.api.post("/models/download", json={"model_id": LLAMA})
    assert answer.status_code in (202, 409), answer.text
    return instance.wait_for(answer.json()["id"], "ready")


def _ended(instance: Instance, bundle_id: str, *, seconds: float = 120) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        bundle: dict[str, Any] = instance.api.get(f"/bundles/{bundle_id}").json()
        return bundle if bundle["status"] in ("ready", "failed", "cancelled") else None

    return instance.wait_until(ended, seconds, f"bundle {bundle_id} has ended")  # type: ignore[no-any-return]


def _export(instance: Instance, folder: Path, **request: Any) -> list[Path]:
    """Export, and fetch the parts into a folder, each in two requests."""
    answer = instance.api.post("/bundles", json=request)
    assert answer.status_code == 202, answer.text
    bundle = _ended(instance, answer.json()["id"])
    assert bundle["status"] == "ready", bundle
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, part in enumerate(bundle["parts"], 1):
        address = f"/bundles/{bundle['id']}/parts/{number}"
        first = instance.api.get(address, headers={"Range": "bytes=0-999"})
        rest = instance.api.get(address, headers={"Range": "bytes=1000-"})
        assert (first.status_code, rest.status_code) == (206, 206)
        content = first.content + rest.content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (part["size_bytes"], part["sha256"])
        path = folder / part["name"]
        path.write_bytes(content)
        paths.append(path)
    assert instance.api.delete(f"/bundles/{bundle['id']}").status_code == 200
    return paths


def _import(instance: Instance, path: Path) -> dict[str, Any]:
    answer = instance.api.post("/bundles/import", json={"path": str(path)})
    assert answer.status_code == 202, answer.text
    return _ended(instance, answer.json()["id"])


def _generated(instance: Instance, name: str) -> list[list[int]]:
    environment = instance.environment | {"HF_HUB_OFFLINE": "1"}
    done = programs.run(
        [sys.executable, "-c", GENERATES, name],
        libraries=True,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    ids: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return ids


def test_a_model_and_its_copy_are_carried_to_a_home_without_a_hub(
    source: Instance, target: Instance, tmp_path: Path
) -> None:
    row = _downloaded(source)
    copy = source.api.post(f"/models/{row['id']}/quantize", json={"quantization": "4bit"}).json()
    copy = source.wait_for(copy["id"], "ready", seconds=120)
    paths = _export(source, tmp_path / "usb", ids=[row["id"]], with_quantized=True, split_bytes=200_000)
    assert len(paths) > 2
    assert [path.name for path in paths[:2]] == ["tiny-llama.tar.001", "tiny-llama.tar.002"]

    bundle = _import(target, paths[1])
    assert bundle["status"] == "ready", bundle
    assert {(model["model_id"], model["quantization"]) for model in bundle["models"]} == {
        (LLAMA, "none"),
        (LLAMA, "4bit"),
    }
    rows = {model["quantization"]: target.model(model["id"]) for model in bundle["models"]}
    same = ("commit", "revision", "architecture", "num_parameters", "licence", "size_bytes", "hidden_size")
    assert {name: rows["none"][name] for name in same} == {name: row[name] for name in same}
    assert rows["4bit"]["drift"] == copy["drift"]
    assert rows["4bit"]["memory_measured_bytes"] == copy["memory_measured_bytes"]

    before, after = Path(row["snapshot_path"]), Path(rows["none"]["snapshot_path"])
    assert sorted(path.name for path in before.iterdir()) == sorted(path.name for path in after.iterdir())
    for path in before.iterdir():
        assert (after / path.name).readlink() == path.readlink(), "the same content under the same name"
        assert (after / path.name).read_bytes() == path.read_bytes()
    refs = after.parent.parent / "refs"
    assert (refs / "main").read_text() == row["commit"]
    assert _generated(target, LLAMA) == _generated(source, LLAMA)
    answer = target.api.post(f"/models/{rows['4bit']['id']}/generate", json={"prompt": "Once", "max_new_tokens": 3})
    assert answer.status_code == 200, answer.text

    again = _import(target, paths[0])
    assert again["status"] == "ready", "what is here already is left as it is"
    assert len(target.api.get("/models").json()["items"]) == 2


def test_one_flipped_byte_is_refused_by_the_name_of_its_file(
    source: Instance, target: Instance, tmp_path: Path
) -> None:
    row = _downloaded(source)
    (path,) = _export(source, tmp_path / "usb", ids=[row["id"]])
    weights = (Path(row["snapshot_path"]) / "model.safetensors").read_bytes()
    content = bytearray(path.read_bytes())
    place = content.index(weights[:4096]) + len(weights) // 2
    content[place] ^= 1
    path.write_bytes(content)
    bundle = _import(target, path)
    assert (bundle["status"], bundle["error"]["code"]) == ("failed", "invalid_bundle")
    assert "model.safetensors" in bundle["error"]["message"]
    assert target.api.get("/models").json()["items"] == []

    content[place] ^= 1
    path.write_bytes(content)
    assert target.api.post(f"/bundles/{bundle['id']}/resume").status_code == 200
    assert _ended(target, bundle["id"])["status"] == "ready"


def test_what_a_cancelled_import_had_read_is_removed(source: Instance, target: Instance, tmp_path: Path) -> None:
    row = _downloaded(source)
    (path,) = _export(source, tmp_path / "usb", ids=[row["id"]])
    content = path.read_bytes()
    path.write_bytes(content[:-2000] + bytes([content[-2000] ^ 1]) + content[-1999:])
    bundle = _import(target, path)
    assert bundle["status"] == "failed"
    assert target.api.delete(f"/bundles/{bundle['id']}").status_code == 200
    assert target.cache_bytes() == 0
    assert target.api.get("/bundles").json()["items"] == []


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, dict[str, Any]]]:
    folder = make_llama(tmp_path_factory.mktemp("repo") / "big", weight_bytes=BIG_BYTES)
    with serve(create_hub_app([FolderSource(lab__big=folder)], api_key=None)) as endpoint:
        variables = {"HF_ENDPOINT": endpoint, "MODELYARD_LEASE_SECONDS": "2"}
        instance = Instance(tmp_path_factory.mktemp("big"), variables).start()
        yield instance, instance.wait_for(instance.download("lab/big")["id"], "ready", seconds=120)
        instance.stop()


@pytest.mark.thorough
def test_kills_at_random_moments(big: tuple[Instance, dict[str, Any]], target: Instance, tmp_path: Path) -> None:
    source, row = big
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown when the test fails
    chance = random.Random(seed)
    answer = source.api.post("/bundles", json={"ids": [row["id"]], "split_bytes": BIG_BYTES // 3})
    bundle = _killed(source, answer.json()["id"], chance)
    paths = []
    for number, part in enumerate(bundle["parts"], 1):
        path = tmp_path / part["name"]
        path.write_bytes(source.api.get(f"/bundles/{bundle['id']}/parts/{number}").content)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
        paths.append(path)

    answer = target.api.post("/bundles/import", json={"path": str(paths[0])})
    assert answer.status_code == 202, answer.text
    done = _killed(target, answer.json()["id"], chance)
    snapshot = Path(target.model(done["models"][0]["id"])["snapshot_path"])
    for path in Path(row["snapshot_path"]).iterdir():
        assert (snapshot / path.name).read_bytes() == path.read_bytes()
    blobs = snapshot.parent.parent / "blobs"
    assert sorted(path.name for path in blobs.iterdir()) == sorted(p.resolve().name for p in snapshot.iterdir())


def _killed(instance: Instance, bundle_id: str, chance: random.Random) -> dict[str, Any]:
    """Kill the worker of a bundle a few times, each time after it has moved on; return the bundle once it is ready."""
    kills = 0
    while True:
        bundle: dict[str, Any] = instance.api.get(f"/bundles/{bundle_id}").json()
        assert bundle["status"] not in ("failed", "cancelled", "paused"), bundle
        if bundle["status"] == "ready":
            assert kills, "too fast to be killed"
            return bundle
        if bundle["status"] == "running" and kills < 3:
            worker = instance.wait_until(lambda: instance.children().get("downloads"), 30, "the worker runs")
            time.sleep(chance.uniform(0.0, 0.4))
            worker.kill()
            kills += 1
        time.sleep(0.05)
