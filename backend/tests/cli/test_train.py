"""`modelyard train` against a real server that really trains."""

import json
import pydoc_data.topics
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.cli import app
from modelyard.commands import train
from modelyard.schemas import examples

from .conftest import SAMPLE, Commands, Server, wait_for

QUICK = ("--batch", "512", "--context", "64", "--expansion", "4", "--k", "16", "--learning-rate", "0.002")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "topics.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in pydoc_data.topics.topics.values()))
    return str(path)


@pytest.fixture(scope="module")
def equipped(running_server: Server) -> Iterator[Server]:
    """A server with the gpt2 and no runs."""
    client = running_server.client
    client.put("/settings", {"endpoint": "builtin", "bandwidth_limit_bytes_per_second": None})
    assert running_server.modelyard("pull", SAMPLE).returncode == 0
    yield running_server
    for run in client.trainings()["items"]:
        if run["status"] in ("pending", "running"):
            client.post(f"/trainings/{run['id']}/cancel")
        wait_for(
            lambda run=run: run_of(running_server, run["id"])["status"] not in ("pending", "running", "cancelling")
        )
        client.delete(f"/trainings/{run['id']}")


def run_of(server: Server, run_id: str) -> dict[str, Any]:
    return server.client.get(f"/trainings/{run_id}")


@pytest.mark.sae
def test_a_plan_starts_nothing(equipped: Server, corpus: str) -> None:
    told = equipped.modelyard("train", "start", SAMPLE, "--dataset", corpus, *QUICK, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "512 features" in told.stdout
    assert "libraries" in told.stdout
    assert "tokens in the column body" in told.stdout
    assert "Training on transformer.h.2; --hook chooses another hook point." in told.stderr
    options = ("--hook", "transformer.h.1.mlp", "--dataset", corpus, "--column", "body", "--dry-run", "--json")
    plan = json.loads(equipped.modelyard("train", "start", SAMPLE, *options).stdout)
    assert (plan["d_in"], plan["d_sae"], plan["steps"]) == (128, 1024, 489)
    assert equipped.client.trainings()["total"] == 0


class Planner:
    """The client of a server that refuses every plan, and knows one encoder."""

    is_local = True

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert (path, body["dataset"]["column"]) == ("/trainings/plan", None)
        return examples.TRAINING_PLAN | {"refusal": {"code": "out_of_memory", "message": "Too much.", "hint": None}}

    def get(self, _path: str) -> dict[str, Any]:
        reasons = [{"code": "encoder_only", "message": "This is an encoder."}]
        return {"compatible": False, "level": "static", "reasons": reasons, "hook_points": []}


def test_a_refusal_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "connect", lambda _context: Planner())
    monkeypatch.setattr(train, "find_row", lambda *_: {"id": "m", "model_id": "google/bert"})
    options = ["train", "start", "google/bert", "--dataset", "body.jsonl", "--dry-run"]
    planned = CliRunner().invoke(app, [*options, "--hook", "model.layers.1"])
    assert planned.exit_code == 1
    assert "Too much." in planned.stdout
    encoder = CliRunner().invoke(app, options)
    assert encoder.exit_code == 1
    assert "Hint: Choose another model.\n" in encoder.stderr


def test_what_cannot_be_trained_is_told(equipped: Server, corpus: str, alone: Commands) -> None:
    modelyard = equipped.modelyard
    column = modelyard("train", "start", SAMPLE, "--dataset", corpus, "--column", "text", *QUICK, "--dry-run")
    assert column.returncode == 1
    assert "no text column 'text'" in column.stderr
    assert "Its text columns are body." in column.stderr
    hook = modelyard("train", "start", SAMPLE, "--dataset", corpus, "--hook", "nowhere", "--dry-run", "--json")
    assert (hook.returncode, json.loads(hook.stderr)["code"]) == (1, "invalid_request")
    assert modelyard("train", "start", SAMPLE).returncode == 2
    assert modelyard("train", "start", "--from", "abc").returncode == 1
    nothing = modelyard("train", "show", "abc")
    assert (nothing.returncode, nothing.stderr.splitlines()[1]) == (1, "Hint: `modelyard train ls` lists the runs.")
    homeless = alone("train", "ls")
    assert homeless.returncode == 1
    assert "modelyard serve" in homeless.stderr


def test_a_model_tells_whether_it_can_be_trained_on(equipped: Server) -> None:
    shown = equipped.modelyard("show", SAMPLE).stdout.splitlines()
    assert "SAE training     ready" in [line.rstrip() for line in shown]
    assert "SAE training     ready, by its configuration" in equipped.modelyard("info", SAMPLE).stdout


@pytest.mark.sae
def test_a_run_is_followed_to_its_end(equipped: Server, corpus: str) -> None:
    options = ("--dataset", corpus, "--upload", "--hook", "transformer.h.2", "--tokens", "8192", *QUICK)
    done = equipped.modelyard("train", "start", SAMPLE, *options)
    assert done.returncode == 0, done.stderr
    assert "Sending topics.jsonl" in done.stderr
    assert "tiny-gpt2, transformer.h.2: training, " in done.stderr
    said, path = done.stdout.splitlines()
    assert said.startswith("tiny-gpt2, transformer.h.2 is trained in ")
    assert "explained variance" in said
    assert "on held-out text" in said
    assert (Path(path) / "sae_weights.safetensors").is_file()

    [run] = json.loads(equipped.modelyard("train", "ls", "--json").stdout)["items"]
    assert (run["status"], run["dataset"]["column"]) == ("completed", "body")
    listed = equipped.modelyard("train", "ls", "--status", "completed").stdout
    assert run["id"][:8] in listed
    assert "topk, 512 features" in listed
    shown = equipped.modelyard("train", "show", run["id"][:6]).stdout
    assert path in shown
    assert "sae-lens" in shown
    assert "the SAE is in" in equipped.modelyard("train", "log", run["id"][:6]).stdout.splitlines()[-1]
    assert equipped.modelyard("train", "cancel", run["id"]).returncode == 1

    again = equipped.modelyard(
        "train", "start", "--from", run["id"][:6], "--tokens", "9000", "--dtype", "bfloat16", "--detach", "--json"
    )
    assert again.returncode == 0, again.stderr
    second = json.loads(again.stdout)
    settings = ("model_id", "hook_point", "dataset", "expansion_factor", "k", "batch_tokens", "learning_rate", "device")
    assert {name: second[name] for name in settings} == {name: run[name] for name in settings}
    assert (second["training_tokens"], second["dtype"]) == (9000, "bfloat16")
    wait_for(lambda: run_of(equipped, second["id"])["status"] == "completed")
    assert "bfloat16" in equipped.modelyard("train", "show", second["id"]).stdout

    gone = equipped.modelyard("train", "rm", run["id"][:6], "--yes")
    assert gone.returncode == 0, gone.stderr
    assert " and freed " in gone.stdout
    assert not Path(path).exists()


@pytest.mark.sae
def test_a_run_is_left_stopped_and_gone_on_with(equipped: Server, corpus: str) -> None:
    modelyard = equipped.modelyard
    options = ("--dataset", corpus, "--column", "body", "--tokens", "200000", *QUICK)
    begun = modelyard("train", "start", SAMPLE, *options, "--detach", "--json")
    assert begun.returncode == 0, begun.stderr
    run_id = json.loads(begun.stdout)["id"]
    watching = modelyard.start("train", "follow", run_id)
    wait_for(lambda: run_of(equipped, run_id)["progress"]["tokens_done"] > 0)
    under_way = modelyard("ps")
    assert "TRAINING" in under_way.stdout
    assert "200 k tokens" in under_way.stdout
    watching.send_signal(signal.SIGINT)
    output, _ = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert f"`modelyard train cancel {run_id[:8]}` stops it" in output
    assert run_of(equipped, run_id)["status"] == "running"

    assert modelyard("train", "rm", run_id, "--yes").returncode == 1
    cancelled = modelyard("train", "cancel", run_id[:8])
    assert cancelled.returncode == 0, cancelled.stderr
    ended = modelyard("train", "follow", run_id)
    assert ended.returncode == 1
    assert f"`modelyard train resume {run_id[:8]}` continues from its last checkpoint." in ended.stderr
    assert run_of(equipped, run_id)["status"] == "cancelled"
    resumed = modelyard("train", "resume", run_id[:8], "--detach")
    assert (resumed.returncode, resumed.stdout) == (0, f"The run {run_id[:8]} is resumed.\n")
    assert run_of(equipped, run_id)["status"] in ("pending", "running")
