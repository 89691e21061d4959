"""How soon a 4-bit model is there: its artifact, against quantizing on the fly and the plain checkpoint, in one run.

    python benchmarks/load.py [--gigabytes 1] [--rounds 2] [--folder DIR] [--device cpu]

The model is Llama-shaped with random weights and made on the spot. Each load is in a process of its own, after the
imports; rounds are interleaved and the best counts, because noise on a shared machine only ever adds time. The files
are in the page cache for all of them. `first pass` is the load and a forward pass of 16 tokens: on the CPU a plain
checkpoint is only mapped by the load, and read by the first pass. `peak` is the process's growth over the load. A
cache hit is one `ModelLoader.get` of a loaded model, the median of 1000.
"""

import argparse
import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HIDDEN = 2048
LAYER_PARAMETERS = HIDDEN * HIDDEN * 2 + HIDDEN * 512 * 2 + 3 * HIDDEN * 8192
VOCABULARY = 8192


def make_model(folder: Path, gigabytes: float) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    layers = max(1, round((gigabytes * 1e9 / 2 - 2 * VOCABULARY * HIDDEN) / LAYER_PARAMETERS + 0.5))
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=4,
        dtype=torch.bfloat16,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        parameter.data.fill_(1) if "norm" in name else parameter.data.normal_(std=0.02)
    model.save_pretrained(folder)


def make_artifact(source: Path, target: Path, device: str) -> dict[str, Any]:
    from modelyard.ml import artifact
    from modelyard.ml.artifact_folder import ArtifactRequest

    request = ArtifactRequest(str(source), str(target), "4bit", model_id="bench/load", commit="be" * 20, device=device)
    return artifact.make_artifact(request, lambda _report: None)


def load(folder: Path, quantization: Any, device: str) -> dict[str, Any]:
    import torch

    from modelyard.ml import devices
    from modelyard.ml.model_loader import LoadSpec, ModelLoader
    from modelyard.ml.quantization import quantization_config

    quantization_config("4bit", torch.bfloat16)  # imports bitsandbytes
    place = devices.parse_device(device)
    loader = ModelLoader()
    spec = LoadSpec("bench/load", "be" * 20, quantization, folder, device=device)
    before = devices.held_bytes(place)
    started = time.perf_counter()
    with loader.get(spec) as loaded, torch.inference_mode():
        seconds = time.perf_counter() - started
        loaded.model(torch.arange(16, device=place).view(1, -1)).logits.sum().item()
        first_pass = time.perf_counter() - started
        peak = torch.cuda.max_memory_reserved(place) if place.type == "cuda" else _peak_rss_bytes()
        hits = [_timed_hit(loader, spec) for _ in range(1000)]
    return {
        "seconds": seconds,
        "first_pass": first_pass,
        "peak_bytes": peak - before,
        "bytes": loaded.measured_bytes,
        "hit_seconds": median(hits),
    }


def _timed_hit(loader: Any, spec: Any) -> float:
    started = time.perf_counter()
    with loader.get(spec):
        return time.perf_counter() - started


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _in_a_process(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--step", choices=["model", "artifact", "load"], help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quantization", default="none", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        logging.disable(logging.WARNING)
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        result: dict[str, Any] = {}
        if arguments.step == "model":
            make_model(arguments.source, arguments.gigabytes)
        elif arguments.step == "artifact":
            result = make_artifact(arguments.source, arguments.target, arguments.device)
        else:
            result = load(arguments.source, arguments.quantization, arguments.device)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="modelyard-bench-") as name:
        source, target = str(Path(name) / "source"), str(Path(name) / "artifact")
        _in_a_process("--step", "model", "--source", source, "--gigabytes", str(arguments.gigabytes))
        started = time.perf_counter()
        device = ("--device", arguments.device)
        manifest = _in_a_process("--step", "artifact", "--source", source, "--target", target, *device)
        made = time.perf_counter() - started
        todo = {
            "plain checkpoint": (source, "none"),
            "4-bit, on the fly": (source, "4bit"),
            "4-bit, artifact": (target, "4bit"),
        }
        best: dict[str, dict[str, Any]] = {}
        for _ in range(arguments.rounds):
            for title, (folder, quantization) in todo.items():
                step = ("--step", "load", "--source", folder, "--quantization", quantization, *device)
                measured = _in_a_process(*step)
                if title not in best or measured["seconds"] < best[title]["seconds"]:
                    best[title] = measured
    ours = best["4-bit, artifact"]
    print(f"\non {arguments.device}, best of {arguments.rounds} rounds")
    print(f"{'':20}{'load s':>9}{'first pass s':>14}{'peak MB':>9}{'model MB':>10}{'artifact loads faster':>23}")
    for title, measured in best.items():
        ratio = measured["seconds"] / ours["seconds"]
        print(
            f"{title:20}{measured['seconds']:9.2f}{measured['first_pass']:14.2f}{measured['peak_bytes'] / 1e6:9.0f}"
            f"{measured['bytes'] / 1e6:10.0f}{ratio:21.1f} x"
        )
    print(
        f"making the artifact, once, with its checks: {made:.1f} s; drift: KL {manifest['drift']['kl_mean']:.4f} nats"
    )
    print(f"a cache hit of the loader: {ours['hit_seconds'] * 1000:.4f} ms")


if __name__ == "__main__":
    main()
