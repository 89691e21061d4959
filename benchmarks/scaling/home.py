"""A server's home with as many models as wanted, and the server."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from huggingface_hub.file_download import repo_folder_name
from sqlalchemy import delete

from modelyard.core import migrate
from modelyard.core.database import Database, utc_now
from modelyard.models import Job, JobKind, Model, ModelStatus
from modelyard.services.jobs.kinds import JOB_QUEUES

SHAPES = (
    ("LlamaForCausalLM", "llama", 1_235_814_400, 2048, 16),
    ("Qwen3ForCausalLM", "qwen3", 596_049_920, 1024, 28),
    ("GPTNeoXForCausalLM", "gpt_neox", 405_334_016, 1024, 24),
)
CARD = (
    "---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags: [bench, number-{number}]\n---\n# Model {number}\n"
)


def safetensors_file(number: int) -> bytes:
    """Four tensors of zeros, and the number, so that no two models share a blob."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "number": str(number)}}
    for index in range(4):
        header[f"model.layers.{index}.weight"] = {
            "dtype": "BF16",
            "shape": [4, 8],
            "data_offsets": [64 * index, 64 * index + 64],
        }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(256)


def files_of(number: int) -> dict[str, bytes]:
    architecture, model_type, _, hidden, layers = SHAPES[number % len(SHAPES)]
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "torch_dtype": "bfloat16",
        "number": number,
    }
    return {
        "README.md": CARD.format(number=number).encode(),
        "config.json": json.dumps(config, indent=2).encode(),
        "generation_config.json": json.dumps({"number": number}).encode(),
        "model.safetensors": safetensors_file(number),
        "tokenizer_config.json": json.dumps({"bos_token": "<s>", "eos_token": "</s>", "number": number}).encode(),
    }


class Home:
    """A server's folders and database, filled with ready models by this script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.cache = folder / "home", folder / "hf" / "hub"
        self.home.mkdir(mode=0o700)
        self.models = 0
        self.database = Database(f"sqlite:///{self.home / 'modelyard.db'}")
        migrate.upgrade(self.database)

    def fill(self, models: int) -> None:
        self.models = models
        now = utc_now()
        for start in range(0, models, 1000):
            with self.database.session() as session:
                for number in range(start, min(start + 1000, models)):
                    session.add(self._ready_row(number, now - timedelta(minutes=1 + number)))

    def _ready_row(self, number: int, moment: Any) -> Model:
        model_id, commit = f"bench/model-{number:05}", f"{number:040x}"
        manifest = self._store(model_id, commit, files_of(number))
        row = new_row(number, model_id, commit, ModelStatus.READY)
        row.id, row.files, row.created_at, row.updated_at = f"{number:032x}", manifest, moment, moment
        row.size_bytes = row.disk_bytes = sum(file["size_bytes"] for file in manifest)
        return row

    def _store(self, model_id: str, commit: str, files: dict[str, bytes]) -> list[dict[str, Any]]:
        repo = self.cache / repo_folder_name(repo_id=model_id, repo_type="model")
        blobs, snapshot = repo / "blobs", repo / "snapshots" / commit
        for folder in (blobs, snapshot, repo / "refs"):
            folder.mkdir(parents=True)
        (repo / "refs" / "main").write_text(commit)
        manifest = []
        for name, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            (blobs / sha256).write_bytes(content)
            (snapshot / name).symlink_to(f"../../blobs/{sha256}")
            manifest.append(
                {"path": name, "size_bytes": len(content), "sha256": sha256, "git_sha1": None, "present_before": False}
            )
        return manifest

    def add_downloads(self, downloads: int) -> list[str]:
        """Rows that are being downloaded, each with a queued job; returns the ids of the jobs."""
        jobs = []
        with self.database.session() as session:
            for number in range(downloads):
                row = new_row(number, f"bench/download-{number:03}", f"{number:040x}", ModelStatus.DOWNLOADING)
                row.size_bytes = 2 * SHAPES[number % len(SHAPES)][2]
                session.add(row)
                session.flush()
                job = Job(kind=JobKind.DOWNLOAD, queue=JOB_QUEUES[JobKind.DOWNLOAD], subject_id=row.id)
                session.add(job)
                session.flush()
                row.job_id = job.id
                jobs.append(job.id)
        return jobs

    def end_downloads(self) -> None:
        """The rows of `add_downloads` are gone again."""
        with self.database.session() as session:
            session.execute(delete(Model).where(Model.status != ModelStatus.READY))
            session.execute(delete(Job))


def new_row(number: int, model_id: str, commit: str, status: ModelStatus) -> Model:
    architecture, model_type, parameters, hidden, layers = SHAPES[number % len(SHAPES)]
    return Model(
        model_id=model_id,
        canonical_id=model_id,
        endpoint="https://huggingface.co",
        commit=commit,
        status=status,
        architecture=architecture,
        model_type=model_type,
        num_parameters=parameters,
        dtype="bfloat16",
        hidden_size=hidden,
        num_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3 * hidden,
        vocab_size=151_936,
        max_position_embeddings=40_960,
        memory_estimated_bytes=2 * parameters,
        memory_method="exact",
        licence="apache-2.0",
    )


class Server:
    """`modelyard serve` without workers, on a free port."""

    def __init__(self, home: Home) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "HF_"))}
        environment = kept | {"MODELYARD_HOME": str(home.home), "HF_HUB_CACHE": str(home.cache), "HF_HUB_OFFLINE": "1"}
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (home.folder / "console.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", "serve", "--no-workers", "--port", str(self.port)],
            env=environment,
            stdout=self._log,
            stderr=self._log,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
            time.sleep(0.1)
        children = psutil.Process(self._process.pid).children()
        self.api = next(child for child in children if "api" in child.cmdline())

    def settle(self) -> None:
        """Until what it does at its start is done: less than a tenth of a core for three seconds."""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(3)
            if self.cpu_seconds() - before < 0.3:
                return

    def cpu_seconds(self) -> float:
        times = self.api.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()
