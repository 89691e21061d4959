"""`modelyard.load` in processes of its own, on models of a real instance."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.client.lock_file import LIBRARIES, Lock, LockedModel, locked_files, write_lock
from modelyard.core.extras import installed_version
from support import programs
from support.instance import Instance

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"

_PRELUDE = """
import json, sys, warnings
import modelyard
from modelyard.core.errors import ModelyardError

def load(*arguments, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model, tokenizer = modelyard.load(*arguments, **options)
        except ModelyardError as error:
            assert error.__notes__ == [error.hint]
            return {"code": error.code, "message": error.message, "hint": error.hint}
    from modelyard.ml.quantize.quantization import is_quantized, measured_bytes
    import torch
    held = measured_bytes(model)  # before the first pass, in which bitsandbytes packs weights anew
    ids = tokenizer("The capital", return_tensors="pt") if tokenizer else {"input_ids": torch.tensor([[1, 2]])}
    with torch.no_grad():
        logits = model(**ids).logits
    return {
        "class": type(model).__name__, "quantized": is_quantized(model), "bytes": held,
        "dtype": str(logits.dtype), "tokenizer": tokenizer is not None,
        "warnings": [(str(w.message), w.filename) for w in caught if w.category is UserWarning],
    }
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("notebook")).start()
    instance.use_builtin_hub()
    yield instance
    if instance.process is not None:
        instance.stop()


@pytest.fixture(scope="module")
def rows(instance: Instance) -> dict[str, dict[str, Any]]:
    """The llama, unquantized and in four bits."""
    plain = instance.wait_for(instance.download(LLAMA)["id"], "ready")
    made = instance.api.post(f"/models/{plain['id']}/quantize", json={"quantization": "4bit"}).json()
    return {"none": plain, "4bit": instance.wait_for(made["id"], "ready", seconds=120)}


def notebook(instance: Instance, *calls: str, afresh: bool = False, **variables: str) -> list[Any]:
    """What each call of `load` gave, in one new process, in which torch is imported already unless it is `afresh`."""
    program = _PRELUDE + "print(json.dumps([" + ", ".join(calls) + "]))"
    environment = instance.environment | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_OFFLINE": "1"} | variables
    command = [sys.executable, "-c", program]
    how: dict[str, Any] = {"capture_output": True, "text": True, "env": environment}
    done = subprocess.run(command, **how) if afresh else programs.run(command, libraries=True, **how)
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def lock_of(instance: Instance, row: dict[str, Any]) -> Lock:
    """A lock file's content for one row, with the library versions of this installation."""
    manifest = instance.api.get(f"/models/{row['id']}/files").json()["items"]
    kept = {name: row[name] for name in ("model_id", "endpoint", "commit", "quantization")}
    libraries = {name: version for name in LIBRARIES if (version := installed_version(name))}
    return Lock(model=(LockedModel(**kept, files=locked_files(manifest)),), libraries=libraries)


def test_a_model_that_is_locked(instance: Instance, rows: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    def written(name: str, lock: Lock) -> str:
        path = tmp_path / name
        path.write_text(write_lock(lock), encoding="utf-8")
        return repr(str(path))

    lock = lock_of(instance, rows["4bit"])
    (model,) = lock.model
    changed = model.files[0].model_copy(update={"sha256": "0" * 64, "git_sha1": None})
    files = (changed, *model.files[1:])
    right, other_file, other_libraries = (
        written("right", lock),
        written("file", lock.model_copy(update={"model": (model.model_copy(update={"files": files}),)})),
        written("libraries", lock.model_copy(update={"libraries": {"transformers": "1.0"}})),
    )
    as_locked, unlike, older, unnamed, twice = notebook(
        instance,
        f"load({LLAMA!r}, '4bit', lock={right})",
        f"load({LLAMA!r}, '4bit', lock={other_file})",
        f"load({LLAMA!r}, '4bit', lock={other_libraries})",
        f"load({LLAMA!r}, lock={right})",
        f"load({LLAMA!r}, '4bit', revision='main', lock={right})",
    )
    assert (as_locked["quantized"], as_locked["warnings"]) == (True, [])
    assert unlike["code"] == "checksum_mismatch"
    assert f"{changed.path} has another content" in unlike["message"]
    (told,) = older["warnings"]
    assert "locked is 1.0" in told[0]
    assert told[1] == "<string>"
    assert (unnamed["code"], "only 4bit" in unnamed["message"]) == ("model_not_found", True)
    assert twice["code"] == "invalid_request"


def test_models_of_the_store_are_loaded_in_each_precision(instance: Instance, rows: dict[str, dict[str, Any]]) -> None:
    commit = rows["none"]["commit"]
    plain, four, eight, wide, by_commit = notebook(
        instance,
        f"load({LLAMA!r})",
        f"load({LLAMA!r}, quantization='4bit')",
        f"load({LLAMA!r}, quantization='8bit')",
        f"load({LLAMA!r}, dtype='float32', device='cpu')",
        f"load({LLAMA!r}, revision={commit[:10]!r})",
        afresh=True,
    )
    assert plain == by_commit
    assert (plain["class"], plain["quantized"], plain["warnings"]) == ("LlamaForCausalLM", False, [])
    assert 0 <= plain["bytes"] - 2 * rows["none"]["num_parameters"] < 1000  # bfloat16, and a few buffers
    assert (four["quantized"], four["bytes"], four["warnings"]) == (True, rows["4bit"]["memory_measured_bytes"], [])
    assert wide["dtype"] == "torch.float32"
    # There is no copy in eight bits, so this process makes one for itself.
    assert eight["quantized"]
    [(warning, blamed)] = eight["warnings"]
    assert f"modelyard quantize {LLAMA} -q 8bit" in warning
    assert "\n" not in warning
    assert blamed == "<string>"


def test_importing_it_is_cheap() -> None:
    program = "import sys, modelyard; print({'torch', 'sqlalchemy', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_folders_are_loaded_as_they_are_stored(instance: Instance, rows: dict[str, dict[str, Any]]) -> None:
    snapshot, artifact = rows["none"]["snapshot_path"], rows["4bit"]["snapshot_path"]
    plain, four, other, nothing = notebook(
        instance,
        f"load({snapshot!r})",
        f"load(__import__('pathlib').Path({artifact!r}))",
        f"load({artifact!r}, quantization='8bit')",
        "load('/no/such/folder')",
        MODELYARD_HOME=str(instance.folder / "elsewhere"),
    )
    assert not plain["quantized"]
    assert four["quantized"]
    assert other["code"] == "already_quantized"
    assert nothing["code"] == "invalid_request"
    assert not (instance.folder / "elsewhere").exists()


def test_a_tokenizer_that_names_a_file_of_the_machine_is_not_read(
    instance: Instance, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    folder, secret = tmp_path / "repository", tmp_path / "secret.txt"
    shutil.copytree(rows["none"]["snapshot_path"], folder)
    secret.write_text("[UNK]\nhunter2\n")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[UNK]\nhello\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "vocab": str(secret)})
    )
    opened, loaded = notebook(
        instance,
        f"'hunter2' in __import__('transformers').AutoTokenizer.from_pretrained({str(folder)!r}).get_vocab()",
        f"load({str(folder)!r})",
    )
    assert opened, "transformers opens it"
    assert not loaded["tokenizer"]
    [(warning, _blamed)] = loaded["warnings"]
    assert "tokenizer_config.json names in 'vocab' a file to open" in warning


def test_what_is_not_here_is_named_with_the_command_that_gets_it(
    instance: Instance, rows: dict[str, dict[str, Any]]
) -> None:
    missing, revision = notebook(instance, "load('no/such', '4bit')", f"load({LLAMA!r}, revision='v9')")
    assert missing["code"] == revision["code"] == "model_not_found"
    assert "`modelyard pull no/such -q 4bit`" in missing["hint"]
    assert "download=True" in missing["hint"]
    assert f"`modelyard pull {LLAMA} --revision v9`" in revision["hint"]


@pytest.mark.thorough
def test_a_model_is_downloaded_by_the_server_when_asked(instance: Instance, rows: dict[str, dict[str, Any]]) -> None:
    # Nothing but the instance's own folders says where its server is.
    refused, loaded, again = notebook(
        instance,
        "load('no/such', download=True)",
        f"load({GPT2!r}, '8bit', download=True)",
        f"load({GPT2!r})",
        MODELYARD_PORT="1",
    )
    assert refused["code"] == "hub_model_not_found"
    assert (loaded["class"], loaded["quantized"], loaded["warnings"]) == ("GPT2LMHeadModel", True, [])
    assert again["code"] == "model_not_found"
    assert 'quantization="8bit"' in again["hint"]


def test_without_a_server_a_download_says_how(instance: Instance, rows: dict[str, dict[str, Any]]) -> None:
    instance.stop()
    loaded, refused, empty = notebook(
        instance,
        f"load({LLAMA!r}, '4bit')",
        "load('some/model', download=True)",
        "load('some/model')",
    )
    assert loaded["quantized"]
    assert refused["code"] == "server_unreachable"
    assert "some/model is not in this store" in refused["message"]
    assert "modelyard serve" in refused["hint"]
    assert empty["code"] == "model_not_found"
