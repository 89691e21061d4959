"""The shelf of sparse autoencoders: imports, downloads, what they fit, export and deletion."""

import base64
import io
import json
import pydoc_data.topics
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from api.test_models_api import problem
from hub.hub_faults import HubFaults
from support.instance import Instance, standing_still
from support.saes import D_IN, D_SAE, make_sae

BASE, SAES, SAMPLE = "lab/base", "lab/saes", "modelyard-samples/tiny-llama"


@pytest.fixture(autouse=True)
def _clean_shelf(instance: Instance) -> Iterator[None]:
    yield
    for sae in shelf(instance):
        assert instance.api.delete(f"/saes/{sae['id']}").status_code == 200


def shelf(instance: Instance, **query: Any) -> list[dict[str, Any]]:
    answer = instance.api.get("/saes", params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def imported(instance: Instance, folder: Path) -> Any:
    return instance.api.post("/saes/import", json={"path": str(folder)})


def downloaded(instance: Instance, path: str, state: str = "done") -> dict[str, Any]:
    answer = instance.api.post("/saes/download", json={"repo_id": SAES, "path": path})
    assert answer.status_code == 202, answer.text
    sae_id = answer.json()["id"]

    def ended() -> dict[str, Any] | None:
        sae: dict[str, Any] = instance.api.get(f"/saes/{sae_id}").json()
        return sae if sae["work"]["state"] == state else None

    sae: dict[str, Any] = instance.wait_until(ended, 30, f"the download is {state}")
    return sae


def codes(sae: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in sae["warnings"]]


def test_a_folder_is_copied_and_its_facts_are_read(instance: Instance, tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "layer-1", model_name="lab/elsewhere", model_quantization="4bit")
    answer = imported(instance, folder)
    assert answer.status_code == 201, answer.text
    sae = answer.json()
    assert (sae["name"], sae["source"], sae["status"]) == ("layer-1", "imported", "ready")
    assert (sae["d_in"], sae["d_sae"], sae["architecture"], sae["context_size"]) == (D_IN, D_SAE, "topk", 32)
    assert (sae["model_id"], sae["hook_point"], sae["quantization"]) == ("lab/elsewhere", "model.layers.1", "4bit")
    assert (sae["compatible_with"], codes(sae)) == ([], ["model_not_installed"])
    kept = Path(sae["folder"])
    assert kept.is_relative_to(instance.home)
    for name in ("cfg.json", "sae_weights.safetensors"):
        assert (kept / name).read_bytes() == (folder / name).read_bytes()
    (folder / "cfg.json").unlink()
    assert shelf(instance) == [instance.api.get(f"/saes/{sae['id']}").json()]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"d_in": D_IN + 1}, "invalid_repository"),
        ({"d_sae": "many"}, "invalid_repository"),
        ({"architecture": "transcoder"}, "unsupported_architecture"),
    ],
)
def test_what_is_no_sae_is_refused(instance: Instance, tmp_path: Path, change: dict[str, Any], code: str) -> None:
    folder = make_sae(tmp_path / "odd")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | change))
    assert problem(imported(instance, folder)) == (422, code)
    assert shelf(instance) == []
    assert list((instance.home / "saes").iterdir()) == []


def test_damaged_weights_and_missing_files_are_refused(instance: Instance, tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "cut")
    weights = folder / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert problem(imported(instance, folder)) == (422, "no_weights")
    weights.unlink()
    (folder / "sae_weights.pt").write_bytes(b"a pickle")
    refused = imported(instance, folder)
    assert problem(refused) == (422, "invalid_request")
    assert "sae_weights.safetensors" in refused.json()["detail"]
    assert problem(imported(instance, Path("/etc"))) == (403, "path_not_allowed")


def test_the_format_of_older_versions_is_read(instance: Instance, tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "old")
    config = {
        "model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre", "d_in": D_IN, "d_sae": D_SAE,
        "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 8}, "context_size": 128,
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = imported(instance, folder).json()
    assert (sae["model_id"], sae["hook_point"], sae["architecture"]) == (
        "gpt2-small",
        "blocks.8.hook_resid_pre",
        "topk",
    )
    assert codes(sae) == ["transformer_lens", "model_not_installed"]


def test_differences_to_the_installed_model_are_told(instance: Instance, hub: HubFaults, tmp_path: Path) -> None:
    row = instance.wait_for(instance.download(BASE)["id"], "ready")
    same = make_sae(tmp_path / "same", model_name=BASE, model_commit=row["commit"], model_quantization="none")
    sae = imported(instance, same).json()
    assert (sae["compatible_with"], sae["warnings"]) == ([row["id"]], [])
    other = make_sae(tmp_path / "other", model_name=BASE, model_commit="f" * 40, model_quantization="8bit")
    sae = imported(instance, other).json()
    assert (sae["compatible_with"], codes(sae)) == ([row["id"]], ["other_precision", "other_commit"])
    assert {warning["model_id"] for warning in sae["warnings"]} == {row["id"]}
    wide = imported(instance, make_sae(tmp_path / "wide", d_in=96, model_name=BASE)).json()
    assert (wide["compatible_with"], codes(wide)) == ([], ["width_mismatch"])
    imported(instance, make_sae(tmp_path / "stranger", model_name="lab/elsewhere"))
    assert {found["name"] for found in shelf(instance, model_id=row["id"])} == {"same", "other", "wide"}


def test_an_sae_comes_from_a_folder_of_a_repository(instance: Instance, hub: HubFaults) -> None:
    sae = downloaded(instance, "layer-1")
    assert (sae["status"], sae["source"], sae["repo_id"]) == ("ready", "hub", SAES)
    assert (sae["name"], sae["repo_path"], sae["hook_point"]) == (f"{SAES}/layer-1", "layer-1", "model.layers.1")
    kept = Path(sae["folder"])
    assert sorted(path.name for path in kept.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    assert load_file(kept / "sae_weights.safetensors")["W_dec"].shape == (D_SAE, D_IN)
    assert sorted(path.name for path in kept.parent.iterdir()) == ["sae"], "nothing is kept twice"
    again = instance.api.post("/saes/download", json={"repo_id": SAES, "path": "/layer-1/"})
    assert problem(again) == (409, "already_exists")
    assert again.json()["id"] == sae["id"]


def test_a_folder_without_one_names_those_that_have_one(instance: Instance, hub: HubFaults) -> None:
    refused = instance.api.post("/saes/download", json={"repo_id": SAES})
    assert problem(refused) == (422, "invalid_request")
    assert refused.json()["folders"] == ["layer-1", "layer-2"]


def test_what_is_not_what_the_hub_announced_is_not_kept(instance: Instance, hub: HubFaults) -> None:
    hub.corrupt("layer-2/sae_weights.safetensors", at_byte=5000, times=20)
    failed = downloaded(instance, "layer-2", "failed")
    hub.clear()
    assert failed["status"] == "failed"
    assert failed["work"]["error"]["code"] == "checksum_mismatch"
    assert not Path(failed["folder"]).exists()
    assert downloaded(instance, "layer-2")["id"] == failed["id"], "it is started again"


def test_an_archive_holds_the_folder(instance: Instance, tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "mine")
    save_file({"sparsity": load_file(folder / "sae_weights.safetensors")["b_enc"]}, folder / "sparsity.safetensors")
    (folder / "notes.txt").write_text("not a part of it")
    sae = imported(instance, folder).json()
    answer = instance.api.get(f"/saes/{sae['id']}/export")
    assert answer.headers["content-type"] == "application/x-tar"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "out", filter="data")
    [unpacked] = (tmp_path / "out").iterdir()
    assert sorted(path.name for path in unpacked.iterdir()) == [
        "cfg.json",
        "sae_weights.safetensors",
        "sparsity.safetensors",
    ]
    assert (unpacked / "cfg.json").read_bytes() == (folder / "cfg.json").read_bytes()


def test_a_deletion_frees_what_its_plan_says(instance: Instance, tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "gone")
    sae = imported(instance, folder).json()
    plan = instance.api.delete(f"/saes/{sae['id']}", params={"dry_run": True}).json()
    assert plan["freed_bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert Path(sae["folder"]).is_dir()
    assert instance.api.delete(f"/saes/{sae['id']}").json() == plan
    assert not Path(sae["folder"]).parent.exists()
    assert problem(instance.api.get(f"/saes/{sae['id']}")) == (404, "sae_not_found")


def test_files_that_vanish_are_told(instance: Instance, tmp_path: Path) -> None:
    sae = imported(instance, make_sae(tmp_path / "lost")).json()
    (Path(sae["folder"]) / "cfg.json").unlink()
    assert "files_missing" in codes(instance.api.get(f"/saes/{sae['id']}").json())
    assert problem(instance.api.get(f"/saes/{sae['id']}/export")) == (409, "not_ready")


@pytest.fixture
def judged_model(instance: Instance, hub: HubFaults) -> dict[str, Any]:
    return instance.wait_for(instance.download(SAMPLE)["id"], "ready")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in pydoc_data.topics.topics.values()))
    return path


def judge(instance: Instance, sae: dict[str, Any], corpus: Path, **fields: Any) -> Any:
    body = {"dataset": {"path": str(corpus)}, "tokens": 4096, **fields}
    return instance.api.post(f"/saes/{sae['id']}/evaluate", json=body)


def ended(instance: Instance, sae_id: str, seconds: float = 300) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        sae: dict[str, Any] = instance.api.get(f"/saes/{sae_id}").json()
        return sae if sae["work"]["state"] in ("done", "failed", "cancelled") else None

    sae: dict[str, Any] = instance.wait_until(probe, seconds, "the work ends")
    return sae


@pytest.mark.sae
def test_an_sae_is_judged_though_its_worker_is_killed(
    instance: Instance, judged_model: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = make_sae(tmp_path / "here", d_in=judged_model["hidden_size"], model_name=SAMPLE, prepend_bos=False)
    sae = imported(instance, folder).json()
    answer = judge(instance, sae, corpus)
    assert answer.status_code == 202, answer.text
    assert problem(judge(instance, sae, corpus)) == (409, "conflict")

    def is_running() -> bool:
        return bool(instance.api.get(f"/saes/{sae['id']}").json()["work"]["state"] == "running")

    instance.wait_until(is_running, 60, "a worker has it")
    assert [user["kind"] for user in instance.model(judged_model["id"])["used_by"]] == ["sae"]
    assert problem(instance.api.delete(f"/saes/{sae['id']}")) == (409, "model_in_use")
    assert problem(instance.api.delete(f"/models/{judged_model['id']}")) == (409, "model_in_use")
    instance.children()["compute"].kill()
    judged = ended(instance, sae["id"])
    assert judged["work"]["state"] == "done", judged["work"]
    found = judged["evaluation"]
    assert (found["model_row_id"], found["held_out"], found["context_size"]) == (judged_model["id"], False, 32)
    assert found["dataset"] == {"path": str(corpus), "column": "text"}
    assert 0 < found["tokens"] <= 4096
    assert (found["l0"], judged["status"], judged["used_by"]) == (8.0, "ready", [])
    assert found["ce_zero"] != found["ce_clean"]
    assert instance.model(judged_model["id"])["used_by"] == []


@pytest.mark.sae
def test_an_evaluation_is_refused_with_a_reason(
    instance: Instance, judged_model: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    d_in = judged_model["hidden_size"]
    stranger = imported(instance, make_sae(tmp_path / "stranger", model_name="lab/elsewhere")).json()
    refused = judge(instance, stranger, corpus)
    assert problem(refused) == (409, "not_ready")
    assert "modelyard pull lab/elsewhere" in refused.json()["hint"]
    nowhere = imported(
        instance, make_sae(tmp_path / "nowhere", d_in=d_in, model_name=SAMPLE, hook_name="model.layers.99")
    ).json()
    assert problem(judge(instance, nowhere, corpus)) == (422, "invalid_request")
    narrow = imported(
        instance, make_sae(tmp_path / "narrow", d_in=16, model_name=SAMPLE, hook_name="model.layers.1.mlp")
    ).json()
    assert problem(judge(instance, narrow, corpus)) == (422, "invalid_request")
    assert problem(judge(instance, narrow, Path("/etc/passwd"))) == (403, "path_not_allowed")


@pytest.mark.sae
def test_an_evaluation_can_be_cancelled(
    instance: Instance, judged_model: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = make_sae(tmp_path / "long", d_in=judged_model["hidden_size"], model_name=SAMPLE, prepend_bos=False)
    sae = imported(instance, folder).json()
    with standing_still(instance.children()["compute"]):
        assert judge(instance, sae, corpus, tokens=10_000_000).status_code == 202
        assert instance.api.post(f"/saes/{sae['id']}/cancel").json()["work"]["state"] in ("cancelled", "stopping")
    assert ended(instance, sae["id"])["work"]["state"] == "cancelled"
    assert problem(instance.api.post(f"/saes/{sae['id']}/cancel")) == (409, "conflict")


@pytest.mark.sae
def test_features_are_looked_for_though_the_worker_is_killed(
    instance: Instance, judged_model: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = make_sae(tmp_path / "pages", d_in=judged_model["hidden_size"], model_name=SAMPLE, prepend_bos=False)
    sae = imported(instance, folder).json()
    pages = f"/saes/{sae['id']}/features"
    assert problem(instance.api.get(pages)) == (409, "not_ready")
    answer = instance.api.post(f"{pages}/build", json={"dataset": {"path": str(corpus)}, "tokens": 4096, "top": 3})
    assert answer.status_code == 202, answer.text

    def is_running() -> bool:
        return bool(instance.api.get(f"/saes/{sae['id']}").json()["work"]["state"] == "running")

    instance.wait_until(is_running, 60, "a worker has it")
    assert problem(judge(instance, sae, corpus)) == (409, "conflict")
    instance.children()["compute"].kill()
    found = ended(instance, sae["id"])
    assert (found["work"]["kind"], found["work"]["state"]) == ("features", "done"), found["work"]
    facts = found["features"]
    assert (facts["top"], facts["model_row_id"], facts["final_norm"]) == (3, judged_model["id"], "model.norm")
    own = Path(found["folder"]).parent
    assert facts["size_bytes"] == (own / "features.sqlite").stat().st_size
    assert not list(own.glob("*.partial"))
    page = instance.api.get(pages, params={"sort": "-max", "limit": 2}).json()
    assert (page["total"], len(page["items"])) == (D_SAE, 2)
    first = page["items"][0]
    feature = instance.api.get(f"{pages}/{first['index']}").json()
    assert feature["max"] == first["max"] == feature["passages"][0]["activation"]
    assert len(feature["promoted"]) == 10
    assert problem(instance.api.get(f"{pages}/{D_SAE}")) == (422, "invalid_request")
    assert_the_text_s_features(instance, sae["id"], feature, tmp_path)


def assert_the_text_s_features(instance: Instance, sae_id: str, feature: dict[str, Any], tmp_path: Path) -> None:
    """The resident model finds on a whole context of the file what the file says of it."""
    text = "".join(token["text"] for token in feature["passages"][0]["tokens"])
    answer = instance.api.post(f"/saes/{sae_id}/features/for-text", json={"text": text, "top": 500})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["active_features"] == len(found["features"]) > 0
    assert [each["max"] for each in found["features"]] == sorted((e["max"] for e in found["features"]), reverse=True)
    for each in found["features"]:
        assert len(each["activations"]) == len(found["tokens"])
        assert each["activations"][each["position"]] == each["max"]
        assert each["density"] is not None
    active = [
        sum(each["activations"][place] != 0 for each in found["features"]) for place in range(len(found["tokens"]))
    ]
    assert set(active) == {8}, "as many as the SAE lets be active"
    long = instance.api.post(f"/saes/{sae_id}/features/for-text", json={"text": "word " * 2000})
    assert problem(long) == (422, "context_length_exceeded")
    assert_a_feature_is_clamped(instance, found["model_id"], sae_id, tmp_path)
    assert instance.api.post(f"/models/{found['model_id']}/unload").is_success
    instance.wait_until(lambda: not instance.model(found["model_id"])["loaded"], 60, "the model is unloaded")


def assert_a_feature_is_clamped(instance: Instance, row_id: str, sae_id: str, tmp_path: Path) -> None:
    """The model moves along the feature's direction for this request alone; what does not fit is refused."""
    clamp = {"op": "sae_clamp", "sae_id": sae_id, "feature": 5, "value": 50.0}
    ask = {"prompt": "import os", "max_new_tokens": 8}
    plain = instance.api.post(f"/models/{row_id}/generate", json=ask).json()
    changed = instance.api.post(f"/models/{row_id}/generate", json={**ask, "interventions": [clamp]}).json()
    assert changed["text"] != plain["text"]
    assert (plain["warnings"], changed["warnings"]) == ([], [])
    assert instance.api.post(f"/models/{row_id}/generate", json=ask).json()["text"] == plain["text"]
    read = {"hook_points": ["model.layers.1"], "token_ids": [[5, 6, 7]], "positions": "last"}
    shown = instance.api.post(f"/models/{row_id}/activations", json={**read, "interventions": [clamp]})
    before = instance.api.post(f"/models/{row_id}/activations", json=read)

    def vector(answer: Any) -> Any:
        return np.frombuffer(base64.b64decode(answer.json()["tensors"]["model.layers.1"]["data"]), np.float32)

    folder = Path(instance.api.get(f"/saes/{sae_id}").json()["folder"])
    direction = load_file(folder / "sae_weights.safetensors")["W_dec"][5]
    moved = vector(shown) - vector(before)
    assert moved @ direction == pytest.approx(np.linalg.norm(moved), rel=1e-4), "only along the feature's direction"
    width = instance.model(row_id)["hidden_size"]
    other = imported(instance, make_sae(tmp_path / "8bit", d_in=width, model_name=SAMPLE, model_quantization="8bit"))
    replaced = [{"op": "sae_replace", "sae_id": other.json()["id"]}]
    answer = instance.api.post(f"/models/{row_id}/generate", json={**ask, "interventions": replaced}).json()
    assert answer["warnings"] == ["8bit: It was trained on 8-bit; this copy is full precision."]
    asked = {"model": SAMPLE, "prompt": "import os", "max_tokens": 2}
    answers = [
        httpx.post(f"{instance.url}/v1/completions", json=asked | {"modelyard": {"interventions": given}}).json()
        for given in (replaced, [clamp])
    ]
    assert [each.get("modelyard") for each in answers] == [{"warnings": answer["warnings"]}, None]
    for change in ({"feature": D_SAE}, {"hook_point": "model.layers.0"}, {"feature": None}, {"sae_id": None}):
        refused = instance.api.post(f"/models/{row_id}/generate", json={**ask, "interventions": [clamp | change]})
        assert problem(refused) == (422, "invalid_request"), change


@pytest.mark.sae
def test_an_sae_of_another_model_is_refused(instance: Instance, hub: HubFaults, tmp_path: Path) -> None:
    row = instance.wait_for(instance.download(BASE)["id"], "ready")
    stranger = imported(instance, make_sae(tmp_path / "stranger", model_name="lab/elsewhere")).json()
    ask = {"prompt": "a", "interventions": [{"op": "sae_replace", "sae_id": stranger["id"]}]}
    refused = instance.api.post(f"/models/{row['id']}/generate", json=ask)
    assert problem(refused) == (422, "invalid_request")
    assert "does not fit lab/base" in refused.json()["detail"]
    completion = {"model": BASE, "prompt": "a", "modelyard": {"interventions": ask["interventions"]}}
    answer = instance.api.post(f"{instance.url}/v1/completions", json=completion)
    assert (answer.status_code, "does not fit" in answer.json()["error"]["message"]) == (400, True)


@pytest.mark.sae
def test_a_cancelled_search_for_features_leaves_nothing(
    instance: Instance, judged_model: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = make_sae(tmp_path / "long", d_in=judged_model["hidden_size"], model_name=SAMPLE, prepend_bos=False)
    sae = imported(instance, folder).json()
    request = {"dataset": {"path": str(corpus)}, "tokens": 10_000_000}
    assert instance.api.post(f"/saes/{sae['id']}/features/build", json=request).status_code == 202
    assert instance.api.post(f"/saes/{sae['id']}/cancel").json()["work"]["state"] in ("cancelled", "stopping")
    found = ended(instance, sae["id"])
    assert (found["work"]["state"], found["features"]) == ("cancelled", None)
    assert not list(Path(found["folder"]).parent.glob("features*"))
