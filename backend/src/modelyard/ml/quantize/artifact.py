"""Quantize once: a snapshot folder becomes an artifact folder that `from_pretrained` loads.

Before it gets its name, it is loaded back, run, and compared with the model it was made of and with the source.
"""

import importlib.metadata
import json
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.core_model_loading import WeightRenaming

from modelyard.core import units
from modelyard.core.checkpoint_folder import weight_files
from modelyard.core.errors import (
    ArtifactMismatch,
    Conflict,
    OutOfMemory,
    OutputNotFinite,
    UnsupportedArchitecture,
)
from modelyard.core.storage import sync
from modelyard.ml.inspect.meta_model import dtype_name, first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.disk_errors import disk_errors, require_free
from modelyard.ml.loading.load_progress import Parameters, watching_parameters
from modelyard.ml.loading.pretrained import load_model, read_config, stored_quantization
from modelyard.ml.quantize import drift
from modelyard.ml.quantize.answers import answers_of, find_prompts
from modelyard.ml.quantize.artifact_folder import (
    FORMAT,
    MANIFEST,
    ArtifactRequest,
    exclusive,
    files_of,
    partial_of,
    read_manifest,
)
from modelyard.ml.quantize.quantization import is_quantized, measured_bytes
from modelyard.ml.quantize.quantization_plan import BITSANDBYTES, PACKING_METHOD
from modelyard.ml.quantize.side_files import copy_side_files, write_config
from modelyard.ml.untrusted import warm_up
from modelyard.ml.untrusted.tokenizer import has_tokenizer_files

SHARD_SIZE = "5GB"
SPARE_BYTES = 64 * 10**6
"""Left free on the disk, beyond what the artifact takes."""

_LIBRARIES = ("torch", "transformers", "bitsandbytes", "safetensors", "accelerate")
_LAYER = re.compile(r"(?:^|\.)(\d+)\.")

Report = Callable[[dict[str, Any]], None]


def make_artifact(request: ArtifactRequest, report: Report) -> dict[str, Any]:
    """Quantize a snapshot into an artifact, check it, and return its manifest; an artifact that is there is kept.

    Reports `{"phase", "done", "total", "message"}`. Raises DiskFull before anything is written that would not fit,
    OutOfMemory, OutputNotFinite, Conflict if another process makes the same artifact, ArtifactMismatch, and what
    `load_model` raises. For a process of its own: it watches transformers' progress bars and reports the process's peak
    memory.
    """
    target = Path(request.target)
    manifest = read_manifest(target)
    if manifest is not None and _is_of(manifest, request):
        return manifest
    if target.exists() and manifest is None and any(target.iterdir()):
        raise Conflict(f"{target} exists and is not an artifact.", hint="Move it away, then try again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(partial_of(target)) as partial:
        needed = request.expected_bytes or _least_bytes(request)
        require_free(partial, "The quantized copy", needed, spare_bytes=SPARE_BYTES)
        with _memory_errors(request, needed):
            manifest = _make(request, partial, report)
        if target.exists():
            shutil.rmtree(target)  # another commit's or precision's artifact, or an empty folder
        partial.rename(target)
        sync(target.parent)
    return manifest


def _make(request: ArtifactRequest, partial: Path, report: Report) -> dict[str, Any]:
    source = Path(request.source)
    device = devices.parse_device(request.device)
    if has_tokenizer_files(source):
        warm_up()  # it takes a second, and is needed after the quantizing
    model = _quantize(request, source, device, report)
    prompts = find_prompts(request.model_id, source, model)
    stored_bytes = measured_bytes(model)
    require_free(partial, "The quantized copy", stored_bytes, spare_bytes=SPARE_BYTES)
    report(_progress("quantizing", 1, 1, "writing the copy"))
    dtype = _write(model, source, partial)
    quantizing_peak = _peak_rss_bytes()
    special = read_config(partial)["quantization_config"]["quant_method"] == PACKING_METHOD

    report(_progress("checking", 0, 3, "running the quantized model"))
    on_the_fly = answers_of(model, prompts)
    if isinstance(on_the_fly, drift.Observation) and not drift.is_finite(on_the_fly):
        raise OutputNotFinite(
            f"The output of {request.model_id} is not finite with its weights in {request.quantization} and the rest"
            f" in {dtype}.",
            hint="Load it unquantized in float32 or bfloat16; if that gives the same, its weights are damaged.",
        )
    del model
    devices.release_memory()
    report(_progress("checking", 1, 3, "loading the copy"))
    model = _load_back(request, partial, device)
    loaded_bytes = measured_bytes(model)
    reloaded = answers_of(model, prompts)
    del model
    devices.release_memory()
    if not _same(on_the_fly, reloaded):
        raise ArtifactMismatch(f"The artifact of {request.model_id} gives other logits than what it was made of.")
    report(_progress("checking", 2, 3, "comparing with the source"))
    found = _drift(request, source, device, reloaded, prompts)

    manifest = {
        "format": FORMAT,
        "model_id": request.model_id,
        "commit": request.commit,
        "quantization": request.quantization,
        "requested_dtype": request.dtype,
        "dtype": dtype,
        "quant_method": PACKING_METHOD if special else BITSANDBYTES,
        "loads_with": "modelyard.load" if special else "from_pretrained",
        "loads_with_reason": (
            "Weights that bitsandbytes leaves alone are quantized too; transformers alone cannot read them."
            if special
            else None
        ),
        "memory_measured_bytes": loaded_bytes,
        "drift": asdict(found),
        "peak_rss_bytes": {"quantizing": quantizing_peak, "in_all": _peak_rss_bytes()},
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "files": files_of(partial),
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in (*partial.rglob("*"), partial):
        sync(path)
    report(_progress("checking", 3, 3, "done"))
    return manifest


def _quantize(request: ArtifactRequest, source: Path, device: torch.device, report: Report) -> PreTrainedModel:
    if stored_quantization(read_config(source)) is not None:
        # load_model would hand back what is there; an artifact of it would be a copy.
        load_model(source, quantization="4bit" if request.quantization == "8bit" else "8bit")
    with _telling_layers(report):
        model = load_model(
            source,
            quantization=request.quantization,
            device_map={"": device},
            dtype=request.dtype,
            allow_pickle=request.allow_pickle,
        )
    if not is_quantized(model):
        raise UnsupportedArchitecture(
            f"bitsandbytes finds nothing to quantize to {request.quantization} in {type(model).__name__}.",
            hint="Use it in precision none.",
        )
    return model


def _write(model: PreTrainedModel, source: Path, folder: Path) -> str:
    """Write everything but the manifest; returns the dtype of what stayed unquantized.

    Before the model's first forward pass, in which bitsandbytes repacks weights on some processors.
    """
    # What from_pretrained set; after saving, the first parameter's, which may be one that is kept in float32.
    dtype = dtype_name(model.config.dtype) if isinstance(model.config.dtype, torch.dtype) else str(model.config.dtype)
    with disk_errors(folder.parent):
        # Under the names that loading renames: of a quantized tensor's parts, not all are found under others. Quantized
        # values cannot be split or merged back, so nothing else of the checkpoint's format is restored.
        used: list[Any] = model._weight_conversions
        model._weight_conversions = [each for each in used if isinstance(each, WeightRenaming)]
        model.save_pretrained(folder, max_shard_size=SHARD_SIZE)
        copy_side_files(source, folder)
        write_config(folder, read_config(folder) | {"dtype": dtype})
    return dtype


def _load_back(request: ArtifactRequest, folder: Path, device: torch.device) -> PreTrainedModel:
    try:
        return load_model(folder, quantization=request.quantization, device_map={"": device})
    except Exception as error:  # whatever transformers raises, it means that this format is of no use for this model
        raise ArtifactMismatch(
            f"{request.model_id} cannot be loaded back after saving it as {request.quantization}: {first_line(error)}"
        ) from error


def _same(first: drift.Observation | str, second: drift.Observation | str) -> bool:
    if isinstance(first, str) or isinstance(second, str):
        return isinstance(first, str) and isinstance(second, str)
    return drift.identical(first, second)


def _drift(
    request: ArtifactRequest,
    source: Path,
    device: torch.device,
    quantized: drift.Observation | str,
    prompts: drift.Prompts,
) -> drift.Drift:
    """Raises UnsupportedArchitecture if it is the quantization that keeps the model from running."""
    nothing = drift.Drift(len(prompts.ids), prompts.tokens)
    needed = sum(path.stat().st_size for path in weight_files(source))
    free = devices.free_bytes(device)
    if needed > free * 0.9:
        reason = f"The source needs {units.size(needed)} on {device}, where {units.size(free)} are free."
        return replace(nothing, reason=quantized if isinstance(quantized, str) else reason)
    model = load_model(source, device_map={"": device}, dtype=request.dtype, allow_pickle=request.allow_pickle)
    original = answers_of(model, prompts)
    if isinstance(original, str):
        return replace(nothing, reason=original)
    if isinstance(quantized, str):
        raise UnsupportedArchitecture(
            f"{type(model).__name__} runs as it is, but not with its weights in {request.quantization}.",
            hint="Use it in precision none.",
        )
    return drift.compare(original, quantized, prompts, dtype_name(model.dtype))


@contextmanager
def _memory_errors(request: ArtifactRequest, needed: int) -> Iterator[None]:
    """OutOfMemory before work that cannot fit, and instead of the many forms it takes in the middle."""
    device = devices.parse_device(request.device)
    hint = "Unload models or use another device, then retry."
    free = devices.free_bytes(device)
    if needed > free:
        raise OutOfMemory(
            f"Quantizing needs {units.size(needed)} on {device}, where {units.size(free)} are free.", hint=hint
        )
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not devices.is_out_of_memory(error):
            raise
        raise OutOfMemory(f"Quantizing {request.model_id} ran out of memory on {device}.", hint=hint) from error


def _telling_layers(report: Report) -> AbstractContextManager[None]:
    """Report each layer that `from_pretrained` begins with."""

    def watch(parameters: Parameters) -> Iterator[tuple[str, Any]]:
        plan = list(parameters)
        numbers = [int(match[1]) for name, _ in plan if (match := _LAYER.search(name))]
        total, seen = max(numbers, default=0) + 1, -1
        for name, mapping in plan:
            match = _LAYER.search(name)
            if match and int(match[1]) > seen:
                seen = int(match[1])
                report(_progress("quantizing", seen, total, f"quantizing layer {seen + 1} of {total}"))
            yield name, mapping
        report(_progress("quantizing", total, total, f"quantizing layer {total} of {total}"))

    return watching_parameters(watch)


def _progress(phase: str, done: int, total: int, message: str) -> dict[str, Any]:
    return {"phase": phase, "done": done, "total": total, "message": message}


def _is_of(manifest: Mapping[str, Any], request: ArtifactRequest) -> bool:
    made = (manifest["model_id"], manifest["commit"], manifest["quantization"], manifest["requested_dtype"])
    return manifest["format"] == FORMAT and made == (
        request.model_id,
        request.commit,
        request.quantization,
        request.dtype,
    )


def _least_bytes(request: ArtifactRequest) -> int:
    """No artifact is smaller than this share of its source; the exact size is checked again before writing."""
    stored = sum(path.stat().st_size for path in weight_files(Path(request.source)))
    return stored // (8 if request.quantization == "4bit" else 4)


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
