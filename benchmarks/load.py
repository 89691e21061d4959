"""How soon a 4-bit model is there: its artifact, against quantizing on the fly and the plain checkpoint, in one run.

    python benchmarks/load.py [--gigabytes 1] [--rounds 2] [--folder DIR] [--device cpu]

The model is Llama-shaped with random weights and made on the spot. `from_pretrained` is what a user calls without
Modelyard: transformers' `AutoModelForCausalLM`, with bitsandbytes' own configuration (nf4, double quantization) for
4-bit. The other rows go through Modelyard's loader. Each load is in a process of its own, after the imports; rounds are
interleaved and the best counts, because noise on a shared machine only ever adds time. The files are in the page cache
for all of them. `first pass` is the load and a forward pass of 16 tokens: on the CPU a plain checkpoint is only mapped
by the load, and read by the first pass. `peak` is the process's growth over both. A cache hit is one `ModelLoader.get`
of a loaded model, the median of 1000.
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
OURS = "4-bit artifact, Modelyard"


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
    from modelyard.ml.quantize import artifact
    from modelyard.ml.quantize.artifact_folder import ArtifactRequest

    request = ArtifactRequest(str(source), str(target), "4bit", model_id="bench/load", commit="be" * 20, device=device)
    return artifact.make_artifact(request, lambda _report: None)


def load_as_users_do(folder: Path, quantization: Any, device: str) -> dict[str, Any]:
    import bitsandbytes  # noqa: F401 - imported before the clock starts, as for the loader
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    config = four_bit if quantization == "4bit" else None
    place, before, started = _begin(device)
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, dtype="auto", device_map={"": place}, local_files_only=True
    )
    return _measured(model, place, before, started)


def load_with_modelyard(folder: Path, quantization: Any, device: str) -> dict[str, Any]:
    from modelyard.ml.model_loader import LoadSpec, ModelLoader

    loader = ModelLoader()
    spec = LoadSpec("bench/load", "be" * 20, quantization, folder, device=device)
    place, before, started = _begin(device)
    with loader.get(spec) as loaded:
        measured = _measured(loaded.model, place, before, started)
        return measured | {"hit_seconds": median(_timed_hit(loader, spec) for _ in range(1000))}


def _begin(device: str) -> tuple[Any, int, float]:
    from modelyard.ml.loading import devices

    place = devices.parse_device(device)
    return place, devices.held_bytes(place), time.perf_counter()


def _measured(model: Any, place: Any, before: int, started: float) -> dict[str, Any]:
    import torch

    from modelyard.ml.quantize.quantization import measured_bytes

    seconds = time.perf_counter() - started
    with torch.inference_mode():
        model(torch.arange(16, device=place).view(1, -1)).logits.sum().item()
    first_pass = time.perf_counter() - started
    peak = torch.cuda.max_memory_reserved(place) if place.type == "cuda" else _peak_rss_bytes()
    return {
        "seconds": seconds,
        "first_pass": first_pass,
        "peak_bytes": peak - before,
        "bytes": measured_bytes(model),
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
    parser.add_argument("--step", choices=["model", "artifact", "from_pretrained", "modelyard"], help=argparse.SUPPRESS)
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
            load = load_as_users_do if arguments.step == "from_pretrained" else load_with_modelyard
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
            "plain checkpoint, from_pretrained": ("from_pretrained", source, "none"),
            "4-bit on the fly, from_pretrained": ("from_pretrained", source, "4bit"),
            "4-bit on the fly, Modelyard": ("modelyard", source, "4bit"),
            OURS: ("modelyard", target, "4bit"),
        }
        best: dict[str, dict[str, Any]] = {}
        for _ in range(arguments.rounds):
            for title, (way, folder, quantization) in todo.items():
                step = ("--step", way, "--source", folder, "--quantization", quantization, *device)
                measured = _in_a_process(*step)
                if title not in best or measured["seconds"] < best[title]["seconds"]:
                    best[title] = measured
    ours = best[OURS]
    print(f"\non {arguments.device}, best of {arguments.rounds} rounds")
    print(f"{'':34}{'load s':>9}{'first pass s':>14}{'peak MB':>9}{'model MB':>10}{'artifact loads faster':>23}")
    for title, measured in best.items():
        ratio = measured["seconds"] / ours["seconds"]
        print(
            f"{title:34}{measured['seconds']:9.2f}{measured['first_pass']:14.2f}{measured['peak_bytes'] / 1e6:9.0f}"
            f"{measured['bytes'] / 1e6:10.0f}{ratio:21.1f} x"
        )
    print(
        f"making the artifact, once, with its checks: {made:.1f} s; drift: KL {manifest['drift']['kl_mean']:.4f} nats"
    )
    print(f"a cache hit of the loader: {ours['hit_seconds'] * 1000:.4f} ms")


if __name__ == "__main__":
    main()
