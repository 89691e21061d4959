"""Pictures of every state of the page, for people to look at.

`python -m e2e.pictures FOLDER [ONLY]`, run in `backend/tests`; ONLY is a regular expression for the names of states.
`python -m e2e.pictures docs` renews those in `docs/images` instead; it trains a sparse autoencoder for minutes.

A real server with real workers and sample models; beside them rows in states that are rare or short, written into its
database. Nothing is compared, so this is no test.
"""

import json
import os
import pydoc_data.topics
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from modelyard.core.database import Database, utc_now
from modelyard.ml.sae.plan import SMALLER
from modelyard.models import (
    Job,
    JobKind,
    JobState,
    LoadedModel,
    Model,
    ModelStatus,
    Quantization,
    Training,
    TrainingMetric,
    TrainingStatus,
)
from modelyard.schemas.examples import TRAINING_PLAN, TRAINING_RESPONSE
from modelyard.schemas.training import TrainingCreate
from support.browser import served, walk
from support.instance import Instance

SECONDS = 1500
DOCS_IMAGES = Path(__file__).parents[3] / "docs" / "images"
OWNER = "pictures"
COMMIT = "9f" * 20
WEIGHTS_BYTES = 1_192_135_096
FILES = {"config.json": 727, "tokenizer.json": 9_085_657, "model.safetensors": WEIGHTS_BYTES}
SIZE_BYTES = sum(FILES.values())


class Gallery:
    """Rows that stay as they are: their jobs belong to a worker that never speaks again."""

    def __init__(self, instance: Instance) -> None:
        self.home, self.cache = instance.home, instance.hf_home / "hub"
        self.database = Database(f"sqlite:///{instance.home / 'modelyard.db'}")

    def fill(self) -> None:
        with self.database.session() as self.session:
            self.working("Waits-in-line", ModelStatus.PENDING, JobKind.DOWNLOAD, state=JobState.QUEUED)
            self.working(
                "Downloading", ModelStatus.DOWNLOADING, JobKind.DOWNLOAD, phase="downloading", bytes_done=512_300_000,
                bytes_per_second=52_428_800.0, eta_seconds=13.2, files_done=2, files_total=3,
            )  # fmt: skip
            self.working(
                "Retrying", ModelStatus.DOWNLOADING, JobKind.DOWNLOAD, phase="retrying", bytes_done=200_000_000,
                bytes_per_second=0.0, message="retrying in 8 s (connection reset)", files_done=2, files_total=3,
            )  # fmt: skip
            self.working(
                "Verifying", ModelStatus.DOWNLOADING, JobKind.DOWNLOAD, phase="verifying", bytes_done=SIZE_BYTES,
                files_done=2, files_total=3,
            )  # fmt: skip
            self.working(
                "Paused", ModelStatus.PAUSED, JobKind.DOWNLOAD, state=JobState.PAUSED, phase="downloading",
                bytes_done=900_000_000, files_done=2, files_total=3,
            )  # fmt: skip
            self.working(
                "Quantizing", ModelStatus.QUANTIZING, JobKind.QUANTIZE, quantization=Quantization.FOUR_BIT,
                phase="quantizing", bytes_done=447_000_000, bytes_total=WEIGHTS_BYTES,
                message="quantizing layer 12 of 28",
            )  # fmt: skip
            self.working(
                "Checking", ModelStatus.QUANTIZING, JobKind.QUANTIZE, quantization=Quantization.EIGHT_BIT,
                phase="checking", message="comparing with the source",
            )  # fmt: skip
            self.row("Cancelled", ModelStatus.CANCELLED)
            self.row("Missing", ModelStatus.MISSING)
            self.row("Deleting", ModelStatus.DELETING)
            for code, message, hint in ERRORS:
                self.row(
                    f"Failed-{code}", ModelStatus.FAILED, error={"code": code, "message": message, "hint": hint},
                    disk_bytes=300_000_000,
                )  # fmt: skip
            self.ready("Ready")
            self.ready("Ready-8bit", quantization=Quantization.EIGHT_BIT, memory_measured_bytes=640_000_000)
            loaded = self.ready("Loaded-4bit", quantization=Quantization.FOUR_BIT, memory_measured_bytes=545_123_456)
            self.loaded(loaded, 545_123_456)
            self.ready("Newer-on-the-Hub", latest_commit="ab" * 20, checked_at=utc_now())
            self.ready("Gated-custom-code", gated=True, has_custom_code=True, licence="llama3.2")
            self.ready("Adopted", adopted=True)
            self.ready(
                "Would-not-load",
                error={
                    "code": "out_of_memory",
                    "message": "pictures/Would-not-load needs about 1.19 GB in system memory, where 800 MB are free.",
                    "hint": "Quantize it to 4-bit: about 545 MB.",
                },
            )
            trained = self.ready("Being-trained-on")
            self.training(trained, TrainingStatus.RUNNING, tokens_done=820_000)
            self.training(trained, TrainingStatus.PENDING, tokens_done=0)
            self.training(
                trained, TrainingStatus.FAILED, tokens_done=410_000,
                error={"code": "out_of_memory", "message": "The run needs 9.1 GB, where 6.2 GB are free.",
                       "hint": SMALLER},
            )  # fmt: skip
            self.training(trained, TrainingStatus.CANCELLED, tokens_done=1_200_000)
            self.training(trained, TrainingStatus.COMPLETED, tokens_done=2_000_000)

    def row(self, name: str, status: ModelStatus, **fields: Any) -> Model:
        fields.setdefault("quantization", Quantization.NONE)
        described = {
            "model_id": f"{OWNER}/{name}", "endpoint": "https://huggingface.co", "commit": COMMIT, "status": status,
            "architecture": "Qwen3ForCausalLM", "model_type": "qwen3", "num_parameters": 596_049_920,
            "dtype": "bfloat16", "hidden_size": 1024, "num_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 8, "intermediate_size": 3072, "vocab_size": 151_936,
            "max_position_embeddings": 40_960, "size_bytes": SIZE_BYTES, "memory_estimated_bytes": WEIGHTS_BYTES,
            "memory_method": "exact",
            "files": [
                {"path": path, "size_bytes": size, "sha256": "0" * 64, "git_sha1": None, "present_before": False}
                for path, size in FILES.items()
            ],
        } | fields  # fmt: skip
        row = Model(canonical_id=described["model_id"], **described)
        self.session.add(row)
        self.session.flush()
        return row

    def ready(self, name: str, **fields: Any) -> Model:
        model_id = str(fields.get("model_id", f"{OWNER}/{name}"))
        folder = self.cache / f"models--{model_id.replace('/', '--')}" / "snapshots" / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        for path, size in FILES.items():
            with (folder / path).open("wb") as stored:
                os.truncate(stored.fileno(), size)
        if "quantization" in fields:
            artifact = self.home / "artifacts" / name
            artifact.mkdir(parents=True)
            fields = {"artifact_path": str(artifact), "artifact_bytes": 400_000_000} | fields
        return self.row(name, ModelStatus.READY, **({"disk_bytes": SIZE_BYTES} | fields))

    def loaded(self, row: Model, measured_bytes: int) -> None:
        self.session.add(
            LoadedModel(
                model_row_id=row.id, worker="gone", device="cpu", dtype="auto", host="yard",
                measured_bytes=measured_bytes, load_seconds=0.42, pinned=True, in_use=1,
                lease_expires_at=utc_now() + timedelta(days=1),
            )
        )  # fmt: skip

    def working(
        self, name: str, status: ModelStatus, kind: JobKind, *, quantization: Quantization = Quantization.NONE,
        state: JobState = JobState.RUNNING, fields: dict[str, Any] | None = None, **progress: Any,
    ) -> None:  # fmt: skip
        row = self.row(name, status, quantization=quantization, **(fields or {}))
        progress.setdefault("bytes_total", SIZE_BYTES)
        self._job(row, kind, state, row.id, **progress)

    def _job(self, row: Model | Training, kind: JobKind, state: JobState, subject: str, **progress: Any) -> None:
        later = utc_now() + timedelta(days=1)
        # A queue of its own, so that no worker takes what waits.
        job = Job(
            kind=kind, queue="pictures", subject_id=subject, state=state, owner="gone" if state is JobState.RUNNING
            else None, lease_expires_at=later, wake_after=later, **progress,
        )  # fmt: skip
        self.session.add(job)
        self.session.flush()
        row.job_id = job.id

    def training(self, model: Model, status: TrainingStatus, *, tokens_done: int, **fields: Any) -> None:
        now, total = utc_now(), 2_000_000
        metrics = FIGURES if tokens_done else None
        run = Training(
            model_row_id=model.id, model_id=model.model_id, commit=model.commit, quantization="none", status=status,
            config=RUN_CONFIG | {"model_id": model.id}, hook_point="model.layers.14", d_in=1024, d_sae=8192,
            plan=TRAINING_PLAN, tokens_done=tokens_done, tokens_total=total, metrics=metrics, engine="sae-lens 6.54.12",
            phase="training" if status is TrainingStatus.RUNNING else None,
            tokens_per_second=4100.0 if tokens_done else None,
            eta_seconds=(total - tokens_done) / 4100 if status is TrainingStatus.RUNNING else None,
            output_path="/home/ada/.local/share/modelyard/saes/14-topk" if tokens_done == total else None,
            created_at=now - timedelta(minutes=9), started_at=now - timedelta(minutes=8) if tokens_done else None,
            finished_at=now if status not in (TrainingStatus.RUNNING, TrainingStatus.PENDING) else None, **fields,
        )  # fmt: skip
        self.session.add(run)
        self.session.flush()
        for step in range(0, tokens_done // 20_000):
            self.session.add(
                TrainingMetric(
                    training_id=run.id, step=step, tokens=step * 20_000, mse=0.3 + 2.2 / (1 + step),
                    explained_variance=0.9 - 0.8 / (1 + step), explained_variance_per_token=0.89 - 0.8 / (1 + step),
                    held_out_explained_variance=0.88 - 0.8 / (1 + step),
                    held_out_explained_variance_per_token=0.87 - 0.8 / (1 + step), l0=32.0,
                    dead_features=min(118, step * 3),
                    tokens_per_second=4100.0,
                )
            )  # fmt: skip
        if tokens_done:
            folder = self.home / "trainings" / run.id
            folder.mkdir(parents=True)
            (folder / "log.txt").write_text("".join(_log(tokens_done)))
        if status is TrainingStatus.RUNNING:
            self._job(run, JobKind.TRAIN, JobState.RUNNING, run.id, phase="training")


PYTHIA = {
    "model_id": "EleutherAI/pythia-70m", "architecture": "GPTNeoXForCausalLM", "num_parameters": 70_426_624,
    "dtype": "float16", "num_layers": 6, "hidden_size": 512, "max_position_embeddings": 2048,
    "licence": "apache-2.0", "size_bytes": 166_049_099, "memory_estimated_bytes": 140_853_248,
}  # fmt: skip
SMOLLM = {
    "model_id": "HuggingFaceTB/SmolLM2-135M", "architecture": "LlamaForCausalLM", "num_parameters": 134_515_008,
    "num_layers": 30, "hidden_size": 576, "max_position_embeddings": 8192, "licence": "apache-2.0",
    "memory_estimated_bytes": 269_030_016, "disk_bytes": 271_236_840,
}  # fmt: skip
QWEN_8B = {
    "model_id": "Qwen/Qwen3-8B", "num_parameters": 8_190_735_360, "num_layers": 36, "hidden_size": 4096,
    "licence": "apache-2.0", "size_bytes": 16_393_000_000, "memory_estimated_bytes": 6_070_000_000,
    "memory_method": "approximate", "disk_bytes": 4_870_000_000,
}  # fmt: skip
GEMMA = {
    "model_id": "google/gemma-2-2b", "architecture": "Gemma2ForCausalLM", "num_parameters": 2_614_341_888,
    "num_layers": 26, "hidden_size": 2304, "max_position_embeddings": 8192, "licence": "gemma", "gated": True,
    "size_bytes": 5_250_000_000, "memory_estimated_bytes": 5_228_683_776, "memory_method": "approximate",
    "disk_bytes": 1_447_000_000,
}  # fmt: skip


class Example(Gallery):
    """The models of the README's picture, with the figures they have on the Hub."""

    def fill(self) -> None:
        four_bit = PYTHIA | {
            "memory_estimated_bytes": 113_049_600, "memory_measured_bytes": 113_049_600,
            "artifact_bytes": 113_400_000, "disk_bytes": 113_400_000 + 166_049_099,
        }  # fmt: skip
        with self.database.session() as self.session:
            self.ready("Qwen3-0.6B", model_id="Qwen/Qwen3-0.6B", disk_bytes=1_503_300_328, licence="apache-2.0")
            self.ready("pythia-70m", disk_bytes=166_049_099, **PYTHIA)
            self.ready("SmolLM2-135M", **SMOLLM)
            loaded = self.ready("pythia-70m-4bit", quantization=Quantization.FOUR_BIT, **four_bit)
            self.loaded(loaded, 113_049_600)
            self.working(
                "Qwen3-8B", ModelStatus.PAUSED, JobKind.DOWNLOAD, quantization=Quantization.FOUR_BIT, fields=QWEN_8B,
                state=JobState.PAUSED, phase="downloading", bytes_done=4_870_000_000, bytes_total=16_393_000_000,
                files_done=4, files_total=9,
            )  # fmt: skip
            self.working(
                "gemma-2-2b", ModelStatus.DOWNLOADING, JobKind.DOWNLOAD, fields=GEMMA, phase="downloading",
                bytes_done=1_447_000_000, bytes_total=5_250_000_000, bytes_per_second=118_000_000.0, eta_seconds=32.2,
                files_done=1, files_total=2,
            )  # fmt: skip


def _log(tokens_done: int) -> Iterator[str]:
    begin = "Z INFO modelyard.workers.processes.train_child: "
    yield f"2026-11-24T10:00:31{begin}loading {OWNER}/Being-trained-on at {COMMIT} (none) onto cpu\n"
    yield f"2026-11-24T10:00:33{begin}model.layers.14 puts out 1024 values per token, as expected\n"
    yield f"2026-11-24T10:00:33{begin}training with sae-lens 6.54.12: topk, 8192 features, 488 steps\n"
    for done in range(41_000, tokens_done, 41_000):
        minute, second = divmod(33 + done // 4100, 60)
        yield (
            f"2026-11-24T10:{minute:02}:{second:02}{begin}step {done // 4096} of 488, {done:,} tokens: mse 0.31, "
            "explained_variance 0.87, held_out_explained_variance 0.85, l0 32, dead_features 118\n"
        )


FIGURES = {
    "mse": 0.31, "explained_variance": 0.87, "explained_variance_per_token": 0.86, "held_out_explained_variance": 0.85,
    "held_out_explained_variance_per_token": 0.84, "l0": 32.0, "dead_features": 118,
}  # fmt: skip

ERRORS = (
    ("hub_unreachable", "https://huggingface.co did not answer for half an hour.", "Check the network, then resume."),
    ("gated_no_token", "The model needs a Hub token.", "Set a token in the settings, then resume."),
    ("gated_not_accepted", "Its licence was not accepted.", "Accept it on the model's page, then resume."),
    ("token_invalid", "The Hub does not accept the stored token.", "Set another token in the settings."),
    ("disk_full", "The disk has 0.4 GB free, 0.9 GB are missing.", "Free 0.5 GB, then resume."),
    ("checksum_mismatch", "model.safetensors arrived twice with another hash.", "Try again later; tell the owner."),
    ("hub_model_not_found", "The repository is gone from the Hub.", "Check the name."),
)
RUN_CONFIG = {name: TRAINING_RESPONSE[name] for name in TrainingCreate.model_fields if name in TRAINING_RESPONSE}


def main(folder: Path, only: str = "") -> None:
    with (
        tempfile.TemporaryDirectory(prefix="modelyard-pictures-") as place,
        served(Path(place), {"SHOTS": str(folder.absolute()), "SHOTS_ONLY": only}) as instance,
    ):
        steps = {"fill": lambda: Gallery(instance).fill(), "stop the server": instance.stop}
        walk(instance, "screenshots", steps=steps, seconds=SECONDS)


def renew_documentation() -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-") as place:
        text = Path(place) / "python-docs.jsonl"
        topics = pydoc_data.topics.topics.values()
        text.write_text("".join(json.dumps({"text": topic}) + "\n" for topic in topics), encoding="utf-8")
        environment = {"DOCS_PICTURES": str(DOCS_IMAGES), "DOCS_TEXT": str(text)}
        with served(Path(place) / "yard", environment) as instance:
            walk(instance, "docs-pictures", steps={"fill": lambda: Example(instance).fill()}, seconds=SECONDS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="modelyard-samples-") as samples:
        os.environ.setdefault("TESTS_FOLDER", samples)  # as the tests have one
        if sys.argv[1:] == ["docs"]:
            renew_documentation()
        else:
            main(Path(sys.argv[1]), *sys.argv[2:])
