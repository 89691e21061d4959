"""Model cards and text files over HTTP."""

from api.test_models_api import problem
from hub.hub_faults import HubFaults
from support.instance import Instance

GPT2 = "modelyard-samples/tiny-gpt2"


def test_the_card_is_the_same_before_and_after_the_download_which_needs_no_hub(
    instance: Instance, hub: HubFaults
) -> None:
    before = instance.api.get("/models/card", params={"model_id": GPT2})
    assert before.status_code == 200, before.text
    assert "<h3>" in before.json()["html"]
    row = instance.wait_for(instance.download(GPT2)["id"], "ready")
    asked = len(hub.requests)
    assert instance.api.get(f"/models/{row['id']}/card").json() == before.json()
    assert len(hub.requests) == asked


def test_a_text_file_is_read_by_its_path(instance: Instance, hub: HubFaults) -> None:
    row = instance.wait_for(instance.download(GPT2)["id"], "ready")
    address = f"/models/{row['id']}/text"
    answer = instance.api.get(address, params={"path": "config.json"})
    assert answer.headers["content-type"] == "application/json"
    assert '"GPT2LMHeadModel"' in answer.json()["text"]
    assert problem(instance.api.get(address, params={"path": "model.safetensors"}))[1] == "invalid_request"
    assert problem(instance.api.get(address, params={"path": "../config.json"}))[1] == "invalid_request"
    assert problem(instance.api.get("/models/none/text", params={"path": "config.json"})) == (404, "model_not_found")


def test_a_card_of_nothing_is_not_found(instance: Instance, hub: HubFaults) -> None:
    answer = instance.api.get("/models/card", params={"model_id": "lab/nowhere-at-all"})
    assert problem(answer) == (404, "hub_model_not_found")
