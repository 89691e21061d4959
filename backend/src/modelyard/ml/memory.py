"""Exactly how many bytes a model's weights occupy once loaded, from its `config.json` alone."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import build_glob_alternation

from modelyard.ml.meta_model import MetaModel, build, dtype_name
from modelyard.ml.quantization_plan import (
    INT8,
    NF4,
    KeptBecause,
    QuantizationPlan,
    Scheme,
    plan_quantization,
    stored_shape,
)

_REASON_TEXT = {
    KeptBecause.OUTPUT_EMBEDDING: "output embedding",
    KeptBecause.TIED: "tied weights",
    KeptBecause.LAST_MODULE: "last module",
    KeptBecause.KEPT_BY_MODEL: "modules the architecture keeps in full precision",
    KeptBecause.EMBEDDING: "embeddings",
    KeptBecause.EXPERTS: "fused expert weights",
    KeptBecause.LINEAR_SUBCLASS: "layers of a special linear class",
    KeptBecause.OTHER_LAYER: "layers that are not plain linear ones",
    KeptBecause.VECTOR: "norms and biases",
}


@dataclass(frozen=True)
class KeptPart:
    """Parameters that stay unquantized for one reason: how many, their bytes, and one of their names."""

    reason: KeptBecause
    description: str
    num_parameters: int
    bytes: int
    example: str


@dataclass(frozen=True)
class OptionMemory:
    """One precision. `weights_bytes` includes `quantization_state_bytes`.

    `largest_matrix_bytes` is the largest quantized matrix in the load dtype: it exists once more while it is being
    quantized, and again whenever it is dequantized for a product. `available` is false where nothing gets smaller.
    """

    quantization: str
    weights_bytes: int
    quantization_state_bytes: int
    quantized_fraction: float
    largest_matrix_bytes: int
    kept: tuple[KeptPart, ...]
    available: bool
    note: str | None


@dataclass(frozen=True)
class MemoryEstimate:
    """The resident bytes of a model for no, 8-bit and 4-bit quantization (in this order in `options`)."""

    model_class: str
    model_type: str
    num_parameters: int
    buffers_bytes: int
    dtype: str
    dtype_assumed: bool
    options: tuple[OptionMemory, ...]


def estimate_memory(
    config: Mapping[str, Any], *, dtype: str = "auto", checkpoint_dtype: str | None = None
) -> MemoryEstimate:
    """Bytes of every storage a model holds right after `from_pretrained`, before its first forward pass.

    Counted are parameters (tied ones once), buffers and quantization state. `checkpoint_dtype` is the dtype of the
    checkpoint's first floating tensor; it matters only where the config names none. 8bit is LLM.int8, 4bit is nf4 with
    double quantization stored as uint8. Builds on the meta device, see `meta_model.build` for what that may raise.
    """
    return estimate_skeleton(build(config, dtype=dtype, checkpoint_dtype=checkpoint_dtype))


def estimate_skeleton(skeleton: MetaModel) -> MemoryEstimate:
    """`estimate_memory` for a model that is already on the meta device."""
    model = skeleton.model
    plan = plan_quantization(model)
    item_bytes = _LoadDtypes(skeleton)
    parameters = resident_parameters(model)
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    plain = {name: p.numel() * item_bytes(name, p) for name, p in parameters.items()}
    buffers = _buffer_bytes(model, item_bytes) + _plain_tensor_bytes(model)
    num_parameters = sum(shape.numel() for shape in shapes.values())
    quantized = {
        name: stored_shape(model.get_submodule(name.rpartition(".")[0])) for name in plan.quantized & shapes.keys()
    }
    full = buffers + sum(plain.values())
    options = [OptionMemory("none", full, 0, 0.0, 0, (), True, None)]
    kept = _kept_parts(plan, shapes, plain)
    for scheme in (INT8, NF4):
        options.append(_quantized_option(scheme, quantized, plain, full, num_parameters, kept, skeleton.dtype))
    return MemoryEstimate(
        model_class=type(model).__name__,
        model_type=skeleton.config.model_type,
        num_parameters=num_parameters,
        buffers_bytes=buffers,
        dtype=dtype_name(skeleton.dtype),
        dtype_assumed=skeleton.dtype_assumed,
        options=tuple(options),
    )


def resident_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of an untied skeleton that exist after loading: tied ones once, under their source's name."""
    targets: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    return {name: parameter for name, parameter in model.named_parameters() if name not in targets}


class _LoadDtypes:
    """Bytes per element that each state-dict entry has after loading: as built, or float32 where the model insists."""

    def __init__(self, skeleton: MetaModel) -> None:
        forced: dict[str, torch.dtype] = skeleton.model._get_dtype_plan(skeleton.dtype)  # type: ignore[operator]
        self._pattern: re.Pattern[str] | None = None
        if forced:
            self._pattern, self._groups, _ = build_glob_alternation(list(forced))
            self._forced = forced

    def __call__(self, name: str, tensor: torch.Tensor) -> int:
        match = self._pattern.search(name) if self._pattern is not None else None
        if match is None or match.lastgroup is None:
            return tensor.element_size()
        return self._forced[self._groups[match.lastgroup]].itemsize


def _buffer_bytes(model: nn.Module, item_bytes: _LoadDtypes) -> int:
    total = 0
    seen: set[int] = set()
    targets: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    for path, module in model.named_modules():
        for name, buffer in module._buffers.items():
            full_name = f"{path}.{name}" if path else name
            if buffer is None or id(buffer) in seen or full_name in targets:
                continue
            seen.add(id(buffer))
            # Only what a checkpoint stores goes through its dtype rules.
            stored = name not in module._non_persistent_buffers_set
            total += buffer.numel() * (item_bytes(full_name, buffer) if stored else buffer.element_size())
    return total


def _plain_tensor_bytes(model: nn.Module) -> int:
    """Tensors kept as plain attributes. Those made on the meta device stay there and hold nothing."""
    storages: dict[int, int] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and value.device.type != "meta":
                storage = value.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _quantized_option(
    scheme: Scheme,
    quantized: Mapping[str, torch.Size],
    plain: Mapping[str, int],
    full: int,
    num_parameters: int,
    kept: tuple[KeptPart, ...],
    dtype: torch.dtype,
) -> OptionMemory:
    elements = {name: shape.numel() for name, shape in quantized.items()}
    values = sum(scheme.value_bytes(count) for count in elements.values())
    # Most layers repeat a few shapes.
    state = sum(scheme.state_bytes(shape) * times for shape, times in Counter(quantized.values()).items())
    weights = full - sum(plain[name] for name in quantized) + values + state
    fraction = sum(elements.values()) / num_parameters if num_parameters else 0.0
    return OptionMemory(
        quantization=scheme.name,
        weights_bytes=weights,
        quantization_state_bytes=state,
        quantized_fraction=fraction,
        largest_matrix_bytes=max((plain[name] for name in quantized), default=0),
        kept=kept,
        available=weights < full,
        note=_note(scheme, fraction, weights < full, kept, dtype_name(dtype)),
    )


def _kept_parts(
    plan: QuantizationPlan, shapes: Mapping[str, torch.Size], plain: Mapping[str, int]
) -> tuple[KeptPart, ...]:
    names: dict[KeptBecause, list[str]] = defaultdict(list)
    for name, reason in plan.kept.items():
        if name in shapes:
            names[reason].append(name)
    parts = [
        KeptPart(
            reason=reason,
            description=_REASON_TEXT[reason],
            num_parameters=sum(shapes[name].numel() for name in group),
            bytes=sum(plain[name] for name in group),
            example=group[0],
        )
        for reason, group in names.items()
    ]
    return tuple(sorted(parts, key=lambda part: -part.bytes))


def _note(scheme: Scheme, fraction: float, smaller: bool, kept: tuple[KeptPart, ...], dtype: str) -> str | None:
    label = "8-bit" if scheme is INT8 else "4-bit"
    large = [part for part in kept if part.reason is not KeptBecause.VECTOR and part.num_parameters][:3]
    stays = ", ".join(dict.fromkeys(part.description for part in large))
    if not fraction:
        return f"bitsandbytes finds nothing to quantize in this model ({stays})."
    if not smaller:
        return f"{label} weights and their state would take no less than {dtype}."
    if fraction < 0.5:
        return f"{label} covers only {fraction:.0%} of the parameters; these stay in {dtype}: {stays}."
    return f"These stay in {dtype}: {stays}." if stays else None
