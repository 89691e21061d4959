"""What a model needs in each precision, and whether that fits this machine: exact where the inspector can tell."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.schemas.model import KvCacheSegment, MemoryEstimate, MemoryOption, Verdict
from modelyard.schemas.system import Device
from modelyard.services import header_estimate
from modelyard.services.config_facts import read_config
from modelyard.services.header_estimate import Tensor
from modelyard.services.inspection_service import InspectionService

EXACT_SECONDS = 20.0
"""How long an answer may wait for the inspector; then it is approximate and says why."""

FITS_FRACTION = 0.85
CROSS_CHECK_FRACTION = 0.001
QUANTIZATIONS: tuple[Literal["none", "8bit", "4bit"], ...] = ("none", "8bit", "4bit")


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model's files; `tensors` is empty where there are no safetensors headers."""

    model_id: str
    commit: str
    config: Mapping[str, Any]
    tensors: Sequence[Tensor]
    size_bytes: int
    num_parameters: int | None = None


@dataclass(frozen=True)
class _Weights:
    """One precision's weights, in bytes."""

    weights: int | None
    state: int | None
    fraction: float | None
    load_peak: int | None
    available: bool
    note: str | None


@dataclass(frozen=True)
class _Use:
    """What using the model takes besides its weights, in bytes; None is unknown."""

    segments: list[KvCacheSegment]
    kv_cache: int | None
    activations: int | None


class MemoryService:
    """Memory figures. Each exact answer is asked of the inspector once and then read from the database."""

    def __init__(self, database: Database) -> None:
        self.inspections = InspectionService(database)

    def estimate(
        self,
        checkpoint: Checkpoint,
        devices: Sequence[Device],
        *,
        context: int,
        batch: int,
        dtype: str,
        seconds: float = EXACT_SECONDS,
    ) -> MemoryEstimate:
        """Three options with a verdict for each device; waits at most `seconds` for exact figures."""
        deadline = time.monotonic() + seconds
        facts = read_config(checkpoint.config)
        own = facts.dtype or header_estimate.checkpoint_dtype(checkpoint.tensors)
        weights, parameters, load_dtype, reason = self._weights(
            checkpoint, facts.quantization_method, own, dtype, deadline
        )
        use = self._use(checkpoint, load_dtype, context, batch, deadline)
        return MemoryEstimate(
            model_id=checkpoint.model_id,
            commit=checkpoint.commit,
            method="exact" if reason is None else "approximate",
            method_reason=reason,
            num_parameters=parameters,
            dtype=load_dtype,
            kv_cache_segments=use.segments,
            context=context,
            batch=batch,
            options=[_option(name, weights[name], use, checkpoint.size_bytes, devices) for name in QUANTIZATIONS],
        )

    def options(self, checkpoint: Checkpoint, *, seconds: float) -> dict[str, int]:
        """The resident bytes of the loaded weights per precision; empty where the inspector cannot tell."""
        if not _is_computable(read_config(checkpoint.config).quantization_method):
            return {}
        try:
            memory = self._memory(checkpoint, "auto", seconds)
        except ModelyardError:
            return {}
        return {option["quantization"]: option["weights_bytes"] for option in memory["options"]}

    def _memory(self, checkpoint: Checkpoint, dtype: str, seconds: float) -> dict[str, Any]:
        return self.inspections.ask(
            "memory",
            checkpoint.model_id,
            checkpoint.commit,
            checkpoint.config,
            seconds=seconds,
            dtype=dtype,
            checkpoint_dtype=header_estimate.first_dtype(checkpoint.tensors),
        )

    def _weights(
        self, checkpoint: Checkpoint, method: str | None, own: str | None, dtype: str, deadline: float
    ) -> tuple[dict[str, _Weights], int | None, str | None, str | None]:
        """Weights per precision, parameters, load dtype, and why this is not exact (None when it is)."""
        load_dtype = own if dtype == "auto" else dtype
        counted = sum(tensor.elements for tensor in checkpoint.tensors) or checkpoint.num_parameters
        if method is not None:
            return (
                _already_quantized(checkpoint, method),
                counted,
                load_dtype,
                f"the weights are quantized already ({method})",
            )
        try:
            memory = self._memory(checkpoint, dtype, deadline - time.monotonic())
        except ModelyardError as error:
            reason = f"computed from the weight files' headers alone: {error.message.rstrip('.')}"
            return _from_headers(checkpoint, load_dtype), counted, load_dtype, reason
        weights = {
            option["quantization"]: _Weights(
                weights=option["weights_bytes"],
                state=option["quantization_state_bytes"],
                fraction=option["quantized_fraction"],
                load_peak=option["load_peak_bytes"],
                available=option["available"],
                note=option["note"],
            )
            for option in memory["options"]
        }
        return (
            weights,
            memory["num_parameters"],
            memory["dtype"],
            # Quantized tensors are packed: their elements are not parameters.
            _disagreement(checkpoint, memory["num_parameters"]) if method is None else None,
        )

    def _use(self, checkpoint: Checkpoint, load_dtype: str | None, context: int, batch: int, deadline: float) -> _Use:
        if load_dtype is None:
            return _Use([], None, None)
        segments, activations = [], None
        asked = (checkpoint.model_id, checkpoint.commit, checkpoint.config)
        try:
            answer = self.inspections.ask("kv_cache", *asked, seconds=deadline - time.monotonic(), dtype=load_dtype)
            segments = [KvCacheSegment(**segment) for segment in answer["segments"] or ()]
            activations = self.inspections.ask(
                "activations",
                *asked,
                seconds=deadline - time.monotonic(),
                dtype=load_dtype,
                batch=batch,
                sequence=context,
            )["activation_bytes"]
        except ModelyardError:
            segments = segments or header_estimate.kv_cache_segments(
                read_config(checkpoint.config).dimensions, checkpoint.config, load_dtype
            )
        kv_cache = kv_cache_bytes(segments, context) * batch if segments else None
        return _Use(segments, kv_cache, activations)


def _is_computable(method: str | None) -> bool:
    """Whether the inspector knows what a checkpoint stored this way takes in memory."""
    return method in (None, "bitsandbytes", "modelyard_4bit")


def kv_cache_bytes(segments: Sequence[KvCacheSegment], tokens: int) -> int:
    """Bytes of one sequence's cache at `tokens`: the last segment that begins before it, continued."""
    last = [segment for segment in segments if segment.from_tokens <= tokens][-1]
    return last.bytes_at_from + (tokens - last.from_tokens) * last.bytes_per_token


def _from_headers(checkpoint: Checkpoint, load_dtype: str | None) -> dict[str, _Weights]:
    if not checkpoint.tensors or load_dtype is None:
        note = "There are no safetensors headers to compute this from."
        return {name: _Weights(None, None, None, None, True, note) for name in QUANTIZATIONS}
    found = {name: header_estimate.weight_figures(checkpoint.tensors, name, load_dtype) for name in QUANTIZATIONS}
    return {
        name: _Weights(
            figures.weights_bytes, figures.quantization_state_bytes, figures.quantized_fraction, None, True, None
        )
        for name, figures in found.items()
    }


def _already_quantized(checkpoint: Checkpoint, method: str) -> dict[str, _Weights]:
    stored = sum(tensor.stored_bytes for tensor in checkpoint.tensors) or None
    as_stored = "As stored in the files; what the quantization's backend adds is not known."
    refused = f"The weights are quantized already ({method}) and cannot be quantized again."
    return {
        name: _Weights(stored, None, None, None, True, as_stored)
        if name == "none"
        else _Weights(None, None, None, None, False, refused)
        for name in QUANTIZATIONS
    }


def _disagreement(checkpoint: Checkpoint, described: int) -> str | None:
    """Why the files and the configuration do not describe the same model, or None."""
    held = sum(tensor.elements for tensor in checkpoint.tensors)
    if not held:
        return None
    dimensions = read_config(checkpoint.config).dimensions
    # Checkpoints may store a tied output embedding a second time.
    tied = (dimensions["vocab_size"] or 0) * (dimensions["hidden_size"] or 0)
    if min(abs(held - described), abs(held - tied - described)) <= CROSS_CHECK_FRACTION * described:
        return None
    return f"the weight files hold {held:,} parameters, the configuration describes {described:,}"


def _option(
    name: Literal["none", "8bit", "4bit"],
    weights: _Weights,
    use: _Use,
    size_bytes: int,
    devices: Sequence[Device],
) -> MemoryOption:
    total = None
    if weights.weights is not None:
        total = weights.weights + (use.kv_cache or 0) + (use.activations or 0)
    needed = None if total is None else max(total, weights.load_peak or 0)
    return MemoryOption(
        quantization=name,
        weights_bytes=weights.weights,
        quantization_state_bytes=weights.state,
        quantized_fraction=weights.fraction,
        kv_cache_bytes=use.kv_cache,
        activation_bytes=use.activations,
        # On a CPU a model adds nothing beside its tensors; what a GPU's context takes is not known before it is there.
        overhead_bytes=0 if all(device.id == "cpu" for device in devices) else None,
        total_bytes=total,
        load_peak_bytes=weights.load_peak,
        download_bytes=size_bytes,
        disk_bytes=size_bytes if name == "none" else weights.weights,
        available=weights.available,
        note=weights.note,
        verdicts=[_verdict(needed, device) for device in devices],
    )


def _verdict(needed: int | None, device: Device) -> Verdict:
    word: Literal["fits", "tight", "does_not_fit", "unknown"]
    if needed is None:
        word = "unknown"
    elif needed <= FITS_FRACTION * device.free_bytes:
        word = "fits"
    else:
        word = "tight" if needed <= device.free_bytes else "does_not_fit"
    return Verdict(device=device.id, verdict=word, free_bytes=device.free_bytes, total_bytes=device.total_bytes)
