"""Adapters of a Hub: what is told of them, and how they get here with and without their base."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, snapshot_download

from api.test_models_api import problem
from hub.hub_faults import HubFaults
from support import programs
from support.adapters import change_config
from support.instance import Instance

LORA, BASE = "lab/lora", "lab/base"
LORA_PARAMETERS = 2 * (4 * 64 + 64 * 4 + 4 * 64 + 32 * 4)
"""Of q_proj and v_proj in two layers, rank 4."""


def _pull(instance: Instance, model_id: str = LORA, **fields: Any) -> Any:
    return instance.api.post("/models/download", json={"model_id": model_id, **fields})


def _rows(instance: Instance) -> dict[str, dict[str, Any]]:
    return {row["model_id"]: row for row in instance.api.get("/models").json()["items"]}


def test_info_tells_of_the_adapter_and_of_its_base(instance: Instance, hub: HubFaults) -> None:
    info = instance.api.get(f"/models/info/{LORA}").json()
    assert info["support"]["level"] == "supported"
    assert [reason["code"] for reason in info["support"]["reasons"]] == ["peft_adapter"]
    assert BASE in info["support"]["reasons"][0]["message"]
    adapter = info["adapter"]
    assert (adapter["base_model"], adapter["base_revision"], adapter["rank"]) == (BASE, None, 4)
    assert adapter["target_modules"] == ["q_proj", "v_proj"]
    assert info["num_parameters"] == LORA_PARAMETERS
    assert adapter["memory_bytes"] == 4 * LORA_PARAMETERS
    base = instance.api.get(f"/models/info/{BASE}").json()
    assert base["adapter"] is None
    assert (adapter["base"]["id"], adapter["base"]["problem"]) == (None, None)
    assert adapter["base"]["size_bytes"] == adapter["base"]["missing_bytes"] == base["size_bytes"]
    fetched = {file["path"] for file in info["files"] if file["fetch"]}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= fetched
    assert info["training"]["compatible"] is False


def test_an_adapter_is_not_fetched_without_its_base(instance: Instance, hub: HubFaults) -> None:
    refused = _pull(instance)
    assert problem(refused) == (409, "base_missing")
    assert (refused.json()["base_model"], refused.json()["base_revision"]) == (BASE, None)
    assert f"modelyard pull {BASE}" in refused.json()["hint"]
    assert _rows(instance) == {}


def test_both_come_with_consent(instance: Instance, hub: HubFaults) -> None:
    answer = _pull(instance, with_base=True)
    assert answer.status_code == 202
    adapter = answer.json()
    assert (adapter["kind"], adapter["quantization"], adapter["adapter"]["base_model"]) == ("adapter", "none", BASE)
    base = instance.wait_for(adapter["base_id"], "ready")
    adapter = instance.wait_for(adapter["id"], "ready")
    assert (base["model_id"], base["kind"], base["base_id"], base["adapter"]) == (BASE, "model", None, None)
    assert adapter["architecture"] == base["architecture"] == "LlamaForCausalLM"
    assert (adapter["num_parameters"], adapter["dtype"]) == (LORA_PARAMETERS, "float16")
    assert (adapter["memory_estimated_bytes"], adapter["memory_method"]) == (4 * LORA_PARAMETERS, "exact")
    assert (adapter["adapter"]["rank"], adapter["adapter"]["target_modules"]) == (4, ["q_proj", "v_proj"])
    assert (adapter["generates_text"], adapter["has_chat_template"]) == (True, False)
    assert adapter["remarks"] == []
    assert Path(adapter["snapshot_path"], "adapter_model.safetensors").is_file()

    info = instance.api.get(f"/models/info/{LORA}").json()["adapter"]["base"]
    assert (info["id"], info["status"], info["missing_bytes"]) == (base["id"], "ready", 0)

    _is_its_base_as_well(instance, adapter, base)
    plan = instance.api.delete(f"/models/{base['id']}", params={"dry_run": True}).json()
    assert plan["adapters"] == [LORA]
    deleted = instance.api.delete(f"/models/{base['id']}")
    assert (deleted.status_code, deleted.json()["adapters"]) == (200, [LORA])
    left = instance.model(adapter["id"])
    assert (left["status"], left["base_id"], left["architecture"]) == ("ready", None, None)
    for what in ("architecture", "estimate-memory"):
        assert problem(instance.api.get(f"/models/{left['id']}/{what}")) == (409, "base_missing")


def _is_its_base_as_well(instance: Instance, adapter: dict[str, Any], base: dict[str, Any]) -> None:
    """Compare what is told of an adapter's memory and layers with that of its base."""
    path = f"/models/{adapter['id']}"

    def exact(url: str, **query: str) -> dict[str, Any]:
        """Ask until the inspector, which starts slowly, has answered."""

        def told() -> dict[str, Any] | None:
            answer: dict[str, Any] = instance.api.get(url, params={"parts": "weights", **query}).json()
            return answer if answer["method"] == "exact" else None

        found: dict[str, Any] = instance.wait_until(told, 90, f"{url} is exact")
        return found

    alone = exact(f"/models/{base['id']}/estimate-memory")
    for both in (exact(f"{path}/estimate-memory"), exact("/models/estimate-memory", model_id=LORA)):
        assert (both["model_id"], both["adapter_bytes"], alone["adapter_bytes"]) == (LORA, 4 * LORA_PARAMETERS, 0)
        for with_adapter, without in zip(both["options"], alone["options"], strict=True):
            assert with_adapter["weights_bytes"] == without["weights_bytes"] + 4 * LORA_PARAMETERS
    assert instance.api.get(f"{path}/architecture").json()["model_id"] == BASE
    refused = instance.api.post(f"{path}/quantize", json={"quantization": "4bit"})
    assert problem(refused) == (422, "invalid_request")
    assert BASE in refused.json()["hint"]
    verdict = instance.api.get(f"{path}/training-compatibility").json()
    assert (verdict["compatible"], verdict["reasons"][0]["code"]) == (False, "peft_adapter")


def test_the_base_may_be_quantized_on_the_way(instance: Instance, hub: HubFaults) -> None:
    refused = _pull(instance, quantization="8bit")
    assert problem(refused) == (422, "invalid_request")
    adapter = _pull(instance, quantization="8bit", with_base=True).json()
    base = instance.model(adapter["base_id"])
    assert (adapter["quantization"], base["quantization"]) == ("none", "8bit")
    for row in (adapter, base):
        instance.api.post(f"/models/{row['id']}/cancel")


def test_a_base_that_is_here_is_used(instance: Instance, hub: HubFaults) -> None:
    base = instance.download(BASE)
    adapter = _pull(instance)
    assert adapter.status_code == 202
    assert adapter.json()["base_id"] == base["id"]
    instance.wait_for(adapter.json()["id"], "ready")
    assert set(_rows(instance)) == {BASE, LORA}


def test_a_base_that_no_hub_has(instance: Instance, hub: HubFaults) -> None:
    info = instance.api.get("/models/info/lab/lost").json()
    assert "lab/nowhere" in info["adapter"]["base"]["problem"]
    assert problem(_pull(instance, "lab/lost")) == (409, "base_missing")
    assert problem(_pull(instance, "lab/lost", with_base=True)) == (404, "hub_model_not_found")
    assert _rows(instance) == {}


def test_an_adapter_of_an_adapter_is_refused(instance: Instance, hub: HubFaults) -> None:
    info = instance.api.get("/models/info/lab/second").json()
    assert "is an adapter itself" in info["adapter"]["base"]["problem"]
    for with_base in (False, True):
        assert problem(_pull(instance, "lab/second", with_base=with_base)) == (422, "unsupported_adapter")
    assert _rows(instance) == {}


def test_others_fetch_an_adapter_from_here(instance: Instance, hub: HubFaults, tmp_path: Path) -> None:
    adapter = _pull(instance, with_base=True).json()
    instance.wait_for(adapter["base_id"], "ready")
    adapter = instance.wait_for(adapter["id"], "ready")
    own = HfApi(endpoint=f"{instance.url}/hub", token=False)
    assert {LORA, BASE} <= {model.id for model in own.list_models(author="lab")}
    assert [model.id for model in own.list_models(filter="peft")] == [LORA]
    info = own.model_info(LORA, files_metadata=True)
    assert (info.id, info.sha, info.library_name) == (LORA, adapter["commit"], "peft")
    assert f"base_model:adapter:{BASE}" in (info.tags or [])
    here = {path.name: path.read_bytes() for path in Path(adapter["snapshot_path"]).iterdir()}
    assert {file.rfilename: file.size for file in info.siblings or []} == {
        name: len(content) for name, content in here.items()
    }
    fetched = Path(snapshot_download(LORA, endpoint=own.endpoint, cache_dir=tmp_path, token=False))
    assert fetched.name == adapter["commit"]
    assert {path.name: path.read_bytes() for path in fetched.iterdir()} == here


def test_an_adapter_in_the_cache_is_adopted(instance: Instance, hub: HubFaults, hub_endpoint: str) -> None:
    """Its base is named when it comes, here out of the cache as well."""
    cache = instance.hf_home / "hub"
    for name in (LORA, BASE):
        snapshot_download(name, endpoint=hub_endpoint, cache_dir=cache, token=False)
    size = instance.cache_bytes()
    listed = instance.api.get("/models/cache").json()["items"]
    assert sorted((item["model_id"], item["importable"]) for item in listed) == [(BASE, True), (LORA, True)]

    def adopted(name: str) -> dict[str, Any]:
        answer = instance.api.post("/models/import", json={"cached": name})
        assert answer.status_code == 202, answer.text
        return instance.wait_for(answer.json()["id"], "ready")

    adapter = adopted(LORA)
    assert (adapter["kind"], adapter["adopted"], adapter["base_id"]) == ("adapter", True, None)
    assert (adapter["adapter"]["base_model"], adapter["num_parameters"]) == (BASE, LORA_PARAMETERS)
    asked = instance.api.post(f"/models/{adapter['id']}/load", json={})
    assert problem(asked) == (409, "base_missing")
    assert f"modelyard pull {BASE}" in asked.json()["hint"]
    offered = instance.api.get(f"/models/info/{LORA}").json()["adapter"]["base"]
    assert (offered["id"], offered["missing_bytes"], offered["problem"]) == (None, 0, None)

    base = adopted(BASE)
    assert instance.cache_bytes() == size
    adapter = instance.model(adapter["id"])
    assert (adapter["base_id"], adapter["architecture"]) == (base["id"], "LlamaForCausalLM")
    for row in (adapter, base):
        assert problem(instance.api.delete(f"/models/{row['id']}")) == (409, "shared_cache")
    assert instance.api.delete(f"/models/{adapter['id']}", params={"confirm_shared": True}).status_code == 200
    snapshot_download(LORA, endpoint=hub_endpoint, cache_dir=cache, token=False)
    assert adopted(LORA)["base_id"] == base["id"]


def _lora_folder(instance: Instance, tmp_path: Path) -> Path:
    """The files of the adapter in a folder of their own."""
    adapter = _pull(instance, with_base=True).json()
    instance.wait_for(adapter["base_id"], "ready")
    snapshot = instance.wait_for(adapter["id"], "ready")["snapshot_path"]
    folder = tmp_path / "lora"
    shutil.copytree(snapshot, folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def test_a_folder_with_an_adapter_is_imported(instance: Instance, hub: HubFaults, tmp_path: Path) -> None:
    folder = _lora_folder(instance, tmp_path)
    request = {"path": str(folder), "model_id": "local/lora", "mode": "copy"}
    imported = instance.api.post("/models/import", json=request).json()
    row = instance.wait_for(imported["id"], "ready")
    assert (row["kind"], row["adapter"]["base_model"], row["adapter"]["rank"]) == ("adapter", BASE, 4)
    assert row["base_id"] == _rows(instance)[BASE]["id"]
    assert row["memory_estimated_bytes"] == 4 * LORA_PARAMETERS


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"base_model_name_or_path": "/home/ada/llama"}, "unsupported_adapter", "must be a repository"),
        ({"use_dora": True}, "unsupported_adapter", "DoRA"),
        ({"r": 8}, "unsupported_adapter", "contradicts the rank"),
        ({"r": "4"}, "invalid_repository", "r is a string"),
    ],
)
def test_a_folder_that_is_no_plain_adapter_is_refused(
    instance: Instance, hub: HubFaults, tmp_path: Path, fields: dict[str, Any], code: str, named: str
) -> None:
    folder = change_config(_lora_folder(instance, tmp_path), **fields)
    request = {"path": str(folder), "model_id": "local/lora", "mode": "copy"}
    refused = instance.api.post("/models/import", json=request)
    assert problem(refused) == (422, code)
    assert named in refused.json()["detail"]


def test_the_command_line_names_the_base(instance: Instance, hub: HubFaults, tmp_path: Path) -> None:
    def modelyard(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "modelyard", "--server", instance.url, *arguments]
        environment = {**os.environ, "MODELYARD_HOME": str(tmp_path), "COLUMNS": "200"}
        return programs.run(command, capture_output=True, text=True, timeout=120, env=environment)

    shown = modelyard("info", LORA).stdout
    assert f"{BASE}, which is not here" in shown
    assert "in addition to its base" in shown
    refused = modelyard("pull", LORA)
    assert refused.returncode != 0
    assert f"modelyard pull {BASE}" in refused.stderr
    assert "--with-base" in refused.stderr
    pulled = modelyard("pull", LORA, "--with-base")
    assert pulled.returncode == 0, pulled.stderr
    assert f"{LORA} is ready" in pulled.stdout
    assert f"{LORA} (adapter of {BASE})" in modelyard("ls").stdout
    assert "q_proj, v_proj" in modelyard("show", LORA).stdout
    deleted = modelyard("rm", BASE, "--dry-run").stdout
    assert f"The adapter {LORA} stays and has no base then." in deleted
    assert modelyard("rm", BASE, "--yes").returncode == 0
    assert f"{BASE}, which is not here" in modelyard("show", LORA).stdout
