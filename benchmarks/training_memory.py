"""Peak memory of training runs against their plans: `python benchmarks/training_memory.py` (needs the training extra).

Each run is a process of its own on the CPU, on the sample model `tiny-llama` (width 256), for three steps: enough to
see the worst moment of a step, including the loss that revives dead features.
"""

import os
import pydoc_data.topics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import psutil
from rich.console import Console
from rich.table import Table

from modelyard.core.extras import Extra, require
from modelyard.core.process import run_child
from modelyard.ml.sae.engine import TrainingRun
from modelyard.ml.sae.plan import Size, memory_plan

D_IN, INTERMEDIATE, VOCABULARY, STEPS = 256, 704, 8192, 3
Architecture = Literal["topk", "batchtopk", "matryoshka", "standard"]
RUNS: tuple[tuple[Architecture, int, int, int], ...] = (
    ("topk", 32, 2048, 128),
    ("topk", 64, 4096, 128),
    ("batchtopk", 64, 2048, 64),
    ("batchtopk", 64, 4096, 128),
    ("matryoshka", 16, 8192, 256),
    ("matryoshka", 64, 4096, 128),
    ("standard", 64, 4096, 128),
)
"""Architecture, expansion factor, tokens per step, context."""


def main() -> None:
    require(Extra.SAE)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    table = Table("architecture", "d_sae", "batch", "planned GB", "peak GB", "peak / planned")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = [sys.executable, "-m", "modelyard.ml.sample_models", "--into", str(folder / "samples")]
        subprocess.run(samples, check=True)
        (folder / "corpus.txt").write_text("\n\n".join(pydoc_data.topics.topics.values()), encoding="utf-8")
        weights = folder / "samples" / "tiny-llama"
        model_bytes = sum(path.stat().st_size for path in weights.glob("*.safetensors"))
        for number, (architecture, expansion, batch, context) in enumerate(RUNS):
            run = TrainingRun(
                folder=str(folder / str(number)),
                weights_folder=str(weights),
                model_id="tiny-llama",
                commit="",
                quantization="none",
                allow_pickle=False,
                dtype="auto",
                hook_point="model.layers.3",
                d_in=D_IN,
                d_sae=D_IN * expansion,
                architecture=architecture,
                k=None if architecture == "standard" else 32,
                l1_coefficient=1.0,
                dataset_path=str(folder / "corpus.txt"),
                dataset_column="text",
                path_rules={"named": [str(folder)], "anywhere": False},
                training_tokens=STEPS * batch,
                context_size=context,
                batch_tokens=batch,
                learning_rate=1e-3,
                seed=0,
                device="cpu",
                planned_bytes=0,
                checkpoint_seconds=1,
            )
            size = Size(
                d_in=D_IN,
                d_sae=run.d_sae,
                batch_tokens=batch,
                context_size=context,
                model_bytes=model_bytes,
                hidden_size=D_IN,
                intermediate_size=INTERMEDIATE,
                vocab_size=VOCABULARY,
                architecture=architecture,
            )
            planned, peak = memory_plan(size).total_bytes, peak_of(run)
            figures = (f"{planned / 1e9:.2f}", f"{peak / 1e9:.2f}", f"{peak / planned:.2f}")
            table.add_row(architecture, str(run.d_sae), str(batch), *figures)
    Console().print(table)


def peak_of(run: TrainingRun) -> int:
    """The most memory the run's process had resident, in bytes."""
    peak = 0

    def look() -> bool:
        nonlocal peak
        for process in psutil.Process().children():
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        return False

    run_child(
        "modelyard.workers.processes.train_child",
        asdict(run),
        on_report=lambda _: None,
        should_stop=look,
        poll_seconds=0.02,
    )
    return peak


if __name__ == "__main__":
    main()
