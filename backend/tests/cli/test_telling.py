"""What commands say while they wait, and where something is not as a user hopes; without a server."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest
import typer

from modelyard.cli import app
from modelyard.client.api_client import ApiError
from modelyard.client.progress import shown_model, waits_for_worker
from modelyard.commands import _connect, _format, _progress
from modelyard.commands._connect import asking_the_hub
from modelyard.commands._find_model import find_row
from modelyard.commands._options import Connection
from modelyard.commands.doctor import _landlock, _workers
from modelyard.core.errors import ModelNotFound
from modelyard.schemas import examples
from modelyard.schemas.model import PhaseName
from modelyard.schemas.system import System

from .conftest import Commands

ROW = examples.MODEL_RESPONSE
FULL = {
    "code": "disk_full",
    "message": "Only 171 MB are left on the disk of /hub; Modelyard stops at 250 MB.",
    "hint": "Free space.",
}


def row(status: str, error: dict[str, str] | None = None, **progress: object) -> Any:
    return ROW | {"status": status, "error": error, "progress": ROW["progress"] | progress}


class Watched:
    """A client whose model goes through some states."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self._rows = rows

    def watch(self, _row_id: str) -> Iterator[dict[str, Any]]:
        yield from self._rows


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (row("pending", phase="resolving", waiting=True, message="some words"), _format.WAITING),
        (ROW | {"status": "pending", "progress": None}, _format.WAITING),
        (row("pending", phase="resolving"), "looking up files"),
        (row("pending", phase="retrying", message="retrying in 4 s (HTTP 503)"), "retrying in 4 s (HTTP 503)"),
        (row("quantizing", phase="resolving"), _format.WAITING),
        (row("paused"), "paused"),
        (row("paused", FULL), "waiting for room on the disk"),
        (row("failed", FULL), "failed"),
    ],
)
def test_the_phase_is_what_happens_now(now: Any, said: str) -> None:
    assert _format.phase(now) == said


@pytest.mark.parametrize("status", ["pending", "downloading", "quantizing", "paused", "failed", "ready"])
def test_what_a_message_says_changes_nothing_but_itself(status: str) -> None:
    messages = ("waiting for a worker", "stopping", "starting", "layer 3 of 9", "anything else")
    for phase, waiting, message in product(get_args(PhaseName), (True, False), messages):
        plain = row(status, phase=phase, waiting=waiting, message="QX")
        reworded = row(status, phase=phase, waiting=waiting, message=message)
        said = shown_model(plain)
        assert shown_model(reworded) == replace(said, phase=said.phase.replace("QX", message))
        assert waits_for_worker(reworded) == waits_for_worker(plain)
        assert _format.status(reworded).plain == _format.status(plain).plain


def test_a_run_says_that_it_waits_for_a_disk() -> None:
    run: Any = examples.TRAINING_RESPONSE | {"status": "pending", "error": None}
    assert _format.training_phase(run) == _format.WAITING
    assert _format.training_phase(run | {"error": FULL}) == "waiting for room on the disk"


def test_a_pull_on_a_terminal_waits_for_disk_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the captured output for a terminal
    monkeypatch.setenv("COLUMNS", "200")
    full, ready = row("paused", FULL), row("ready")
    client = Watched(row("downloading"), full, full, row("pending"), row("downloading"), ready)
    assert _progress.follow(client, ROW) == ready  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert said.count("Only 171 MB are left on the disk of /hub") == 1
    assert "Free space. Ctrl-C stops waiting here." in said


def test_a_pull_in_a_script_ends_with_the_reason() -> None:
    with pytest.raises(ApiError) as caught:
        _progress.follow(Watched(row("downloading"), row("paused", FULL)), ROW)  # type: ignore[arg-type]
    assert caught.value.code == "disk_full"
    assert caught.value.message == f"{ROW['model_id']} was paused. {FULL['message']}"
    assert caught.value.hint == FULL["hint"]


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    client = type("Client", (), {"models": lambda _: {"items": [ROW | {"id": "ab12"}]}})()
    for text in ("qwen3-0.6b", "Qwen/Qwen3-0.6", "Qwen3"):
        with pytest.raises(ModelNotFound) as caught:
            find_row(client, text)
        assert caught.value.hint == f"Did you mean Qwen/Qwen3-0.6B? {ModelNotFound.default_hint}"
    with pytest.raises(ModelNotFound) as caught:
        find_row(client, "tiny-llama")
    assert caught.value.hint == ModelNotFound.default_hint


def test_a_failed_model_is_not_told_as_complete() -> None:
    assert _format.status(row("failed", bytes_done=100, bytes_total=100)).plain == "failed"
    assert _format.status(row("paused", bytes_done=50, bytes_total=100)).plain == "paused 50 %"


@pytest.mark.parametrize(
    ("uptime", "state", "said"),
    [
        (4.0, "warning", "starting; not running yet for: compute, inference"),
        (60.0, "broken", "no worker is alive for: compute, inference"),
        (None, "broken", "no worker is alive for: compute, inference"),
    ],
)
def test_workers_of_a_server_that_has_just_started_are_not_called_broken(
    uptime: float | None, state: str, said: str
) -> None:
    check = _workers(System.model_validate(examples.SYSTEM | {"uptime_seconds": uptime}))
    assert (check.state, check.detail) == (state, said)


@pytest.mark.parametrize(
    ("version", "state", "said"),
    [
        (0, "warning", "not available: a repository's tokenizer is checked, but its process can read"),
        (1, "ok", "ABI 1: a tokenizer's process reads only its repository and libraries, and can open TCP"),
        (3, "ok", "ABI 3: a tokenizer's process reads only its repository and libraries, and can open TCP"),
        (4, "ok", "ABI 4: a tokenizer's process reads only its repository and libraries, and can open no TCP"),
        (7, "ok", "ABI 7: a tokenizer's process reads only its repository and libraries, and can open no TCP"),
    ],
)
def test_doctor_says_what_landlock_of_this_version_means(version: int, state: str, said: str) -> None:
    check = _landlock(version)
    assert check.state == state
    assert check.detail.startswith(said)
    assert (check.hint is None) == (state == "ok")


@pytest.mark.parametrize(
    ("source", "said"),
    [("default", "Asking the Hub …\n"), ("builtin", "Asking the built-in sample Hub, which makes its samples once")],
)
def test_a_hub_that_answers_slowly_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str, said: str
) -> None:
    client = type("Client", (), {"get": lambda *_: {"endpoint_source": source}})()
    context = typer.Context(typer.main.get_command(app))
    monkeypatch.setattr(_connect, "QUIET_SECONDS", 60)
    with asking_the_hub(context, client):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(_connect, "QUIET_SECONDS", 0.05)
    told, end = "", time.monotonic() + 30
    with asking_the_hub(context, client):
        while said not in told:
            assert time.monotonic() < end, told
            time.sleep(0.01)
            told += capsys.readouterr().err
    context.ensure_object(Connection).json = True
    with asking_the_hub(context, client):
        time.sleep(0.5)
    assert capsys.readouterr().err == ""


def test_an_empty_name_is_wrong_usage(alone: Commands) -> None:
    for command in ("pull", "info", "show", "rm"):
        answer = alone(command, " ")
        assert answer.returncode == 2
        assert "Give a model's name" in " ".join(answer.stderr.replace("│", " ").split())
