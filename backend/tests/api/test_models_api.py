"""The REST API of models, over HTTP, against a Hub that can be gated, private, missing, failing or away."""

import subprocess
import sys
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi

from hub.hub_faults import HubFaults
from modelyard.commands import _format
from support import programs
from support.instance import Instance, free_port

GPT2 = "modelyard-samples/tiny-gpt2"
LLAMA = "modelyard-samples/tiny-llama"
MOE = "modelyard-samples/tiny-qwen-moe"
PICKLE, PACKED = "lab/pickle", "lab/packed"
TINY_LLAMA_PARAMETERS = 226_624


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, which always says what happened and what to do."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["detail"].endswith(".")
    assert body["hint"]
    return answer.status_code, body["code"]


def test_list_is_empty_at_first(instance: Instance) -> None:
    assert instance.api.get("/models").json() == {"items": [], "total": 0, "limit": 50, "offset": 0}


def test_info_tells_what_would_be_fetched(instance: Instance, hub: HubFaults) -> None:
    info = instance.api.get(f"/models/info/{MOE}").json()
    assert info["architecture"] == "Qwen3MoeForCausalLM"
    assert info["access"] == "open"
    assert info["num_parameters"] == 27_046_656
    fetched = {file["path"] for file in info["files"] if file["fetch"]}
    assert {"config.json", "tokenizer.json", "model.safetensors.index.json"} <= fetched
    assert sum(path.endswith(".safetensors") for path in fetched) >= 3
    assert info["size_bytes"] == info["missing_bytes"] == sum(f["size_bytes"] for f in info["files"] if f["fetch"])


def test_pickle_weights_are_counted_refused_and_fetched_with_consent(instance: Instance, hub: HubFaults) -> None:
    info = _inspected(instance, PICKLE)
    sizes = {file["path"]: file["size_bytes"] for file in info["files"] if file["fetch"]}
    assert sizes["pytorch_model.bin"] > 300_000
    assert info["size_bytes"] == info["missing_bytes"] == sum(sizes.values())
    assert info["num_parameters"] == TINY_LLAMA_PARAMETERS, "as config.json describes it"
    assert info["support"]["level"] == "unverified"
    assert [reason["code"] for reason in info["support"]["reasons"]] == ["unsafe_weights"]
    assert not any("pickle" in warning for warning in info["warnings"]), "it is said once"
    estimate = _ask(instance, "estimate", PICKLE).json()
    assert {option["download_bytes"] for option in estimate["options"]} == {info["size_bytes"]}

    assert problem(_ask(instance, "download", PICKLE)) == (422, "unsafe_weights")
    row = instance.wait_for(instance.download(PICKLE, allow_pickle=True)["id"], "ready")
    assert row["size_bytes"] == info["size_bytes"]
    assert instance.api.post(f"/models/{row['id']}/load", json={}).status_code == 202
    instance.wait_until(lambda: instance.model(row["id"])["loaded"], 90, "the pickle is loaded")
    assert instance.api.post(f"/models/{row['id']}/unload").is_success
    instance.wait_until(lambda: not instance.model(row["id"])["loaded"], 60, "the pickle is unloaded")


def test_pickle_weights_by_the_command_line(instance: Instance, hub: HubFaults) -> None:
    def modelyard(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "modelyard", *arguments, "--server", instance.url]
        return programs.run(command, env=instance.environment, capture_output=True, text=True, timeout=120, check=False)

    size = _format.size(instance.api.get(f"/models/info/{PICKLE}").json()["size_bytes"])
    facts = modelyard("info", PICKLE).stdout.partition("FILE")[0]
    assert f"download {size}" in " ".join(facts.split())
    refused = modelyard("pull", PICKLE)
    assert refused.returncode != 0
    assert "pickle" in refused.stderr
    pulled = modelyard("pull", PICKLE, "--allow-pickle")
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.startswith(f"{PICKLE} is ready: {size}")


def test_packed_weights_are_not_counted_as_parameters(instance: Instance, hub: HubFaults) -> None:
    (hit,) = _ask(instance, "search", PACKED).json()["items"]
    assert hit["num_parameters"] is None
    info = _inspected(instance, PACKED)
    assert info["already_quantized"] == "gptq"
    assert info["num_parameters"] == TINY_LLAMA_PARAMETERS


def test_an_adapter_with_a_configuration_is_called_one(instance: Instance, hub: HubFaults) -> None:
    support = instance.api.get("/models/info/lab/adapter").json()["support"]
    assert (support["level"], [reason["code"] for reason in support["reasons"]]) == (
        "unsupported",
        ["unsupported_adapter"],
    )
    assert "DoRA" in support["reasons"][0]["message"]
    assert problem(_ask(instance, "download", "lab/adapter")) == (422, "unsupported_adapter")


def test_a_weight_file_that_was_cut_short_is_not_the_endpoints_fault(instance: Instance, hub: HubFaults) -> None:
    answer = _ask(instance, "estimate", "lab/cut")
    assert problem(answer) == (422, "invalid_repository")
    assert "cut short" in answer.json()["detail"]
    assert "revision" in answer.json()["hint"]


def test_estimate_names_its_method_and_three_options(instance: Instance, hub: HubFaults) -> None:
    estimate = instance.api.get(
        "/models/estimate-memory", params={"model_id": LLAMA, "context": 100, "batch": 3}
    ).json()
    assert estimate["method"] in ("exact", "approximate")
    assert estimate["method"] == "exact" or estimate["method_reason"]
    assert [option["quantization"] for option in estimate["options"]] == ["none", "8bit", "4bit"]
    weights = [option["weights_bytes"] for option in estimate["options"]]
    assert weights[0] > weights[1] > weights[2] > 0
    for option in estimate["options"]:
        assert option["kv_cache_bytes"] == 6144 * 100 * 3
        assert option["verdicts"][-1]["device"] == "cpu"
        assert option["verdicts"][-1]["verdict"] == "fits"


@pytest.mark.parametrize("given", [f"https://huggingface.co/{GPT2}", f"https://hf.co/{GPT2}/tree/main", f" {GPT2} "])
def test_a_pasted_address_names_the_model(instance: Instance, hub: HubFaults, given: str) -> None:
    row = instance.download(given)
    assert row["model_id"] == GPT2
    instance.wait_for(row["id"], "ready")


@pytest.mark.parametrize("given", ["a/b/c", "../x", "https://example.com/a/b", "owner/na me", "-x", ""])
def test_anything_else_is_a_clear_422(instance: Instance, given: str) -> None:
    assert problem(instance.api.post("/models/download", json={"model_id": given})) == (422, "invalid_request")


def test_unknown_fields_and_values_are_named(instance: Instance) -> None:
    answer = instance.api.post("/models/download", json={"model_id": GPT2, "quantization": "3bit", "speed": 9})
    assert problem(answer) == (422, "invalid_request")
    assert {error["field"] for error in answer.json()["errors"]} == {"quantization", "speed"}


@pytest.mark.parametrize("ask", ["info", "download", "estimate"])
def test_unknown_model_and_revision(instance: Instance, hub: HubFaults, ask: str) -> None:
    assert problem(_ask(instance, ask, "no/such-model")) == (404, "hub_model_not_found")
    assert problem(_ask(instance, ask, GPT2, "no-such-revision")) == (404, "revision_not_found")


@pytest.mark.parametrize("ask", ["info", "download", "estimate"])
def test_private_looks_like_missing(instance: Instance, hub: HubFaults, ask: str) -> None:
    hub.hide(GPT2, readers={"good"})
    assert problem(_ask(instance, ask, GPT2)) == (404, "hub_model_not_found")
    instance.api.put("/settings", json={"token": "good"})
    assert _ask(instance, ask, GPT2).is_success


def test_private_stays_private_on_our_own_hub(instance: Instance, hub: HubFaults) -> None:
    def told(*properties: str) -> dict[str, Any]:
        api = HfApi(endpoint=f"{instance.url}/hub", token=False)
        [listed] = [one for one in api.list_models(search="packed", full=True) if one.id == PACKED]
        assert listed.private is api.model_info(PACKED).private
        return {name: getattr(api.model_info(PACKED), name) for name in properties}

    hub.hide(PACKED, readers={"good"})
    hub.gate(PACKED, accepted={"good"})
    instance.api.put("/settings", json={"token": "good"})
    row = instance.download(PACKED)
    instance.wait_for(row["id"], "ready")
    instance.wait_until(lambda: told("private")["private"], 10, "the Hub endpoint has learned of it")
    assert told("private", "gated") == {"private": True, "gated": "manual"}


def test_gated_is_shown_and_refused_with_the_reason(instance: Instance, hub: HubFaults) -> None:
    hub.gate(GPT2, accepted={"good"})
    info = instance.api.get(f"/models/info/{GPT2}").json()
    assert (info["access"], info["architecture"], info["size_bytes"] > 1_000_000) == ("no_token", None, True)
    assert problem(_ask(instance, "download", GPT2)) == (403, "gated_no_token")
    instance.api.put("/settings", json={"token": "stranger"})
    assert instance.api.get(f"/models/info/{GPT2}").json()["access"] == "needs_acceptance"
    refused = _ask(instance, "download", GPT2)
    assert problem(refused) == (403, "gated_not_accepted")
    assert refused.json()["url"].endswith(GPT2)
    instance.api.put("/settings", json={"token": "good"})
    assert instance.api.get(f"/models/info/{GPT2}").json()["access"] == "accepted"
    row = instance.download(GPT2)
    assert instance.wait_for(row["id"], "ready")["gated"] is True
    assert instance.api.get("/models").json()["total"] == 1


def test_a_wrong_token_is_called_that(instance: Instance, hub: HubFaults) -> None:
    instance.api.put("/settings", json={"token": "expired"})
    assert problem(_ask(instance, "download", GPT2)) == (403, "token_invalid")


def test_a_hub_and_a_token_are_tried_before_they_are_stored(instance: Instance, hub: HubFaults) -> None:
    def tried(**fields: Any) -> tuple[bool, str, str | None]:
        answer = instance.api.post("/settings/test", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["reachable"], answer.json()["token"], answer.json()["user"]

    assert tried() == (True, "none", None)
    assert tried(token="good") == (True, "valid", "modelyard")
    assert tried(token="expired") == (True, "invalid", None)
    assert tried(endpoint=f"http://127.0.0.1:{free_port()}") == (False, "unknown", None)
    assert tried(endpoint="builtin") == (True, "none", None)
    assert problem(instance.api.post("/settings/test", json={"endpoint": "here"})) == (422, "invalid_request")
    assert instance.api.get("/settings").json()["token_set"] is False

    instance.api.put("/settings", json={"token": "expired"})
    told = instance.api.get("/system").json()["hub"]
    assert (told["reachable"], told["token"], told["user"]) == (True, "invalid", None)


def test_the_token_is_never_shown(instance: Instance, hub: HubFaults) -> None:
    settings = instance.api.put("/settings", json={"token": "good"})
    assert settings.json()["token_set"] is True
    assert "good" not in settings.text + instance.api.get("/settings").text + instance.api.get("/system").text
    assert (instance.hf_home / "token").stat().st_mode & 0o777 == 0o600
    assert b"good" not in (instance.home / "modelyard.db").read_bytes()
    assert instance.api.put("/settings", json={"token": None}).json()["token_set"] is False


def test_a_short_outage_is_ridden_out(instance: Instance, hub: HubFaults) -> None:
    hub.fail("/api/models/", 503, times=1)
    hub.fail("/resolve/", 503, times=3)
    hub.drop("model.safetensors", after_bytes=1_000_000, reset=True)
    row = instance.download(GPT2)
    instance.wait_for(row["id"], "ready")


def test_an_unreachable_hub_is_named(instance: Instance) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    instance.api.put("/settings", json={"endpoint": gone})
    for ask in ("info", "download", "estimate", "search"):
        answer = _ask(instance, ask, GPT2)
        assert problem(answer) == (502, "hub_unreachable")
        assert gone in answer.json()["detail"]
        assert "sample Hub" in answer.json()["hint"]
    hub = instance.api.get("/system").json()["hub"]
    assert (hub["endpoint"], hub["reachable"], bool(hub["reason"])) == (gone, False, True)


def test_what_is_not_there_or_not_possible(instance: Instance, hub: HubFaults) -> None:
    assert problem(instance.api.get("/models/nothing")) == (404, "model_not_found")
    assert problem(instance.api.delete("/models/nothing")) == (404, "model_not_found")
    row = instance.download(GPT2)
    instance.wait_for(row["id"], "ready")
    assert instance.api.post(f"/models/{row['id']}/pause").json()["code"] == "conflict"
    assert instance.api.post(f"/models/{row['id']}/resume").json()["code"] == "conflict"


def test_a_damaged_file_fails_with_its_name(instance: Instance, hub: HubFaults) -> None:
    hub.corrupt("model.safetensors", at_byte=1000, times=-1)
    row = instance.download(GPT2)

    def failed() -> dict[str, Any] | None:
        model = instance.model(row["id"])
        return model if model["status"] == "failed" else None

    model = instance.wait_until(failed, 30, "the download fails")
    assert model["error"]["code"] == "checksum_mismatch"
    assert "model.safetensors" in model["error"]["message"]
    assert model["error"]["hint"]
    hub.clear()
    assert instance.download(GPT2)["id"] == row["id"]
    instance.wait_for(row["id"], "ready")


def test_the_memory_of_what_is_not_here_is_asked_of_its_own_hub(instance: Instance, hub: HubFaults) -> None:
    hub.corrupt("model.safetensors", at_byte=1000, times=-1)
    row = instance.download(GPT2)
    instance.wait_until(lambda: instance.model(row["id"])["status"] == "failed", 30, "the download fails")
    there = _ask(instance, "estimate", GPT2).json()

    instance.api.put("/settings", json={"endpoint": f"http://127.0.0.1:{free_port()}"})
    assert problem(_ask(instance, "estimate", GPT2)) == (502, "hub_unreachable")
    answer = instance.api.get(f"/models/{row['id']}/estimate-memory")
    assert answer.status_code == 200, answer.text
    for name in ("commit", "num_parameters", "dtype"):
        assert answer.json()[name] == there[name]
    assert [o["weights_bytes"] for o in answer.json()["options"]] == [o["weights_bytes"] for o in there["options"]]

    hub.hide(GPT2, readers=set())
    assert problem(instance.api.get(f"/models/{row['id']}/estimate-memory")) == (404, "hub_model_not_found")


def test_a_model_larger_than_the_disk_is_refused_before_a_byte(instance: Instance, hub: HubFaults) -> None:
    assert instance.api.get("/models/info/lab/huge").json()["size_bytes"] > 10**15
    refused = _ask(instance, "download", "lab/huge")
    assert problem(refused) == (507, "disk_full")
    assert refused.json()["needed_bytes"] > 10**15 > refused.json()["free_bytes"] > 0
    assert instance.api.get("/models").json()["total"] == 0
    assert not (instance.hf_home / "hub" / "models--lab--huge").exists()


def test_list_filters_and_pages(instance: Instance, hub: HubFaults) -> None:
    for model_id in (GPT2, LLAMA):
        instance.wait_for(instance.download(model_id)["id"], "ready")
    by_name = instance.api.get("/models", params={"sort": "name", "limit": 1}).json()
    assert ([m["model_id"] for m in by_name["items"]], by_name["total"]) == ([GPT2], 2)
    assert instance.api.get("/models", params={"q": "LLAMA"}).json()["total"] == 1
    assert instance.api.get("/models", params={"status": "failed"}).json()["total"] == 0
    assert problem(instance.api.get("/models", params={"status": "sleeping"})) == (422, "invalid_request")


def _inspected(instance: Instance, model_id: str) -> dict[str, Any]:
    """What is told of a model once the inspector, which starts slowly, has seen it."""

    def told() -> dict[str, Any] | None:
        info: dict[str, Any] = instance.api.get(f"/models/info/{model_id}").json()
        return info if info["num_parameters"] is not None else None

    found: dict[str, Any] = instance.wait_until(told, 90, f"{model_id} is inspected")
    return found


def _ask(instance: Instance, what: str, model_id: str, revision: str | None = None) -> httpx.Response:
    revisions = {"revision": revision} if revision else {}
    match what:
        case "info":
            return instance.api.get(f"/models/info/{model_id}", params=revisions)
        case "estimate":
            return instance.api.get("/models/estimate-memory", params={"model_id": model_id, **revisions})
        case "search":
            return instance.api.get("/models/search", params={"q": model_id})
        case _:
            return instance.api.post("/models/download", json={"model_id": model_id, **revisions})
