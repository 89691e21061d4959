"""How exact and how fast the memory estimate is, against two other ways to get one, in one run.

    python benchmarks/estimate.py [--rounds 7] [--released ../shared/real/models.jsonl]

* Modelyard: the model is built on the meta device from config.json, and transformers' own rules are applied to it.
* `accelerate estimate-memory`: the same calls as the command makes (a float32 `AutoModel` under `init_empty_weights`,
  `calculate_maximum_sizes`); its figures for 16, 8 and 4 bits are that size divided by 2, 4 and 8.
* hf-mem: the sum of the tensors in the safetensors header, as stored; it has no figure for bitsandbytes.

Exactness is measured against models of middling size that are really loaded, with all their unique storages counted.
With `--released`, a file with a released configuration in each line, the CPU seconds of the whole answer for each are
printed instead, slowest first.
Speed is measured on the shapes of large models, of which only config.json exists here. Times are CPU time of this
process, so that other work on the machine does not count; the first time includes every lazy import.
"""

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

Config = Mapping[str, Any]

LARGE: dict[str, Config] = {
    "Llama 70B": {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    },
    "671B MoE": {
        "model_type": "deepseek_v3",
        "architectures": ["DeepseekV3ForCausalLM"],
        "torch_dtype": "bfloat16",  # every other value is the library's default, which is DeepSeek-V3's
    },
}
_SMALL: Config = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "vocab_size": 16000,
    "torch_dtype": "bfloat16",
}
LOADABLE: dict[str, Config] = {
    "llama": {**_SMALL, "model_type": "llama", "num_key_value_heads": 2},
    "llama, tied": {**_SMALL, "model_type": "llama", "num_key_value_heads": 2, "tie_word_embeddings": True},
    "gpt2": {"model_type": "gpt2", "n_embd": 512, "n_layer": 4, "n_head": 8, "torch_dtype": "bfloat16"},
    "gemma2": {**_SMALL, "model_type": "gemma2", "num_key_value_heads": 2, "head_dim": 64},
    "mixtral": {**_SMALL, "model_type": "mixtral", "num_key_value_heads": 2},
    "falcon": {**_SMALL, "model_type": "falcon", "new_decoder_architecture": False},
    "mamba": {"model_type": "mamba", "hidden_size": 512, "num_hidden_layers": 4, "torch_dtype": "bfloat16"},
}
OPTIONS = ("none", "8bit", "4bit")
# One question in a fresh process: how long the first answer takes, and how much memory the build adds to the imports.
FRESH = """
import json, psutil, sys, time
started, config = time.perf_counter(), json.loads(sys.argv[1])
from modelyard.ml.inspect import activations, kv_cache, memory, meta_model
import transformers; transformers.logging.set_verbosity_error()
held = lambda: psutil.Process().memory_info().rss
memory.estimate_memory({"model_type": config["model_type"], "num_hidden_layers": 1})
imported, before = time.perf_counter(), held()
skeleton = meta_model.build(config)
memory.estimate_skeleton(skeleton)
weights, after = time.perf_counter(), held()
kv_cache.measure_kv_cache(skeleton)
activations.measure_activations(skeleton, batch=1, sequence=2048)
whole = time.perf_counter()
print(json.dumps([imported - started, weights - imported, whole - weights, after - before]))
"""


def ours(config: Config) -> dict[str, int]:
    from modelyard.ml.inspect.memory import estimate_memory

    return {option.quantization: option.weights_bytes for option in estimate_memory(config).options}


def accelerates(config: Config) -> dict[str, int]:
    import torch
    from accelerate import init_empty_weights
    from accelerate.utils import calculate_maximum_sizes
    from transformers import AutoModel

    from modelyard.ml.inspect.meta_model import load_config

    with init_empty_weights():
        model = AutoModel.from_config(load_config(config), dtype=torch.float32)
    total, _ = calculate_maximum_sizes(model)
    return {"none": total // 2, "8bit": total // 4, "4bit": total // 8}


def hf_mems(folder: Path) -> dict[str, int | None]:
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        offsets = [tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"]
        total += sum(end - start for start, end in offsets)
    return {"none": total, "8bit": None, "4bit": None}


def save(config: Config, folder: Path) -> Config:
    """Write random weights of this shape; the config as saved, with its defaults filled in."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = {key: value for key, value in config.items() if key not in ("model_type", "torch_dtype")}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **values), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    saved: Config = json.loads((folder / "config.json").read_text())
    return saved


def really(folder: Path) -> dict[str, int]:
    from modelyard.ml.loading.pretrained import load_model
    from modelyard.ml.quantize.quantization import measured_bytes

    return {
        "none": measured_bytes(load_model(folder, quantization="none")),
        "8bit": measured_bytes(load_model(folder, quantization="8bit")),
        "4bit": measured_bytes(load_model(folder, quantization="4bit")),
    }


def exactness() -> None:
    print("Error against a real load (bytes estimated / bytes held - 1)\n")
    print(f"{'model':13} {'held MB':>8} {'option':>6} {'Modelyard':>10} {'accelerate':>11} {'hf-mem':>8}")
    errors: dict[str, list[float]] = {"Modelyard": [], "accelerate": [], "hf-mem": []}
    for name, shape in LOADABLE.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            config = save(shape, folder)
            held = really(folder)
            figures: dict[str, Mapping[str, int | None]] = {
                "Modelyard": ours(config),
                "accelerate": accelerates(config),
                "hf-mem": hf_mems(folder),
            }
        for option in OPTIONS:
            cells = []
            for tool, estimates in figures.items():
                estimate = estimates[option]
                if estimate is None:
                    cells.append("none")
                    continue
                error = estimate / held[option] - 1
                errors[tool].append(abs(error))
                cells.append("exact" if estimate == held[option] else f"{error:+.1%}")
            print(f"{name:13} {held[option] / 1e6:8.1f} {option:>6} {cells[0]:>10} {cells[1]:>11} {cells[2]:>8}")
    print()
    for tool, values in errors.items():
        exact = sum(value == 0 for value in values)
        median, worst = statistics.median(values), max(values)
        print(f"{tool:10} {exact} of {len(values)} exact, median error {median:.1%}, largest {worst:.1%}")


def speed(rounds: int) -> None:
    print("\nWeights of all three options from config.json, CPU milliseconds (median of the warm rounds)\n")
    print(f"{'shape':10} {'Modelyard':>10} {'accelerate':>11} {'ratio':>6}")
    for name, config in LARGE.items():
        mine = _median_milliseconds(ours, config, rounds)
        try:
            other = _median_milliseconds(accelerates, config, rounds)
        except RuntimeError as error:  # it makes every tensor in memory before it discards it
            print(f"{name:10} {mine:10.0f} {'fails':>11}        {str(error).partition('DefaultCPUAllocator: ')[2]}")
            continue
        print(f"{name:10} {mine:10.0f} {other:11.0f} {other / mine:5.1f}x")
    print("\nA fresh process: wall seconds, and resident memory beyond the imports\n")
    print(f"{'shape':10} {'imports':>8} {'weights':>8} {'+ cache and activations':>24} {'extra MB':>9}")
    for name, config in LARGE.items():
        run = [sys.executable, "-c", FRESH, json.dumps(config)]
        output = subprocess.run(run, check=True, capture_output=True, text=True).stdout
        imports, weights, rest, extra = json.loads(output)
        print(f"{name:10} {imports:8.2f} {weights:8.2f} {rest:24.2f} {extra / 1e6:9.1f}")


def released(path: Path) -> None:
    """Print the CPU seconds of each part of the answer for every configuration that the library can build."""
    from modelyard.core.errors import ModelyardError
    from modelyard.ml.inspect import activations, architecture, kv_cache, memory, meta_model

    ours({"model_type": "llama", "num_hidden_layers": 1})  # imports
    rows: list[tuple[float, str, list[float]]] = []
    for entry in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        seconds = [time.process_time()]
        try:
            skeleton = meta_model.build(entry["config"])
        except ModelyardError as error:
            print(f"{entry['model']}: {error}")
            continue
        parts: list[Callable[[Any], object]] = [
            memory.estimate_skeleton,
            kv_cache.measure_kv_cache,
            lambda built: activations.measure_activations(built, batch=1, sequence=4096, quantizations=OPTIONS[1:]),
            architecture.inspect_architecture,
        ]
        seconds.append(time.process_time())
        for part in parts:
            with suppress(ModelyardError):  # weights that are quantized already
                part(skeleton)
            seconds.append(time.process_time())
        rows.append((seconds[-1] - seconds[0], entry["model"], [end - begin for begin, end in pairwise(seconds)]))
    print(f"\n{'whole':>6} {'build':>6} {'memory':>6} {'cache':>6} {'activ.':>6} {'archit.':>7}")
    for whole, name, of_parts in sorted(rows, reverse=True):
        print(f"{whole:6.2f} " + " ".join(f"{part:6.2f}" for part in of_parts) + f"  {name}")


def _median_milliseconds(function: Callable[[Config], object], config: Config, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        function(config)
        times.append(time.process_time() - started)
    return statistics.median(times[1:]) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7, help="of each timing, the first of which does not count")
    parser.add_argument("--released", type=Path, help="time the whole answer for each configuration in this file")
    arguments = parser.parse_args()
    rounds = arguments.rounds

    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if arguments.released is not None:
        released(arguments.released)
        return
    exactness()
    speed(rounds)
    print(f"\nPeak memory of this run: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
