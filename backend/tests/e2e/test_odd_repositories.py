"""Repositories of every odd kind, from the preview to text and through an import: what is said is true of all of it.

The list of models always answers, no request fails inside, ready means that it loads, the preview agrees with the
download, an exact figure is what is measured, and no author's fault is called the Hub's.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource
from support.instance import Instance
from support.odd_models import ONE_NUMBER, REFUSED, USABLE
from support.odd_repositories import ODD

NOT_THE_AUTHORS = {"hub_misbehaved", "hub_unreachable", "hub_error", "checksum_mismatch", "internal_error"}
SAMPLE = [
    *("with-a-template", "generation-contrastive", "readme-twice", "index-and-stray", "chat-list-of-text"),
    *("weight-is-nan", "config-nan", "layers-absurd", "index-stale-names", "index-parent", "cut-short", "in-folder"),
]
LOADS = dict(USABLE) | {name: write for name, (write, refusal) in ODD.items() if refusal is None}
DOES_NOT = dict(REFUSED) | {name: write for name, (write, refusal) in ODD.items() if refusal is not None}
TOLD_LATE = {"cut-short", "overlap"}
"""What a preview does not see: the download says what is wrong."""

MADE = Path(__file__).parents[4] / "shared" / "cases" / "make_repos.py"
"""More of them, where they stand beside the checkout."""


@pytest.fixture(scope="module")
def source() -> FolderSource:
    return FolderSource()


@pytest.fixture(scope="module")
def instance(source: FolderSource, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with serve(create_hub_app([source], api_key=None)) as endpoint:
        instance = Instance(tmp_path_factory.mktemp("odd"), {"HF_ENDPOINT": endpoint}).start()
        yield instance
        instance.stop()


class Walk:
    """One repository, all the way."""

    def __init__(self, instance: Instance, source: FolderSource, name: str, folder: Path) -> None:
        self.instance, self.api, self.folder = instance, instance.api, folder
        self.model_id = f"odd/{name}"
        source.repos |= FolderSource(**{f"odd__{name}": folder}).repos

    def answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self.api.request(method, path, **options)
        problem = answer.json().get("code") if answer.status_code >= 400 else None
        assert answer.status_code < 500, f"{method} {path}: {answer.text}"
        assert problem not in NOT_THE_AUTHORS, f"{method} {path}: {answer.text}"
        return answer

    def preview(self) -> tuple[str, str]:
        """The level of support and the reason; an answer that is an error is its code."""
        answer = self.answer("GET", f"/models/info/{self.model_id}")
        estimate = self.answer("GET", "/models/estimate-memory", params={"model_id": self.model_id})
        if answer.status_code != 200:
            return "unsupported", answer.json()["code"]
        support = answer.json()["support"]
        return support["level"], f"{support['reasons']} {estimate.text[:500]}"

    def settle(self, answer: httpx.Response) -> dict[str, Any]:
        """The row at the end of its work, or the refusal as one that failed."""
        if answer.status_code >= 400:
            return {"status": "refused", "error": answer.json()}
        row_id = answer.json()["id"]
        ends = ("ready", "failed")
        row: dict[str, Any] = self.instance.wait_until(
            lambda: (found := self.instance.model(row_id))["status"] in ends and found, 120, f"{self.model_id} ends"
        )
        assert (row["error"] or {}).get("code") not in NOT_THE_AUTHORS, row["error"]
        return row

    def use(self, row: dict[str, Any]) -> str | None:
        """Load it and generate; the code of what did not work."""
        path = f"/models/{row['id']}"
        answer = self.answer("POST", f"{path}/load", json={})
        if answer.status_code >= 400:
            return str(answer.json()["code"])
        loaded: dict[str, Any] = self.instance.wait_until(
            lambda: (found := self.instance.model(row["id"]))["progress"] is None and found, 120, "the load ends"
        )
        if not loaded["loaded"]:
            assert loaded["error"]["code"] not in NOT_THE_AUTHORS, loaded["error"]
            return str(loaded["error"]["code"])
        if loaded["memory_method"] == "exact":
            assert loaded["memory_measured_bytes"] == loaded["memory_estimated_bytes"]
        for request in ({"prompt": "w5 w6"}, {"messages": [{"role": "user", "content": "w5"}]}):
            self.answer("POST", f"{path}/generate", json=request | {"max_new_tokens": 3})
        return None

    def remove(self, row: dict[str, Any]) -> None:
        if "id" not in row:
            return
        self.instance.unload_all()
        self.answer("DELETE", f"/models/{row['id']}")
        self.instance.wait_until(
            lambda: self.api.get(f"/models/{row['id']}").status_code == 404, 30, "the row is removed"
        )

    def imported(self) -> dict[str, Any]:
        body = {"path": str(self.folder), "model_id": f"{self.model_id}-imported", "mode": "copy"}
        return self.settle(self.answer("POST", "/models/import", json=body))


def walked(walk: Walk) -> tuple[str, str, str | None]:
    """The preview's level, how the download ended, and what kept it from being used."""
    level, why = walk.preview()
    row = walk.settle(walk.answer("POST", "/models/download", json={"model_id": walk.model_id}))
    walk.answer("GET", "/models")
    said = f"{walk.model_id}: {level} ({why}); {row['status']} ({row['error']})"
    failure = walk.use(row) if row["status"] == "ready" else None
    told_late = walk.model_id.removeprefix("odd/") in TOLD_LATE
    assert failure is None, f"{said}; ready, and not loaded: {failure}"
    if level == "supported":
        assert row["status"] == ("failed" if told_late else "ready"), said
    if row["status"] == "refused":
        assert level == "unsupported" or "unverified" in level, said
    walk.answer("GET", "/models")
    walk.remove(row)
    copy = walk.imported()
    assert (copy["status"] == "ready") == (row["status"] == "ready"), f"{said}; imported: {copy['error']}"
    walk.answer("GET", "/models")
    walk.remove(copy)
    return level, row["status"], failure


def made(write: Callable[[Path], None], folder: Path) -> Path:
    write(folder / "repository")
    return folder / "repository"


def kinds(table: dict[str, Callable[..., Any]]) -> list[Any]:
    """The sample of every run, and the rest."""
    return [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.thorough) for name in table]


@pytest.mark.parametrize("name", kinds(LOADS))
def test_what_transformers_loads_is_used(instance: Instance, source: FolderSource, tmp_path: Path, name: str) -> None:
    walk = Walk(instance, source, name, made(LOADS[name], tmp_path))
    level, status, failure = walked(walk)
    assert (status, failure) == ("ready", None)
    assert level in ("supported", "unverified")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "head-of-its-own" else pytest.mark.thorough) for name in ONE_NUMBER]
)
def test_one_number_of_parameters_is_told(instance: Instance, source: FolderSource, tmp_path: Path, name: str) -> None:
    walk = Walk(instance, source, name, made(ONE_NUMBER[name], tmp_path))
    info = instance.wait_until(
        lambda: (
            (answer := walk.answer("GET", f"/models/info/{walk.model_id}").json())["support"]["reasons"] == []
            and answer
        ),
        60,
        "the inspector is there",
    )
    estimate = walk.answer("GET", "/models/estimate-memory", params={"model_id": walk.model_id}).json()
    row = walk.settle(walk.answer("POST", "/models/download", json={"model_id": walk.model_id}))
    exact = instance.wait_until(
        lambda: (found := instance.model(row["id"]))["memory_method"] == "exact" and found, 60, "the row is exact"
    )

    assert estimate["method"] == "exact", estimate["method_reason"]
    assert len({told["num_parameters"] for told in (info, estimate, row, exact)}) == 1
    beyond = estimate["method_reason"] or ""
    assert (name in ("layer-beyond-the-last", "mtp")) == ("64,000" in beyond)
    assert walk.use(exact) is None
    loaded = instance.model(row["id"])
    assert loaded["memory_measured_bytes"] == exact["memory_estimated_bytes"]
    walk.remove(row)


@pytest.mark.parametrize("name", kinds(DOES_NOT))
def test_what_cannot_be_used_is_refused_with_the_reason(
    instance: Instance, source: FolderSource, tmp_path: Path, name: str
) -> None:
    walk = Walk(instance, source, name, made(DOES_NOT[name], tmp_path))
    level, status, _ = walked(walk)
    assert level != "supported" or name in TOLD_LATE
    assert status != "ready"


@pytest.mark.thorough
@pytest.mark.timeout(900)  # more than sixty repositories, three seconds each on a quiet machine
@pytest.mark.skipif(not MADE.is_file(), reason="the further odd repositories are not beside this checkout")
def test_further_odd_repositories(instance: Instance, source: FolderSource, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(MADE), str(tmp_path)], check=True, capture_output=True)
    wrong: list[str] = []
    folders = sorted((tmp_path / "odd").iterdir())
    assert len(folders) > 60
    for folder in folders:
        try:
            walked(Walk(instance, source, folder.name, folder))
        except AssertionError as error:
            wrong.append(f"{folder.name}: {str(error)[:400]}")
    assert wrong == []


def test_the_sample_names_repositories_that_there_are() -> None:
    assert set(SAMPLE) <= {*LOADS, *DOES_NOT}
