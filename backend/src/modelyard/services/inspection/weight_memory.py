"""What a model's weights take in each precision: exact where the inspector can tell."""

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.core import units
from modelyard.core.errors import NeedsCustomCode, UnsupportedArchitecture
from modelyard.core.statuses import QuantizationName
from modelyard.services.facts import header_estimate
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.parameter_count import Count, Described
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService

QUANTIZATIONS: tuple[QuantizationName, ...] = ("none", "8bit", "4bit")

_NO = "unsupported"
_QUANTIZED_ALREADY = ("already_quantized", "unknown_quantization")


@dataclass(frozen=True)
class OptionWeights:
    """One precision's weights, in bytes. `at_most` is what they may take where that is not sure; None: nobody knows."""

    weights: int | None
    at_most: int | None
    note: str | None
    available: bool = True
    state: int | None = None
    fraction: float | None = None
    load_peak: int | None = None
    copy_peak: int | None = None

    def with_more(self, size_bytes: int) -> "OptionWeights":
        """Add what is loaded after the weights: an adapter."""

        def add(value: int | None) -> int | None:
            return None if value is None else value + size_bytes

        return replace(
            self,
            weights=add(self.weights),
            at_most=add(self.at_most),
            load_peak=add(self.load_peak),
            copy_peak=add(self.copy_peak),
        )


@dataclass(frozen=True)
class FoundWeights:
    """Every precision's weights, why they are not exact (None when they are), and what else is to be said of them.

    `may_improve`: the inspector had no time for them.
    """

    options: Mapping[str, OptionWeights]
    num_parameters: int | None
    dtype: str | None
    reason: str | None
    remark: str | None = None
    may_improve: bool = False

    def to_load(self, name: str, copies: Collection[str]) -> OptionWeights:
        """Return one precision's weights, whose load is that of a quantized copy where there is one."""
        option = self.options[name]
        return replace(option, load_peak=option.copy_peak or option.load_peak) if name in copies else option

    def with_more(self, size_bytes: int) -> "FoundWeights":
        """Add what is loaded together with the weights, in every precision."""
        return replace(self, options={name: option.with_more(size_bytes) for name, option in self.options.items()})


@dataclass(frozen=True)
class ExactFigures:
    """The resident bytes of the loaded weights per precision, none where that is in doubt, and the parameters."""

    weights_bytes: Mapping[str, int]
    num_parameters: int


class WeightMemory:
    """Finds what weights take; each exact answer is asked of the inspector once and then read from the database."""

    def __init__(self, inspections: InspectionService) -> None:
        self.inspections = inspections

    def find(self, checkpoint: Checkpoint, dtype: str, deadline: float) -> FoundWeights:
        """Return the weights as the inspector tells them; as stored where they are packed in a way it does not know."""
        from modelyard.ml.inspect.support import static_support, worth_building

        facts = read_config(checkpoint.config)
        own = facts.dtype or header_estimate.checkpoint_dtype(checkpoint.tensors)
        load_dtype = own if dtype == "auto" else dtype
        static = static_support(
            checkpoint.config or None,
            checkpoint.files,
            weights_problem=checkpoint.weights_problem,
            unscaled=checkpoint.unscaled,
        )
        refused = [reason for reason in static.reasons if reason.level == _NO]
        only_unseen = bool(refused) and all(reason.code == "no_weights" for reason in refused)
        if (static.level != _NO or only_unseen) and _is_computable(checkpoint.config):
            found = self._computed(checkpoint, asdict(static), dtype, load_dtype, deadline)
            # The configuration alone tells what the weights would take, but no file confirms it.
            if only_unseen and found.reason is None:
                why = f"computed from the configuration alone, no weights were seen: {clause(refused[0].message)}"
                found = replace(found, reason=why)
            return found
        verdict, may_improve = asdict(static), False
        if worth_building(static):
            try:
                verdict = self._support(checkpoint, deadline)
            except InspectionFailed as failure:
                may_improve = failure.passing
        found = _as_stored(checkpoint, verdict, load_dtype, verdict.get("num_parameters"))
        return replace(found, may_improve=may_improve)

    def exact(self, checkpoint: Checkpoint, *, dtype: str = "auto", seconds: float) -> ExactFigures | None:
        """Return what the inspector tells within `seconds`; None where it cannot."""
        if not _is_computable(checkpoint.config) or checkpoint.unscaled:
            return None
        try:
            memory = self._memory(checkpoint, dtype, seconds)
        except InspectionFailed:
            return None
        count = _count(checkpoint, memory)
        options = memory["options"] if count.doubt is None else []
        weights = {option["quantization"]: option["weights_bytes"] + count.untied_bytes for option in options}
        return ExactFigures(weights, count.num_parameters)

    def _memory(self, checkpoint: Checkpoint, dtype: str, seconds: float) -> dict[str, Any]:
        return self.inspections.ask(
            "memory",
            checkpoint.model_id,
            checkpoint.commit,
            checkpoint.config,
            seconds=seconds,
            dtype=dtype,
            checkpoint_dtype=header_estimate.first_dtype(checkpoint.tensors),
            held=checkpoint.held,
        )

    def _computed(
        self, checkpoint: Checkpoint, static: Mapping[str, Any], dtype: str, load_dtype: str | None, deadline: float
    ) -> FoundWeights:
        """Return the inspector's answer; without one, what the headers tell."""
        packed = read_config(checkpoint.config).quantization_method is not None
        try:
            memory = self._memory(checkpoint, dtype, deadline - time.monotonic())
        except InspectionFailed as failure:
            held = sum(tensor.elements for tensor in checkpoint.tensors) or checkpoint.num_parameters
            if failure.reason_code in (UnsupportedArchitecture.code, NeedsCustomCode.code):
                try:
                    verdict = self._support(checkpoint, deadline)
                except InspectionFailed:
                    verdict = {"reasons": [{"code": failure.reason_code, "message": failure.message, "level": _NO}]}
                return _as_stored(checkpoint, verdict, load_dtype, held)
            why = f"computed from the weight files' headers alone: {clause(failure.message)}"
            if packed:
                found = replace(_as_stored(checkpoint, static, load_dtype, None), reason=why)
            else:
                found = FoundWeights(_from_headers(checkpoint, load_dtype), held, load_dtype, why)
            return replace(found, may_improve=failure.passing)
        count = _count(checkpoint, memory)
        options = {option["quantization"]: _as_computed(option, count.untied_bytes) for option in memory["options"]}
        return FoundWeights(options, count.num_parameters, memory["dtype"], count.doubt, count.left_out)

    def _support(self, checkpoint: Checkpoint, deadline: float) -> dict[str, Any]:
        """Return what the preview tells of whether the model can be loaded here. Raises InspectionFailed."""
        return self.inspections.ask(
            "support",
            checkpoint.model_id,
            checkpoint.commit,
            checkpoint.config,
            seconds=deadline - time.monotonic(),
            files=list(checkpoint.files),
            held=checkpoint.held,
        )


def clause(sentence: str) -> str:
    """Return a sentence as the end of another one."""
    return sentence.rstrip(".")


def _is_computable(config: Mapping[str, Any]) -> bool:
    """Return whether the inspector knows what a checkpoint stored this way takes in memory."""
    method = read_config(config).quantization_method
    if method is None:
        return True
    # It does not look into the parts of a configuration.
    return method in ("bitsandbytes", "modelyard_4bit") and "quantization_config" in config


def _from_headers(checkpoint: Checkpoint, load_dtype: str | None) -> dict[str, OptionWeights]:
    if not checkpoint.tensors or load_dtype is None:
        note = "There are no safetensors headers to compute this from."
        return {name: OptionWeights(None, None, note) for name in QUANTIZATIONS}
    found = {name: header_estimate.weight_figures(checkpoint.tensors, name, load_dtype) for name in QUANTIZATIONS}
    return {
        name: OptionWeights(
            weights=figures.weights_bytes,
            at_most=figures.weights_bytes,
            note=None,
            state=figures.quantization_state_bytes,
            fraction=figures.quantized_fraction,
        )
        for name, figures in found.items()
    }


def _as_stored(
    checkpoint: Checkpoint, verdict: Mapping[str, Any], load_dtype: str | None, num_parameters: int | None
) -> FoundWeights:
    """Weights that cannot be loaded here, or that are quantized already, in the words of the preview's verdict."""
    from modelyard.ml.inspect.support import growth_when_loaded

    stored = _stored_bytes(checkpoint)
    refusal = next((reason["message"] for reason in verdict["reasons"] if reason["level"] == _NO), None)
    if refusal is not None:
        unloadable: dict[str, OptionWeights] = {
            name: OptionWeights(stored if name == "none" else None, None, refusal, available=False)
            for name in QUANTIZATIONS
        }
        return FoundWeights(unloadable, num_parameters, load_dtype, clause(refusal))
    method = read_config(checkpoint.config).quantization_method
    sentence = next(
        (reason["message"] for reason in verdict["reasons"] if reason["code"] in _QUANTIZED_ALREADY),
        f"The weights are quantized already ({method}) and cannot be quantized again.",
    )
    unpacked = verdict.get("unpacked_bytes")
    growth = 1 if _is_computable(checkpoint.config) else growth_when_loaded(method)
    at_most = unpacked
    if at_most is None and stored is not None and growth is not None:
        at_most = growth * stored
    figure = "The figure is the size of the stored weights"
    figure += "." if unpacked is None else f"; unpacked they take {units.size(unpacked)}."
    options = {
        "none": OptionWeights(stored, at_most, f"{sentence} {figure}"),
        **{name: OptionWeights(None, None, sentence, available=False) for name in ("8bit", "4bit")},
    }
    return FoundWeights(options, num_parameters, load_dtype, clause(sentence))


def _stored_bytes(checkpoint: Checkpoint) -> int | None:
    return sum(tensor.stored_bytes for tensor in checkpoint.tensors) or None


def _count(checkpoint: Checkpoint, memory: Mapping[str, Any]) -> Count:
    described = Described.of(memory)
    assert described is not None  # noqa: S101 - every answer on memory counts them
    return checkpoint.count(described)


def _as_computed(option: Mapping[str, Any], untied_bytes: int) -> OptionWeights:
    """Return one precision as the inspector tells it, and parameters besides that are not tied after all."""
    copy_peak = option.get("copy_peak_bytes")  # answers that were remembered before lack it
    return OptionWeights(
        weights=option["weights_bytes"] + untied_bytes,
        at_most=option["weights_bytes"] + untied_bytes,
        state=option["quantization_state_bytes"],
        fraction=option["quantized_fraction"],
        load_peak=option["load_peak_bytes"] + untied_bytes,
        copy_peak=None if copy_peak is None else copy_peak + untied_bytes,
        available=option["available"],
        note=option["note"],
    )
