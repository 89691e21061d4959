"""What a CUDA device holds and does, against what was said before, in under four minutes and one table.

    python benchmarks/gpu.py [--device cuda:0] [--gigabytes 1] [--folder DIR]

The model is Llama-shaped with random weights, made on the spot, with the tokenizer of a sample. Each precision is a
process of its own: it loads the model (8-bit and 4-bit from a quantized copy, made once), compares the bytes of its
tensors on the device with the estimate from `config.json`, writes 64 tokens for one and for eight prompts, and unloads.
`context` is what the device has lost beside the tensors' own memory: the CUDA context and workspaces of libraries,
which no estimate contains. `left` is what the process's tensors still hold after the unload. The last line is a
training run of three steps (it needs the training extra) against its plan. Without a CUDA device nothing is measured.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import load as load_benchmark

from modelyard.core.extras import Extra, has

PRECISIONS = ("none", "8bit", "4bit")
COMMIT = "be" * 20
PROMPT = tuple(range(3, 67))
NEW_TOKENS = 64
D_SAE, BATCH, CONTEXT = 16384, 2048, 128


def make_model(folder: Path, gigabytes: float) -> None:
    """Write a checkpoint with a tokenizer."""
    load_benchmark.make_model(folder, gigabytes)
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", "modelyard.ml.sample_models", "--into", name], check=True)
        for file in (Path(name) / "tiny-llama").glob("tokenizer*"):
            shutil.copy(file, folder)


def make_copy(source: Path, target: Path, quantization: Any, device: str) -> dict[str, Any]:
    """Quantize once; return the seconds that took, with its checks."""
    from modelyard.ml.quantize import artifact
    from modelyard.ml.quantize.artifact_folder import ArtifactRequest

    started = time.perf_counter()
    request = ArtifactRequest(
        str(source), str(target), quantization, model_id="bench/gpu", commit=COMMIT, device=device
    )
    artifact.make_artifact(request, lambda _report: None)
    return {"quantize_seconds": time.perf_counter() - started}


def measure(source: Path, folder: Path, quantization: Any, device: str) -> dict[str, Any]:
    """Load `folder`, use it and unload it; `source` is the checkpoint, whose configuration is estimated."""
    from modelyard.ml.loading import devices
    from modelyard.ml.model_loader import LoadSpec, ModelLoader

    place = devices.parse_device(device)
    used = used_bytes(device)
    estimated = estimated_bytes(source, quantization)
    spec = LoadSpec("bench/gpu", COMMIT, quantization, folder, device=device, option_bytes={quantization: estimated})
    loader = ModelLoader()
    try:
        started = time.perf_counter()
        with loader.get(spec) as loaded:
            loading = time.perf_counter() - started
            held = tensor_bytes(device) or loaded.measured_bytes
            speeds = {f"tokens_per_second_{count}": _speed(loaded, count) for count in (1, 8)}
            now = used_bytes(device)
            context = None if used is None or now is None else now - used - devices.held_bytes(place)
        started = time.perf_counter()
        unloaded = loader.unload_model(loaded.key)
        return {
            "precision": quantization,
            "estimated_bytes": estimated,
            "held_bytes": held,
            "context_bytes": context,
            "load_seconds": loading,
            "unload_seconds": time.perf_counter() - started,
            "freed_bytes": unloaded.freed_bytes,
            "left_bytes": tensor_bytes(device),
            **speeds,
        }
    finally:
        loader.close()


def _speed(loaded: Any, count: int) -> float:
    from modelyard.ml.generation.generation_request import Options, Prompt
    from modelyard.ml.generation.text_generation import generate

    prompts = [Prompt(token_ids=(number + 3, *PROMPT)) for number in range(count)]
    generate(loaded, prompts, Options(max_new_tokens=4))  # kernels are chosen, or compiled, at their first use
    return generate(loaded, prompts, Options(max_new_tokens=NEW_TOKENS)).tokens_per_second


def estimated_bytes(folder: Path, quantization: str) -> int:
    """Return what the weights are said to take, from the configuration alone."""
    from modelyard.ml.inspect.memory import estimate_memory

    options = estimate_memory(json.loads((folder / "config.json").read_text())).options
    return next(option.weights_bytes for option in options if option.quantization == quantization)


def tensor_bytes(device: str) -> int:
    """Return what the tensors of this process hold on a CUDA device, as its allocator rounds them; 0 elsewhere."""
    import torch

    from modelyard.ml.loading import devices

    if not device.startswith("cuda"):
        return 0
    devices.release_memory()
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device)


def used_bytes(device: str) -> int | None:
    """Return what all processes use of a CUDA device, as its driver counts; asking makes no context."""
    import pynvml

    if not device.startswith("cuda"):
        return None
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(device.partition(":")[2] or 0))
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def planned_training(source: Path, device: str) -> int:
    """Return the bytes that a training run on this model is planned with."""
    from modelyard.ml.sae.plan import Size, memory_plan

    size = Size(
        d_in=load_benchmark.HIDDEN,
        d_sae=D_SAE,
        batch_tokens=BATCH,
        context_size=CONTEXT,
        model_bytes=estimated_bytes(source, "none"),
        hidden_size=load_benchmark.HIDDEN,
        intermediate_size=8192,
        vocab_size=load_benchmark.VOCABULARY,
        device_type=device.partition(":")[0],
    )
    return memory_plan(size).total_bytes


def train(source: Path, folder: Path, device: str) -> dict[str, Any]:
    """Train for three steps; return the plan and the most that the device had lost meanwhile."""
    import pydoc_data.topics

    from modelyard.core.process import run_child
    from modelyard.ml.sae.engine import TrainingRun

    folder.mkdir(parents=True)
    (folder / "corpus.txt").write_text("\n\n".join(pydoc_data.topics.topics.values()), encoding="utf-8")
    run = TrainingRun(
        folder=str(folder / "run"),
        weights_folder=str(source),
        model_id="bench/gpu",
        commit=COMMIT,
        quantization="none",
        allow_pickle=False,
        dtype="auto",
        hook_point="model.layers.0",
        d_in=load_benchmark.HIDDEN,
        d_sae=D_SAE,
        architecture="topk",
        k=32,
        l1_coefficient=1.0,
        dataset_path=str(folder / "corpus.txt"),
        dataset_column="text",
        path_rules={"named": [str(folder)], "anywhere": False},
        training_tokens=3 * BATCH,
        context_size=CONTEXT,
        batch_tokens=BATCH,
        learning_rate=1e-3,
        seed=0,
        device=device,
        planned_bytes=0,
        checkpoint_seconds=1,
    )
    before, peak = used_bytes(device) or 0, 0

    def look() -> bool:
        nonlocal peak
        peak = max(peak, (used_bytes(device) or 0) - before)
        return False

    run_child(
        "modelyard.workers.processes.train_child",
        asdict(run),
        on_report=lambda _: None,
        should_stop=look,
        poll_seconds=0.02,
    )
    return {"planned_bytes": planned_training(source, device), "peak_bytes": peak}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures of `measure` (and of `make_copy`, where there was a copy) as a table in Markdown."""
    head = (
        *("precision", "estimated", "held", "difference", "context", "quantize once", "load", "unload", "left"),
        *("tokens/s", "tokens/s, eight prompts"),
    )
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        difference = row["held_bytes"] / row["estimated_bytes"] - 1
        cells = (
            row["precision"],
            _megabytes(row["estimated_bytes"]),
            _megabytes(row["held_bytes"]),
            f"{difference:+.2%}",
            _megabytes(row["context_bytes"]),
            "" if row.get("quantize_seconds") is None else f"{row['quantize_seconds']:.1f} s",
            f"{row['load_seconds']:.2f} s",
            f"{row['unload_seconds']:.2f} s",
            _megabytes(row["left_bytes"]),
            f"{row['tokens_per_second_1']:.1f}",
            f"{row['tokens_per_second_8']:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def training_line(figures: dict[str, Any] | None, planned: int) -> str:
    """Say how a training run compares with its plan; `figures` are None where none could be trained."""
    what = f"An SAE of {D_SAE:,} features, {BATCH:,} tokens a step: planned {_megabytes(planned)}"
    if figures is None:
        return f"{what}; not measured, because the training extra is not installed."
    return f"{what}, {_megabytes(figures['peak_bytes'])} used at most ({figures['peak_bytes'] / planned:.2f} of it)."


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e6:.0f} MB"


def _in_a_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def machine(device: str) -> str:
    """Name the device, its driver and the libraries."""
    import bitsandbytes
    import torch
    import transformers

    name, total = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{name}, {total / 1e9:.0f} GB, {versions}, bitsandbytes {bitsandbytes.__version__}"


def _step(arguments: argparse.Namespace) -> dict[str, Any]:
    logging.disable(logging.WARNING)
    source, target = arguments.source, arguments.target
    match arguments.step:
        case "machine":
            return {"machine": machine(arguments.device)}
        case "model":
            make_model(source, arguments.gigabytes)
            return {}
        case "copy":
            return make_copy(source, target, arguments.quantization, arguments.device)
        case "train":
            return train(source, target, arguments.device)
        case _:
            return measure(source, target, arguments.quantization, arguments.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--step", choices=["machine", "model", "copy", "measure", "train"], help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quantization", default="none", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(_step(arguments)))
        return
    import torch

    if not torch.cuda.is_available():
        print("There is no CUDA device on this machine, so nothing was measured.")
        return
    device = ("--device", arguments.device)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="modelyard-bench-") as name:
        source = Path(name) / "source"
        print(_in_a_process("--step", "machine", *device)["machine"])
        _in_a_process("--step", "model", "--source", str(source), "--gigabytes", str(arguments.gigabytes))
        rows = []
        for quantization in PRECISIONS:
            target, copied = source, {}
            words = ("--source", str(source), "--quantization", quantization, *device)
            if quantization != "none":
                target = Path(name) / quantization
                copied = _in_a_process("--step", "copy", *words, "--target", str(target))
            rows.append(_in_a_process("--step", "measure", *words, "--target", str(target)) | copied)
        trained = None
        if has(Extra.SAE):
            trained = _in_a_process(
                "--step", "train", "--source", str(source), "--target", str(Path(name) / "training"), *device
            )
        print(table(rows), training_line(trained, planned_training(source, arguments.device)), sep="\n\n")


if __name__ == "__main__":
    main()
