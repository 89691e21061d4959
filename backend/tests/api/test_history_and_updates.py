"""The history of a model and its newer versions, over HTTP, with workers and a Hub whose branch moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.folder_hub import FolderSource, make_llama
from support.instance import Instance

GPT2 = "modelyard-samples/tiny-gpt2"
MOVING = "lab/moving"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    return FolderSource(lab__moving=make_llama(tmp_path_factory.mktemp("moving") / "first", weight_bytes=1_000_000))


@pytest.fixture(scope="module")
def served(source: FolderSource, hub_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with serve(create_hub_app([SampleSource(hub_samples), source], api_key=None)) as endpoint:
        instance = Instance(tmp_path_factory.mktemp("history"), {"HF_ENDPOINT": endpoint}).start()
        yield instance
        instance.stop()


def history(instance: Instance, row_id: str, **page: int) -> dict[str, Any]:
    answer = instance.api.get(f"/models/{row_id}/history", params=page)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def told(instance: Instance, row_id: str) -> list[tuple[str, str]]:
    return [(event["kind"], event["event"]) for event in reversed(history(instance, row_id)["items"])]


def test_what_was_done_to_a_model_is_told_with_figures(served: Instance) -> None:
    row = served.wait_for(served.download(GPT2)["id"], "ready")
    assert served.api.post(f"/models/{row['id']}/load", json={"device": "cpu"}).status_code == 202
    served.wait_until(lambda: served.model(row["id"])["loaded"], 120, "it is loaded")
    assert served.api.post(f"/models/{row['id']}/unload").status_code == 202
    served.wait_until(lambda: not served.model(row["id"])["loaded"], 60, "it is unloaded")
    assert served.api.post(f"/models/{row['id']}/verify").status_code == 202
    served.wait_until(lambda: ("verify", "done") in told(served, row["id"]), 60, "it is verified")
    assert told(served, row["id"]) == [
        ("download", "started"),
        ("download", "done"),
        ("load", "done"),
        ("unload", "done"),
        ("verify", "started"),
        ("verify", "done"),
    ]
    verified, _, unloaded, loaded, downloaded, _ = history(served, row["id"])["items"]
    assert downloaded["bytes"] == verified["bytes"] == row["size_bytes"]
    assert 0 < downloaded["seconds"] < 60
    assert loaded["bytes"] == served.model(row["id"])["memory_measured_bytes"]
    assert 0 < unloaded["bytes"] <= loaded["bytes"]  # less what was mapped from files and never read
    assert loaded["seconds"] > 0
    page = history(served, row["id"], limit=2, offset=1)
    assert (page["total"], [event["kind"] for event in page["items"]]) == (6, ["verify", "unload"])
    assert served.api.get("/models/nothing/history").json()["code"] == "model_not_found"


def test_a_newer_version_is_found_and_downloaded_as_another_row(
    served: Instance, source: FolderSource, tmp_path: Path
) -> None:
    row = served.wait_for(served.download(MOVING)["id"], "ready")
    assert (row["update_available"], row["latest_commit"]) == (False, row["commit"])
    newer = source.move(MOVING, make_llama(tmp_path / "second", weight_bytes=2_000_000))

    answer = served.api.post(f"/models/{row['id']}/check-update")
    assert answer.status_code == 200, answer.text
    checked = answer.json()
    assert (checked["update_available"], checked["latest_commit"]) == (True, newer)
    assert checked["checked_at"] > row["checked_at"]

    again = served.wait_for(served.download(MOVING, revision=row["revision"])["id"], "ready")
    assert again["id"] != row["id"]
    assert (again["commit"], again["update_available"]) == (newer, False)
    assert served.model(row["id"])["status"] == "ready", "the one before stays as it is"


def test_there_is_nothing_newer_than_a_commit(served: Instance, source: FolderSource) -> None:
    commit = source.repos[MOVING].commit
    for row in served.api.get("/models", params={"q": MOVING}).json()["items"]:
        assert served.api.delete(f"/models/{row['id']}").status_code == 200
    row = served.wait_for(served.download(MOVING, revision=commit)["id"], "ready")
    refused = served.api.post(f"/models/{row['id']}/check-update")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("sort", ["downloads", "likes", "trending", "updated"])
def test_search_in_every_order_there_is(served: Instance, sort: str) -> None:
    items = served.api.get("/models/search", params={"q": "modelyard-samples", "sort": sort, "limit": 2}).json()[
        "items"
    ]
    assert len(items) == 2
    assert served.api.get("/models/search", params={"sort": "age"}).status_code == 422


def test_search_by_filters_page_after_page(served: Instance) -> None:
    def found(**params: Any) -> dict[str, Any]:
        answer = served.api.get("/models/search", params=params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    whole = found(q="tiny")
    names = [item["model_id"] for item in whole["items"]]
    assert len(names) == 3
    assert whole["next_cursor"] is None
    first = found(q="tiny", limit=2)
    second = found(q="tiny", limit=2, cursor=first["next_cursor"])
    assert [item["model_id"] for item in first["items"] + second["items"]] == names
    (only,) = found(
        task="text-generation", licence="apache-2.0", architecture="gpt2", max_parameters=2_000_000, fits=True
    )["items"]
    assert only["model_id"] == GPT2
    assert (only["model_type"], only["licence"], only["fits"]) == ("gpt2", "apache-2.0", "fits")
    assert only["weights_bytes"] == 4 * only["num_parameters"]
    assert found(licence="mit")["items"] == []
    for refused in ({"licence": "a,b"}, {"architecture": "../x"}, {"min_parameters": -1}, {"cursor": ""}):
        assert served.api.get("/models/search", params=refused).status_code == 422, refused
