"""Exactly how many bytes a model's weights occupy once loaded, from its `config.json` alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.base import MODULES_TO_PATCH_FOR_QUANTIZATION

from modelyard.core.errors import AlreadyQuantized
from modelyard.ml.inspect.meta_model import MetaModel, build, dtype_name
from modelyard.ml.loading.kept_dtypes import KeptDtypes
from modelyard.ml.quantize.quantization_plan import (
    BITSANDBYTES,
    INT8,
    NF4,
    PACKING_METHOD,
    REFUSED,
    KeptBecause,
    QuantizationPlan,
    Scheme,
    packed_bytes,
    plan_quantization,
    stored_scheme,
    stored_shape,
)

# Parts read, joined, converted to the kernel's dtype, and the result: as measured on the CPU.
_COPIES_WHILE_QUANTIZING = 4

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

    `load_peak_bytes` estimates the most that loading holds at once, without pages of the file that the system may drop
    and without what the heap keeps of memory that was freed; `copy_peak_bytes` is that of loading a quantized copy.
    `available` is false where nothing gets smaller.
    """

    quantization: str
    weights_bytes: int
    quantization_state_bytes: int
    quantized_fraction: float
    load_peak_bytes: int
    copy_peak_bytes: int
    kept: tuple[KeptPart, ...]
    available: bool
    note: str | None


@dataclass(frozen=True)
class TiedParameter:
    """A parameter that is `source`, and takes no memory, unless the checkpoint holds another content for it."""

    name: str
    source: str
    num_parameters: int
    bytes: int


@dataclass(frozen=True)
class MemoryEstimate:
    """The resident bytes of a model for no, 8-bit and 4-bit quantization (in this order in `options`).

    `num_parameters` counts tied ones once; `ignored` are patterns of the tensors that transformers does not load.
    """

    model_class: str
    model_type: str
    num_parameters: int
    buffers_bytes: int
    dtype: str
    dtype_assumed: bool
    options: tuple[OptionMemory, ...]
    tied: tuple[TiedParameter, ...]
    ignored: tuple[str, ...]


def estimate_memory(
    config: Mapping[str, Any],
    *,
    dtype: str = "auto",
    checkpoint_dtype: str | None = None,
    plain_bitsandbytes: bool = False,
) -> MemoryEstimate:
    """Return the bytes of every storage a model holds right after `from_pretrained`, before its first forward pass.

    Counted are parameters (tied ones once), buffers and quantization state. `checkpoint_dtype` is the dtype of the
    checkpoint's first floating tensor; it matters only where the config names none. 8bit is LLM.int8, 4bit is nf4 with
    double quantization stored as uint8, of experts too unless `plain_bitsandbytes`. Builds on the meta device, see
    `meta_model.build` for what that may raise.
    """
    skeleton = build(config, dtype=dtype, checkpoint_dtype=checkpoint_dtype)
    return estimate_skeleton(skeleton, plain_bitsandbytes=plain_bitsandbytes)


def estimate_skeleton(skeleton: MetaModel, *, plain_bitsandbytes: bool = False) -> MemoryEstimate:
    """`estimate_memory` for a model that is already on the meta device."""
    model = skeleton.model
    item_bytes = _LoadDtypes(skeleton)
    parameters = resident_parameters(model)
    plain = {name: p.numel() * item_bytes(name, p) for name, p in parameters.items()}
    buffers = _buffer_bytes(model, item_bytes) + _plain_tensor_bytes(model)
    weights = _Weights(
        shapes={name: parameter.shape for name, parameter in parameters.items()},
        plain=plain,
        num_parameters=sum(parameter.numel() for parameter in parameters.values()),
        total=buffers + sum(plain.values()),
        largest=max(plain.values(), default=0),
        dtype=dtype_name(skeleton.dtype),
    )
    if skeleton.stored_quantization is None:
        plan = plan_quantization(model)
        options: tuple[OptionMemory, ...] = (
            _unquantized_option(weights),
            _quantized_option(INT8, plan, model, weights),
            _quantized_option(NF4, plan if plain_bitsandbytes else plan.with_packing(), model, weights),
        )
    else:
        options = _stored_options(skeleton.stored_quantization, model, weights)
    return MemoryEstimate(
        model_class=type(model).__name__,
        model_type=skeleton.config.model_type,
        num_parameters=weights.num_parameters,
        buffers_bytes=buffers,
        dtype=weights.dtype,
        dtype_assumed=skeleton.dtype_assumed,
        options=options,
        tied=tied_parameters(skeleton),
        ignored=ignored_patterns(model),
    )


def unpacked_bytes(skeleton: MetaModel) -> int:
    """Return what the weights of a quantized checkpoint take once they are unpacked to the load dtype."""
    return estimate_skeleton(replace(skeleton, stored_quantization=None)).options[0].weights_bytes


def tied_parameters(skeleton: MetaModel) -> tuple[TiedParameter, ...]:
    """Return the parameters of an untied skeleton that loading ties to others."""
    item_bytes = _LoadDtypes(skeleton)
    targets: dict[str, str] = skeleton.model.all_tied_weights_keys  # type: ignore[assignment]
    found = []
    for name, parameter in skeleton.model.named_parameters(remove_duplicate=False):
        if name in targets:
            elements = parameter.numel()
            found.append(TiedParameter(name, targets[name], elements, elements * item_bytes(name, parameter)))
    return tuple(found)


def ignored_patterns(model: nn.Module) -> tuple[str, ...]:
    """Return the patterns of the names of stored tensors that transformers does not load into the model."""
    patterns: Any = getattr(model, "_keys_to_ignore_on_load_unexpected", None)
    return tuple(sorted(patterns)) if isinstance(patterns, (list, set, tuple)) else ()


def resident_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that exist after loading an untied skeleton; tied ones once, by their source's name."""
    targets: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    return {name: parameter for name, parameter in model.named_parameters() if name not in targets}


class _LoadDtypes:
    """Bytes per element that each state-dict entry has after loading: as built, or float32 where the model insists."""

    def __init__(self, skeleton: MetaModel) -> None:
        self._kept = KeptDtypes(cast(PreTrainedModel, skeleton.model), skeleton.dtype)

    def __call__(self, name: str, tensor: torch.Tensor) -> int:
        kept = self._kept.of(name)
        return tensor.element_size() if kept is None else kept.itemsize


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


@dataclass(frozen=True)
class _Weights:
    """A model's parameters unquantized: shapes, bytes as loaded, and totals (buffers are part of `total`)."""

    shapes: Mapping[str, torch.Size]
    plain: Mapping[str, int]
    num_parameters: int
    total: int
    largest: int
    dtype: str


def _unquantized_option(weights: _Weights) -> OptionMemory:
    peak = weights.total + weights.largest
    return OptionMemory("none", weights.total, 0, 0.0, peak, peak, (), True, None)


def _quantized_option(scheme: Scheme, plan: QuantizationPlan, model: nn.Module, weights: _Weights) -> OptionMemory:
    present = weights.shapes.keys()
    matrices = Counter(stored_shape(model.get_submodule(name.rpartition(".")[0])) for name in plan.quantized & present)
    experts = Counter(weights.shapes[name] for name in plan.packed & present)
    values = sum(scheme.value_bytes(shape.numel()) * times for shape, times in matrices.items())
    state = sum(scheme.state_bytes(shape) * times for shape, times in matrices.items())
    for shape, times in experts.items():
        packed_values = shape[0] * scheme.value_bytes(shape[1:].numel())
        values += packed_values * times
        state += (packed_bytes(shape) - packed_values) * times
    names = (plan.quantized | plan.packed) & present
    size = weights.total - sum(weights.plain[name] for name in names) + values + state
    elements = sum(weights.shapes[name].numel() for name in names)
    fraction = elements / weights.num_parameters if weights.num_parameters else 0.0
    kept = _kept_parts(plan, weights)
    refused = REFUSED.get((str(getattr(model.config, "model_type", "")), scheme.name))
    return OptionMemory(
        quantization=scheme.name,
        weights_bytes=size,
        quantization_state_bytes=state,
        quantized_fraction=fraction,
        load_peak_bytes=size + _COPIES_WHILE_QUANTIZING * weights.largest,
        copy_peak_bytes=size + weights.largest,
        kept=kept,
        available=size < weights.total and refused is None,
        note=refused or _note(scheme, fraction, size < weights.total, kept, weights.dtype),
    )


def _stored_options(section: Mapping[str, Any], model: nn.Module, weights: _Weights) -> tuple[OptionMemory, ...]:
    """Return what a checkpoint that is quantized already takes; it can be loaded in that form only."""
    scheme = stored_scheme(section)
    method = section.get("quant_method", BITSANDBYTES)
    swapped = any(type(module).__name__ in MODULES_TO_PATCH_FOR_QUANTIZATION for module in model.modules())
    if scheme is None or (swapped and method == BITSANDBYTES):
        raise AlreadyQuantized(
            f"The weights are stored quantized ({method}); their size in memory cannot be told from config.json."
        )
    plan = plan_quantization(model, skip_modules=section.get("llm_int8_skip_modules"))
    stored = _quantized_option(scheme, plan.with_packing() if method == PACKING_METHOD else plan, model, weights)
    note = f"The weights are stored in {scheme.name} already and cannot be quantized again."
    stored = replace(stored, load_peak_bytes=stored.copy_peak_bytes)
    return (
        replace(stored, quantization="none", available=True),
        *(replace(stored, quantization=name, available=False, note=note) for name in ("8bit", "4bit")),
    )


def _kept_parts(plan: QuantizationPlan, weights: _Weights) -> tuple[KeptPart, ...]:
    names: dict[KeptBecause, list[str]] = defaultdict(list)
    for name, reason in plan.kept.items():
        if name in weights.shapes:
            names[reason].append(name)
    parts = [
        KeptPart(
            reason=reason,
            description=_REASON_TEXT[reason],
            num_parameters=sum(weights.shapes[name].numel() for name in group),
            bytes=sum(weights.plain[name] for name in group),
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
        return f"{label} covers only {100 * fraction:.0f} % of the parameters. The rest stays in {dtype}: {stays}."
    return f"These stay in {dtype}: {stays}." if stays else None
