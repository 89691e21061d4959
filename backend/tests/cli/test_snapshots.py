"""What the main commands print on terminals of 80 and 120 columns and into a pipe, with the examples of the API.

`UPDATE_SNAPSHOTS=1 pytest …` writes `snapshots` anew; read what git says about it then.
"""

import copy
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.cli import app
from modelyard.client.api_client import ApiClient, ApiError
from modelyard.schemas import examples

FOLDER = Path(__file__).parent / "snapshots"
ROW = examples.MODEL_RESPONSE
READY = {
    **ROW,
    "status": "ready",
    "progress": None,
    "downloaded_bytes": ROW["size_bytes"],
    "disk_bytes": ROW["size_bytes"],
    "memory_measured_bytes": 1_198_000_000,
    "latest_commit": "e6de91484c29aa9480d55605af694f39b081c455",
    "update_available": True,
    "snapshot_path": "/home/ada/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/snapshots/c1899de",
}
COPY = {
    **READY,
    "id": "7a8b9c0d1e2f4b6c8d0e2f4a6b8c0d1e",
    "quantization": "4bit",
    "update_available": False,
}
OLDER = {**READY, "id": "1b2c3d4e5f60718293a4b5c6d7e8f901", "commit": "d" * 40, "replaced_by": READY["id"]}
LONG = {
    **ROW,
    "id": "0f1e2d3c4b5a49788796a5b4c3d2e1f0",
    "model_id": "an-organisation-with-a-long-name/a-model-with-a-very-long-name-instruct-v0.3",
}
ANSWERS: Mapping[str, Any] = {
    "GET /models": {"items": [READY, OLDER, COPY, LONG], "total": 4, "limit": 500, "offset": 0},
    f"GET /models/{READY['id']}": READY,
    f"GET /models/{READY['id']}/training-compatibility": {
        "compatible": True, "level": "structural", "reasons": [], "hook_points": [], "warnings": [],
    },
    f"GET /models/{READY['id']}/history": {"items": [], "total": 0, "limit": 5, "offset": 0},
    f"GET /models/{READY['id']}/update-plan": examples.UPDATE_PLAN,
    "GET /models/info/Qwen/Qwen3-0.6B": examples.MODEL_INFO,
    "GET /models/search": examples.SEARCH_PAGE,
    "GET /models/loaded": {"items": []},
    "GET /trainings": {"items": [], "total": 0, "limit": 200, "offset": 0},
    "GET /settings": {"endpoint_source": "default"},
}  # fmt: skip
COMMANDS = {
    "ls": ["ls"],
    "show": ["show", READY["id"]],
    "ps": ["ps"],
    "info": ["info", "Qwen/Qwen3-0.6B"],
    "search": ["search", "qwen"],
    "update-plan": ["update", READY["id"], "--plan"],
    "pull-plan": ["pull", "Qwen/Qwen3-0.6B", "--plan"],
    "load-plan": ["load", READY["id"], "--plan"],
    "ambiguous": ["show", "Qwen3-0.6B"],
}


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: ApiClient, method: str, path: str, **_: object) -> Any:
        if f"{method} {path}" not in ANSWERS:
            raise ApiError("unexpected", f"{method} {path} is not among the answers.")
        return copy.deepcopy(ANSWERS[f"{method} {path}"])

    monkeypatch.setattr(ApiClient, "_call", call)
    for name in ("MODELYARD_SERVER", "MODELYARD_API_KEY", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")


def run(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(app, list(arguments), env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.output).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in [*lines, f"[exit code {done.exit_code}]"])


@pytest.mark.parametrize("width", ["80", "120", "pipe"])
@pytest.mark.parametrize("name", COMMANDS)
def test_output(name: str, width: str) -> None:
    terminal = {} if width == "pipe" else {"TTY_COMPATIBLE": "1", "FORCE_COLOR": "1", "COLUMNS": width, "TERM": "xterm"}
    printed = run(*COMMANDS[name], **terminal)
    stored = FOLDER / f"{name}-{width}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        stored.write_text(printed, encoding="utf-8")
    assert "is not among the answers" not in printed, printed
    assert printed == stored.read_text(encoding="utf-8")
    if width != "pipe" and name != "ambiguous":
        # Sentences wrap where the terminal does it; tables do it themselves.
        assert all(len(line) <= int(width) for line in printed.splitlines() if "  " in line.strip()), printed
