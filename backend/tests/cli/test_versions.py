"""Update, roll back, pin: a walk along a repository that moves, and which version a name means."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.hub_faults import serve
from modelyard.commands._find_model import Ambiguous, find_row
from modelyard.core.errors import ModelNotFound
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama

from .conftest import Server

MODEL = "lab/walking"


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource(lab__walking=make_llama(tmp_path / "walking-1", weight_bytes=100_000))


@pytest.fixture
def at_hub(server: Server, source: FolderSource) -> Iterator[Server]:
    with serve(create_hub_app([source], api_key=None)) as endpoint:
        server.client.put("/settings", {"endpoint": endpoint})
        yield server


def test_update_and_roll_back(at_hub: Server, source: FolderSource, tmp_path: Path) -> None:
    modelyard = at_hub.modelyard

    def in_use() -> str:
        return str(json.loads(modelyard("show", MODEL, "--json").stdout)["commit"])

    first = source.repos[MODEL].commit
    assert modelyard("pull", MODEL).returncode == 0
    assert modelyard("update").stdout == "Every model is up to date.\n"
    assert modelyard("update", MODEL).stdout == f"{MODEL}, commit {first[:8]}, is up to date.\n"

    folder = Path(shutil.copytree(tmp_path / "walking-1", tmp_path / "walking-2"))
    (folder / "README.md").write_text("Second.")
    second = source.move(MODEL, folder)
    planned = modelyard("update", "--plan")
    assert planned.stdout == (
        f"Would update {MODEL}, commit {first[:8]}: 7 B.\n  from {first[:12]} to {second[:12]}; readme differs\n"
    )
    assert "Nothing was changed." in planned.stderr
    assert in_use() == first

    updated = modelyard("update")
    assert updated.returncode == 0, updated.stderr
    assert f"{MODEL} is at {second[:12]} now." in updated.stderr
    assert in_use() == second
    assert f"{first}; `modelyard rollback" in " ".join(modelyard("show", MODEL).stdout.split())
    assert modelyard("show", f"{MODEL}@{first[:8]}", "--json").returncode == 0, "the one before is here, too"
    assert [each["commit"] for each in json.loads(modelyard("lock", "--json").stdout)["model"]] == [second]

    (plan,) = json.loads(modelyard("rollback", MODEL, "--plan", "--json").stdout)
    assert (plan["action"], plan["bytes"]) == ("roll back", 0)
    back = modelyard("rollback", MODEL)
    assert (back.returncode, back.stdout) == (0, f"{MODEL}, commit {first[:8]}, is in use.\n"), back.stderr
    assert in_use() == first

    assert modelyard("pin", MODEL).stdout == f"{MODEL} is pinned to {first}.\n"
    assert modelyard("update").stdout == "Every model is up to date.\n"
    assert "already installed" in modelyard("pull", MODEL).stdout
    assert in_use() == first
    assert modelyard("unpin", MODEL).stdout == f"{MODEL} follows main again.\n"
    assert modelyard("update", MODEL, "--json").returncode == 0
    assert in_use() == second


class _Rows:
    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = [{"model_id": "org/a", "canonical_id": "org/a", "revision": "main"} | row for row in rows]

    def models(self) -> dict[str, object]:
        return {"items": self._rows}


def row(row_id: str, commit: str, status: str = "ready", **fields: Any) -> dict[str, Any]:
    return {"id": row_id, "commit": commit * 40, "status": status, "quantization": "none", **fields}


def find(rows: _Rows, text: str, **wanted: Any) -> str:
    return find_row(rows, text, **wanted)["id"]  # type: ignore[arg-type]


def test_a_name_means_the_version_in_use() -> None:
    rows = _Rows(row("ab12", "c", replaced_by="ab34"), row("ab34", "d"))
    assert find(rows, "org/a") == find(rows, "a") == find(rows, "hf://org/a") == "ab34"
    assert find(rows, f"org/a@{'c' * 7}") == find(rows, "ab12") == "ab12"
    assert find(rows, "org/a@main") == "ab34"
    with pytest.raises(ModelNotFound, match="not at v2"):
        find(rows, "org/a@v2")


def test_a_version_on_its_way_does_not_hide_the_one_in_use() -> None:
    rows = _Rows(row("ab12", "c"), row("ab34", "d", "downloading"))
    assert find(rows, "org/a") == "ab12"
    assert find(rows, "org/a", unfinished=True) == "ab34"
    with pytest.raises(Ambiguous):
        find(_Rows(row("ab12", "c", revision="v1"), row("ab34", "d", revision="v2")), "org/a")
