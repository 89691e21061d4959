"""What a tiny model does for real, beside what was worked out for it without its weights."""

import gc
import json
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from ml import zoo
from modelyard.ml.inspect import activations, architecture, kv_cache, memory, meta_model
from modelyard.ml.inspect.kv_cache import STATE_FIELDS, KvSegment, state_bytes
from modelyard.ml.loading import devices
from modelyard.ml.quantize.quantization import mend

KV_LENGTHS = (1, 5, 14, 15, 16, 17, 40, 130)
ACTIVATION_BATCH, ACTIVATION_SEQUENCE = 2, 300


@dataclass(frozen=True)
class Compared:
    """Figures of one model, `(estimated, measured)` each."""

    pairs: dict[str, tuple[int, int]]

    @property
    def exact(self) -> bool:
        return all(estimated == measured for estimated, measured in self.pairs.values())


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def skeleton(folder: Path) -> meta_model.MetaModel:
    return meta_model.build(read_config(folder))


def estimated_bytes(folder: Path, quantization: str, dtype: str = "auto") -> int:
    """What a checkpoint's weights are said to take in memory, before they are loaded."""
    options = memory.estimate_memory(read_config(folder), dtype=dtype).options
    return next(option.weights_bytes for option in options if option.quantization == quantization)


def device_bytes(device: torch.device) -> int:
    """Bytes of the tensors this process has on a CUDA device, as the allocator rounds them up."""
    devices.release_memory()
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device)


def weights(folder: Path, *, dtype: str = "auto") -> Compared:
    """Bytes of the loaded model for each quantization."""
    config = read_config(folder)
    options = memory.estimate_memory(config, dtype=dtype).options
    plain = memory.estimate_memory(config, dtype=dtype, plain_bitsandbytes=True).options[-1]
    pairs = {}
    for name, option in (*((option.quantization, option) for option in options), ("plain 4bit", plain)):
        model = zoo.load(folder, name, dtype=dtype)
        pairs[name] = (option.weights_bytes, zoo.resident_bytes(model))
    return Compared(pairs)


def kv(folder: Path) -> Compared | str:
    """Bytes of the cache after prefills of several lengths, or why there is no estimate."""
    estimate = kv_cache.measure_kv_cache(skeleton(folder))
    if estimate.segments is None:
        return estimate.reason or "no reason"
    model = zoo.load(folder, "none")
    pairs = {}
    for tokens in KV_LENGTHS:
        with torch.no_grad():
            outputs = model(input_ids=_ids(1, tokens), use_cache=True)
        measured = state_bytes([getattr(outputs, name, None) for name in STATE_FIELDS]) or _state_in_modules(model)
        pairs[f"{tokens} tokens"] = (at(estimate.segments, tokens), measured)
    return Compared(pairs)


def at(segments: Sequence[KvSegment], tokens: int) -> int:
    """What the segments say for a length."""
    last = [segment for segment in segments if segment.from_tokens <= tokens][-1]
    return last.bytes_at_from + (tokens - last.from_tokens) * last.bytes_per_token


def activation_peak(folder: Path) -> tuple[int, int] | str:
    """The peak of a prefill, estimated and as torch's profiler sees the allocator; or why there is no estimate."""
    batch, sequence = ACTIVATION_BATCH, ACTIVATION_SEQUENCE
    found = activations.measure_activations(skeleton(folder), batch=batch, sequence=sequence, all_logits=True)
    if found.activation_bytes is None or found.kv_cache_bytes is None:
        return found.reason or "no reason"
    model = zoo.load(folder, "none")
    real = _real_peak(lambda: model, batch, sequence, warm_up=model)
    return found.activation_bytes + found.kv_cache_bytes, real


def quantized_peak(folder: Path, quantization: str, sequence: int) -> tuple[int, int]:
    """As `activation_peak` of one sequence, with the weights quantized on loading: the first pass, which may repack."""
    found = activations.measure_activations(
        skeleton(folder), batch=1, sequence=sequence, all_logits=True, quantizations=(quantization,)
    )
    assert found.kv_cache_bytes is not None

    def load() -> nn.Module:
        model = zoo.load(folder, quantization)
        mend(model)
        return model

    real = _real_peak(load, 1, sequence, warm_up=load())
    return found.quantized_bytes[quantization] + found.kv_cache_bytes, real


def _real_peak(load: Callable[[], nn.Module], batch: int, sequence: int, *, warm_up: nn.Module) -> int:
    with torch.no_grad():
        warm_up(input_ids=_ids(batch, 4), use_cache=True)  # libraries allocate once, on first use
        gc.collect()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            model = load()  # the profiler sees only what it saw allocated being freed
            with record_function(THE_PASS):
                outputs = model(input_ids=_ids(batch, sequence), use_cache=True)
    del outputs
    return _peak(profiler)


def residual(folder: Path) -> tuple[architecture.Architecture, list[str]]:
    """The architecture found, and what a real forward pass says against its verified hook points."""
    found = architecture.inspect_architecture(skeleton(folder))
    points = {point.path: point for point in found.hook_points if point.verified}
    model = zoo.load(folder, "none")
    received: dict[str, torch.Tensor] = {}
    returned: dict[str, Any] = {}
    for path in points:
        model.get_submodule(path).register_forward_hook(_recorder(path, received, returned), with_kwargs=True)
    sizes = {"batch": 2, "seq": 9, "batch*seq": 18}
    with torch.no_grad():
        model(input_ids=_ids(sizes["batch"], sizes["seq"]))
    problems = []
    for path, point in points.items():
        output = returned.get(path)
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        if tensor is None:
            problems.append(f"{path} did not run")
        elif tuple(tensor.shape) != tuple(sizes.get(str(size), size) for size in point.shape):
            problems.append(f"{path} returned {tuple(tensor.shape)}, not {point.shape}")
        elif isinstance(output, (tuple, list)) != (point.output == "tuple"):
            problems.append(f"{path} returned {type(output).__name__}, not a {point.output}")
    stream = [point.path for point in points.values() if point.kind == "residual"]
    for before, after in pairwise(stream):
        output = returned[before]
        if not torch.equal(output[0] if isinstance(output, (tuple, list)) else output, received[after]):
            problems.append(f"{after} did not receive what {before} returned")
    return found, problems


def _recorder(path: str, received: dict[str, torch.Tensor], returned: dict[str, Any]) -> Any:
    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        received.setdefault(path, tensors[0].clone())
        returned[path] = output

    return record


def _ids(batch: int, tokens: int) -> torch.Tensor:
    return torch.arange(batch * tokens).reshape(batch, tokens) % 250 + 5


def _state_in_modules(model: nn.Module) -> int:
    names = ("recurrent_states", "conv1d_state", "key_states", "value_states")
    return sum(state_bytes(vars(module).get(name)) for module in model.modules() for name in names)


THE_PASS = "the pass"
PRODUCTS = {
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
}


def _peak(profiler: profile) -> int:
    """The most bytes that the pass had allocated at once, without what a product takes and frees again within itself.

    That is the workspace of this processor's library: one without bfloat16 arithmetic needs float32 for it, and one
    with AMX packs the keys and values of an attention.
    """
    results: Any = profiler.profiler
    products, changes, begin = [], [], 0
    for event in results.kineto_results.events():
        if event.name() in PRODUCTS:
            products.append((event.start_ns(), event.end_ns()))
        elif event.name() == THE_PASS:
            begin = event.start_ns()
        elif event.name() == "[memory]":
            changes.append((event.start_ns(), event.nbytes()))
    products.sort()
    assert begin
    of_the_pass = sorted((change for change in changes if change[0] >= begin), key=itemgetter(0))
    live = peak = 0
    for number, sizes in groupby(of_the_pass, key=lambda change: _product_at(products, change[0])):
        taken = [size for _time, size in sizes]
        if number is not None:
            taken = _lasting(taken)
        for size in taken:
            live += size
            peak = max(peak, live)
    return peak


def _lasting(changes: list[int]) -> list[int]:
    """The changes without what was allocated and freed again among them."""
    lasting: list[int] = []
    for size in changes:
        if size < 0 and -size in lasting:
            lasting.remove(-size)
        else:
            lasting.append(size)
    return lasting


def _product_at(products: list[tuple[int, int]], time: int) -> int | None:
    """Which product was being worked out then."""
    number = bisect_right(products, (time, sys.maxsize)) - 1
    return number if number >= 0 and time <= products[number][1] else None
