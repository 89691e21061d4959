"""Training sparse autoencoders on real worker processes: to the end, stopped, killed, and gone on with."""

import json
import pydoc_data.topics
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import connect

from support.instance import Instance, running

pytestmark = pytest.mark.sae

GPT2 = "modelyard-samples/tiny-gpt2"
LLAMA = "modelyard-samples/tiny-llama"
RUN = {"training_tokens": 16_000, "batch_tokens": 512, "context_size": 64, "expansion_factor": 4, "k": 16}
LONG = RUN | {"training_tokens": 60_000, "checkpoint_seconds": 1}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    environment = {"MODELYARD_LEASE_SECONDS": "4", "OMP_NUM_THREADS": "1"}
    instance = Instance(tmp_path_factory.mktemp("training"), environment).start()
    instance.use_builtin_hub()
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def gpt2(instance: Instance) -> dict[str, Any]:
    return instance.wait_for(instance.download(GPT2)["id"], "ready", seconds=120)


@pytest.fixture(scope="module")
def dataset(instance: Instance) -> dict[str, str]:
    lines = [json.dumps({"body": text, "number": 1}) for text in pydoc_data.topics.topics.values()]
    answer = instance.api.post("/datasets", files={"file": ("Python topics.jsonl", "\n".join(lines).encode())})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["rows"], answer.json()["columns"]) == (len(lines), ["body"])
    return {"path": answer.json()["path"], "column": "body"}


def start(instance: Instance, model: dict[str, Any], dataset: dict[str, str], **fields: Any) -> str:
    body = RUN | {"model_id": model["id"], "dataset": dataset, "learning_rate": 0.002} | fields
    answer = instance.api.post("/trainings", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def run_of(instance: Instance, training_id: str) -> dict[str, Any]:
    answer = instance.api.get(f"/trainings/{training_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wait(instance: Instance, training_id: str, *statuses: str, seconds: float = 120) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        run = run_of(instance, training_id)
        if run["status"] in statuses:
            return run
        assert run["status"] != "failed", run["error"]
        return None

    return dict(instance.wait_until(reached, seconds, f"the run is {statuses}"))


def wait_for_tokens(instance: Instance, training_id: str, tokens: int) -> dict[str, Any]:
    """The run once it has done so many tokens; it is still running then."""

    def reached() -> dict[str, Any] | None:
        run = run_of(instance, training_id)
        assert run["status"] in ("pending", "running"), run
        return run if run["progress"]["tokens_done"] >= tokens else None

    return dict(instance.wait_until(reached, 120, f"the run has done {tokens} tokens"))


def log_of(instance: Instance, training_id: str) -> str:
    answer = instance.api.get(f"/trainings/{training_id}/log")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["text"])


def checkpoints(instance: Instance, training_id: str) -> list[int]:
    folder = instance.home / "trainings" / training_id
    return [int(path.name.partition("-")[2]) for path in folder.glob("checkpoint-*") if "partial" not in path.name]


def assert_learned(instance: Instance, run: dict[str, Any]) -> None:
    points = instance.api.get(f"/trainings/{run['id']}/metrics").json()["items"]
    steps = [point["step"] for point in points]
    assert steps == sorted(set(steps))
    assert points[0]["step"] == 1
    # Before so many steps nobody can tell which features are dead.
    assert points[0]["dead_features"] is None
    assert points[-1]["dead_features"] is not None
    assert points[-1]["tokens"] >= run["training_tokens"]
    assert points[-1]["mse"] < 0.8 * points[0]["mse"]
    assert points[-1]["held_out_explained_variance"] > points[0]["held_out_explained_variance"]
    assert points[-1]["explained_variance_per_token"] > points[0]["explained_variance_per_token"]
    assert {key: points[-1][key] for key in run["metrics"]} == run["metrics"]


def load(run: dict[str, Any]) -> Any:
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*model_from_pretrained_kwargs")
        return SAE.load_from_disk(run["output_path"])


def test_a_run_to_the_end_in_float32(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    before = instance.api.get(f"/models/{gpt2['id']}/training-compatibility").json()
    assert (before["compatible"], before["level"]) == (True, "structural")
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.2")
    run = wait(instance, training_id, "completed")
    assert (run["d_in"], run["d_sae"]) == (gpt2["hidden_size"], 4 * gpt2["hidden_size"])
    assert run["progress"]["tokens_done"] == run["progress"]["tokens_total"] == 16_000
    assert run["engine"].startswith("sae-lens ")
    assert_learned(instance, run)
    sae = load(run)
    assert (sae.cfg.d_in, sae.cfg.d_sae) == (run["d_in"], run["d_sae"])
    metadata = sae.cfg.metadata
    assert (metadata.model_name, metadata.model_commit) == (GPT2, gpt2["commit"])
    assert (metadata.model_dtype, metadata.prepend_bos) == ("float32", True)
    assert list(metadata.seqpos_slice) == [2, None]
    assert metadata.beginning_token == run["plan"]["beginning_token"]
    assert (metadata.hook_name, metadata.dataset_path) == ("transformer.h.2", dataset["path"])
    assert checkpoints(instance, training_id) == []
    log = log_of(instance, training_id)
    for words in ("loading modelyard-samples/tiny-gpt2 at", "training with sae-lens", "step 1 of 32", "the SAE is in"):
        assert words in log, log
    after = instance.api.get(f"/models/{gpt2['id']}/training-compatibility").json()
    assert (after["compatible"], after["level"]) == (True, "live")


def llama(instance: Instance, quantization: str) -> dict[str, Any]:
    rows = instance.api.get("/models").json()["items"]
    here = [row for row in rows if (row["model_id"], row["quantization"]) == (LLAMA, quantization)]
    row = here[0] if here else instance.download(LLAMA, quantization=quantization)
    return instance.wait_for(row["id"], "ready", seconds=180)


@pytest.mark.parametrize(
    ("quantization", "dtype", "architecture", "hook_point"),
    [
        ("none", "auto", "batchtopk", "model.layers.1.mlp"),
        ("none", "float32", "topk", "model.layers.1"),
        ("8bit", "auto", "matryoshka", "model.layers.2"),
        ("4bit", "auto", "topk", "model.layers.3"),
    ],
)
def test_a_run_on_bfloat16_and_on_quantized_copies(
    instance: Instance, dataset: dict[str, str], quantization: str, dtype: str, architecture: str, hook_point: str
) -> None:
    model = llama(instance, quantization)
    fields = {"hook_point": hook_point, "architecture": architecture, "dtype": dtype}
    run = wait(instance, start(instance, model, dataset, **fields), "completed")
    assert run["d_in"] == model["hidden_size"]
    assert run["quantization"] == quantization
    assert_learned(instance, run)
    sae = load(run)
    # What is k on average in training has a threshold afterwards.
    assert sae.cfg.architecture() == ("topk" if architecture == "topk" else "jumprelu")
    assert sae.cfg.metadata.model_quantization == quantization
    if quantization == "none":
        assert sae.cfg.metadata.model_dtype == ("float32" if dtype == "float32" else "bfloat16")


def test_cancelled_and_resumed(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.0", **LONG)
    refused = instance.api.delete(f"/models/{gpt2['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_in_use")
    assert refused.json()["used_by"][0] == instance.model(gpt2["id"])["used_by"][0]
    assert refused.json()["used_by"][0]["kind"] == "training"
    assert training_id[:8] in refused.json()["detail"]

    wait_for_tokens(instance, training_id, 20_000)
    asked = instance.api.post(f"/trainings/{training_id}/cancel")
    assert (asked.status_code, asked.json()["status"]) == (202, "cancelling")
    cancelled = wait(instance, training_id, "cancelled", seconds=30)
    assert cancelled["resumable"]
    assert cancelled["output_path"] is None
    [kept] = checkpoints(instance, training_id)
    assert kept >= 20_000
    assert running("modelyard.workers.processes.train_child") is None
    assert instance.model(gpt2["id"])["used_by"] == []

    again = instance.api.post(f"/trainings/{training_id}/resume")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert instance.api.post(f"/trainings/{training_id}/resume").status_code == 409
    resumed = wait(instance, training_id, "completed")
    assert_learned(instance, resumed)
    assert instance.api.post(f"/trainings/{training_id}/cancel").json()["code"] == "conflict"
    log = log_of(instance, training_id)
    assert "stopped, because it was asked to\n" in log
    assert f"going on from checkpoint-{kept}\n" in log
    assert "Traceback" not in log
    worker_log = (instance.home / "logs" / "compute.log").read_text()
    assert "Traceback" not in worker_log, worker_log[-3000:]


def test_kills(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.3", **LONG)
    instance.wait_until(lambda: checkpoints(instance, training_id), 120, "a checkpoint is written")
    process = running("modelyard.workers.processes.train_child")
    assert process is not None
    process.send_signal(signal.SIGKILL)
    failed = instance.wait_until(
        lambda: (run := run_of(instance, training_id))["status"] == "failed" and run, 30, "the failure is told"
    )
    assert failed["error"]["code"] == "child_crashed"
    assert failed["error"]["hint"].endswith("log.txt has the details.")
    assert "was killed by SIGKILL" in log_of(instance, training_id).splitlines()[-1]
    [kept] = checkpoints(instance, training_id)

    assert instance.api.post(f"/trainings/{training_id}/resume").status_code == 202
    instance.wait_until(lambda: kept < max(checkpoints(instance, training_id), default=0), 120, "the next checkpoint")
    process, worker = running("modelyard.workers.processes.train_child"), instance.children()["compute"]
    assert process is not None
    worker.kill()
    psutil.wait_procs([process], timeout=10)
    assert not process.is_running()
    run = wait(instance, training_id, "completed")
    assert_learned(instance, run)
    assert load(run).cfg.d_sae == run["d_sae"]


def test_a_server_that_is_stopped_and_started(
    instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]
) -> None:
    fields = LONG | {"checkpoint_seconds": 600}
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.1.mlp", **fields)
    wait_for_tokens(instance, training_id, 20_000)
    assert instance.stop() == 0
    [kept] = checkpoints(instance, training_id)  # saved because it was told to stop
    assert kept >= 20_000
    # What it needs and what it makes is found where the home is by then.
    moved = instance.home.with_name("moved")
    instance.home.rename(moved)
    instance.home = moved
    instance.environment["MODELYARD_HOME"] = str(moved)
    instance.start()
    run = wait(instance, training_id, "completed")
    assert_learned(instance, run)
    here = {one["path"] for one in instance.api.get("/datasets").json()["items"]}
    assert run["dataset"]["path"] in here
    assert Path(run["output_path"]).is_relative_to(moved)
    body = {"model_id": gpt2["id"], "hook_point": "transformer.h.1", "dataset": dataset}
    assert instance.api.post("/trainings/plan", json=RUN | body).json()["dataset_column"] == "body"
    for earlier in instance.api.get("/trainings").json()["items"]:
        if earlier["status"] == "completed":
            assert load(earlier).cfg.d_sae == earlier["d_sae"]


def test_a_quantization_passes_a_run(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.0", **LONG | {"training_tokens": 10**7})
    waiting = start(instance, gpt2, dataset, hook_point="transformer.h.1")
    wait_for_tokens(instance, training_id, 1)
    asked = instance.api.post(f"/models/{gpt2['id']}/quantize", json={"quantization": "8bit"})
    assert asked.status_code == 202, asked.text
    instance.wait_for(asked.json()["id"], "ready", seconds=120)
    assert run_of(instance, training_id)["status"] == "running"
    assert run_of(instance, waiting)["status"] == "pending"  # one run at a time
    for each in (waiting, training_id):
        assert instance.api.post(f"/trainings/{each}/cancel").status_code == 202
        wait(instance, each, "cancelled", seconds=30)


def test_live_events(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    with connect(f"ws://127.0.0.1:{instance.port}/api/v1/events") as socket:
        assert json.loads(socket.recv())["trainings"] == []
        fields = RUN | {"training_tokens": 30_000, "architecture": "standard", "k": None}
        training_id = start(instance, gpt2, dataset, hook_point="transformer.h.2", **fields)
        kinds, used = [], []
        while True:
            event = json.loads(socket.recv(timeout=120))
            if event["type"].startswith("model."):
                used.append([user["id"] for user in event["model"]["used_by"]])
                continue
            assert event["training"]["id"] == training_id
            kinds.append(event["type"])
            if event["training"]["status"] == "completed":
                break
    assert kinds[0] == kinds[-1] == "training.updated"
    assert "training.progress" in kinds
    assert [training_id] in used
    assert load(run_of(instance, training_id)).cfg.architecture() == "standard"


def test_the_plan_holds(instance: Instance, gpt2: dict[str, Any], dataset: dict[str, str]) -> None:
    fields = RUN | {"expansion_factor": 64, "batch_tokens": 2048, "training_tokens": 8_192}
    training_id = start(instance, gpt2, dataset, hook_point="transformer.h.2", **fields)
    planned = run_of(instance, training_id)["plan"]["total_bytes"]
    peak = 0
    while run_of(instance, training_id)["status"] in ("pending", "running"):
        with suppress(psutil.NoSuchProcess):
            process = running("modelyard.workers.processes.train_child")
            peak = max(peak, process.memory_info().rss if process else 0)
    assert run_of(instance, training_id)["status"] == "completed"
    assert 0.5 * planned < peak <= planned


@pytest.mark.thorough
def test_without_the_extra(tmp_path: Path) -> None:
    """An environment in which SAELens cannot be imported: everything but the start of a run works."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['sae_lens'] = None\n")
    instance = Instance(tmp_path / "server", {"PYTHONPATH": str(tmp_path / "site")}).start()
    try:
        instance.use_builtin_hub()
        model = instance.wait_for(instance.download(GPT2)["id"], "ready", seconds=120)
        extras = instance.api.get("/system").json()["extras"]
        assert not extras["sae"]
        assert f"{sys.executable} -m pip install 'modelyard[sae]' torch==" in extras["sae_install"]
        text = ("\n\n".join(pydoc_data.topics.topics.values())).encode()
        path = instance.api.post("/datasets", files={"file": ("topics.txt", text)}).json()["path"]
        body = RUN | {"model_id": model["id"], "dataset": {"path": path}, "hook_point": "transformer.h.2"}
        plan = instance.api.post("/trainings/plan", json=body).json()
        assert (plan["d_in"], plan["fits"], plan["refusal"]["code"]) == (
            model["hidden_size"],
            True,
            "sae_engine_missing",
        )
        refused = instance.api.post("/trainings", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "sae_engine_missing")
        assert f"{sys.executable} -m pip install 'modelyard[sae]' torch==" in refused.json()["hint"]
        assert instance.api.get("/trainings").json()["total"] == 0
    finally:
        instance.stop()


def test_what_is_too_short_is_said(instance: Instance, gpt2: dict[str, Any]) -> None:
    upload = instance.api.post("/datasets", files={"file": ("short.txt", b"Too short a text.")}).json()
    body = {"model_id": gpt2["id"], "hook_point": "transformer.h.2", "dataset": {"path": upload["path"]}}
    refused = instance.api.post("/trainings", json=RUN | body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "dataset.path")
    assert "less than one context of 64" in refused.json()["detail"]


def test_a_text_that_is_gone_when_the_run_begins(instance: Instance, gpt2: dict[str, Any], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Something to read.\n\n" * 500)
    long = start(instance, gpt2, {"path": str(text)}, hook_point="transformer.h.1", **LONG | {"training_tokens": 10**7})
    training_id = start(instance, gpt2, {"path": str(text)}, hook_point="transformer.h.2")
    text.write_text("Too short a text.")
    assert instance.api.post(f"/trainings/{long}/cancel").status_code == 202
    failed = instance.wait_until(
        lambda: (run := run_of(instance, training_id))["status"] == "failed" and run, 90, "the failure is told"
    )
    assert failed["error"]["code"] == "invalid_request"
    assert "tokens" in failed["error"]["message"]
    assert failed["error"]["message"] in log_of(instance, training_id)
    assert instance.api.delete(f"/trainings/{training_id}").status_code == 200
    assert instance.api.get(f"/trainings/{training_id}/log").json()["code"] == "training_not_found"
