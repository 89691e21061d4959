"""What a model needs in each precision, and whether that fits this machine: exact where the inspector can tell."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from modelyard.core import units
from modelyard.core.database import Database
from modelyard.core.errors import NeedsCustomCode, UnsupportedArchitecture
from modelyard.core.safetensors_header import QUANTIZATION_FILE, unscaled_tensor
from modelyard.schemas.memory import EstimateParts, FastDtype, KvCacheSegment, MemoryEstimate, MemoryOption, Verdict
from modelyard.schemas.system import Device
from modelyard.services.facts import header_estimate
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.parameter_count import Compare, Count, Described, count_parameters
from modelyard.services.inspection.fast_dtype import fast_dtype
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService, Kind

EXACT_SECONDS = 20.0
"""How long an answer may wait for the inspector; then it is approximate and says why."""

LATE_SECONDS = 300.0
"""How long nobody waits again for the answer to a question that was not answered in time, unless there is much more
time for it. It is asked again by itself meanwhile."""

FITS_FRACTION = 0.85
QUANTIZATIONS: tuple[Literal["none", "8bit", "4bit"], ...] = ("none", "8bit", "4bit")

_NO = "unsupported"
_QUANTIZED_ALREADY = ("already_quantized", "unknown_quantization")

# The most that a part nobody could work out takes, in bytes; several times what ordinary models need.
_MOST_PER_TOKEN_AND_WIDTH = 512
_MOST_PER_SCORE = 8
_MOST_PER_LOGIT = 8
_MOST_STATE_PER_LAYER_AND_WIDTH = 1024


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model's files; `tensors` is empty where there are no safetensors headers.

    `files` are the names of all of them. `config` is empty where there is no config.json.
    """

    model_id: str
    commit: str
    config: Mapping[str, Any]
    tensors: Sequence[Tensor]
    size_bytes: int
    files: Sequence[str]
    num_parameters: int | None = None
    weights_problem: str | None = None
    """Why its weight files are not a whole checkpoint."""
    same: Compare = field(default=lambda _first, _second: None, compare=False, repr=False)
    """Whether two of the tensors have the same content."""

    def count(self, described: Described) -> Count:
        """The parameters of the loaded model, where the configuration describes that many."""
        facts = read_config(self.config)
        if facts.quantization_method is not None:
            return Count(described.num_parameters)  # quantized tensors are packed: their elements are not parameters
        return count_parameters(described, self.tensors, facts.dimensions["num_layers"], self.same)

    @property
    def held(self) -> int | None:
        """The parameters in the weight files; None where they are packed, or nobody knows."""
        if read_config(self.config).quantization_method is not None:
            return None
        return sum(tensor.elements for tensor in self.tensors) or self.num_parameters

    @property
    def unscaled(self) -> str | None:
        """What shows that the weights are quantized while the configuration does not say so, or None."""
        if read_config(self.config).quantization_method is not None:
            return None
        if QUANTIZATION_FILE in self.files:
            return QUANTIZATION_FILE
        return unscaled_tensor((tensor.name, tensor.dtype) for tensor in self.tensors)


@dataclass(frozen=True)
class _Weights:
    """One precision's weights, in bytes. `at_most` is what they may take where that is not sure; None: nobody knows."""

    weights: int | None
    at_most: int | None
    note: str | None
    available: bool = True
    state: int | None = None
    fraction: float | None = None
    load_peak: int | None = None
    copy_peak: int | None = None


@dataclass(frozen=True)
class _Found:
    """Every precision's weights, why they are not exact (None when they are), and what else is to be said of them.

    `may_improve`: the inspector had no time for them.
    """

    options: Mapping[str, _Weights]
    num_parameters: int | None
    dtype: str | None
    reason: str | None
    remark: str | None = None
    may_improve: bool = False

    def to_load(self, name: str, copies: Collection[str]) -> _Weights:
        """One precision's weights, whose load is that of a quantized copy where there is one."""
        option = self.options[name]
        return replace(option, load_peak=option.copy_peak or option.load_peak) if name in copies else option


@dataclass(frozen=True)
class ExactFigures:
    """The resident bytes of the loaded weights per precision, none where that is in doubt, and the parameters."""

    weights_bytes: Mapping[str, int]
    num_parameters: int


@dataclass(frozen=True)
class _Use:
    """What using the model takes besides its weights, in bytes; None is unknown.

    `activations` are those of each precision, none if unknown. `unknown_at_most` is a generous bound for what is
    unknown, or None. `remarks` tell what is unknown or approximate, `may_improve` whether that is because the inspector
    had no time for it.
    """

    segments: list[KvCacheSegment]
    kv_cache: int | None
    activations: Mapping[str, int]
    unknown_at_most: int | None
    remarks: tuple[str, ...] = ()
    may_improve: bool = False


class _Remark(NamedTuple):
    """What is unknown or approximate and why, and whether another attempt may change that."""

    text: str
    may_improve: bool = False


@dataclass(frozen=True)
class _Late:
    """A question that was not answered in time: for how many seconds it was waited for, and until when that counts."""

    failure: InspectionFailed
    seconds: float
    until: float


_late: dict[tuple[str, ...], _Late] = {}


class MemoryService:
    """Memory figures. Each exact answer is asked of the inspector once and then read from the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.inspections = InspectionService(database)

    def estimate(
        self,
        checkpoint: Checkpoint,
        devices: Sequence[Device],
        *,
        context: int,
        batch: int,
        dtype: str,
        parts: EstimateParts = "all",
        seconds: float = EXACT_SECONDS,
        copies: Collection[str] = (),
    ) -> MemoryEstimate:
        """Three options with a verdict for each device; waits at most `seconds` for exact figures.

        A context beyond the model's own limit counts as that limit. `parts="weights"` leaves out the KV cache and the
        activations, which take longest to find. `copies` are the precisions of which a quantized copy is here: loading
        one takes less than making it.
        """
        deadline = time.monotonic() + seconds
        facts = read_config(checkpoint.config)
        context = min(context, facts.dimensions["max_position_embeddings"] or context)
        found = self._weights(checkpoint, dtype, deadline)
        use = self._use(checkpoint, found, context, batch, parts, deadline)
        faster, more = self._faster(checkpoint, found, devices, dtype, deadline)
        remarks = [remark for remark in (found.reason, found.remark, *use.remarks) if remark is not None]
        return MemoryEstimate(
            model_id=checkpoint.model_id,
            commit=checkpoint.commit,
            method="exact" if found.reason is None else "approximate",
            method_reason="; ".join(remarks) or None,
            may_improve=found.may_improve or use.may_improve,
            num_parameters=found.num_parameters,
            dtype=found.dtype,
            fast_dtype=faster,
            kv_cache_segments=use.segments,
            context=context,
            batch=batch,
            options=[
                _option(name, found.to_load(name, copies), use, checkpoint.size_bytes, devices, more.get(name))
                for name in QUANTIZATIONS
            ],
        )

    def _faster(
        self, checkpoint: Checkpoint, found: _Found, devices: Sequence[Device], dtype: str, deadline: float
    ) -> tuple[FastDtype | None, dict[str, int]]:
        """The dtype in which this host is faster than as stored, and how much more each precision takes in it."""
        if dtype != "auto" or not any(option.available for option in found.options.values()):
            return None, {}
        faster = fast_dtype(self.database, found.dtype, devices, seconds=deadline - time.monotonic())
        if faster is None:
            return None, {}
        wanted = self.options(checkpoint, dtype=faster.dtype, seconds=deadline - time.monotonic())
        return faster, {
            name: wanted[name] - option.weights
            for name, option in found.options.items()
            if option.weights is not None and name in wanted
        }

    def exact(self, checkpoint: Checkpoint, *, dtype: str = "auto", seconds: float) -> ExactFigures | None:
        """What the inspector tells within `seconds`; None where it cannot."""
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

    def options(self, checkpoint: Checkpoint, *, dtype: str = "auto", seconds: float) -> Mapping[str, int]:
        """The resident bytes of the weights loaded in `dtype` per precision; empty where not known exactly."""
        found = self.exact(checkpoint, dtype=dtype, seconds=seconds)
        return {} if found is None else found.weights_bytes

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

    def _weights(self, checkpoint: Checkpoint, dtype: str, deadline: float) -> _Found:
        """The weights as the inspector tells them; as stored where they are packed in a way it does not know."""
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
                why = f"computed from the configuration alone, no weights were seen: {_clause(refused[0].message)}"
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

    def _computed(
        self, checkpoint: Checkpoint, static: Mapping[str, Any], dtype: str, load_dtype: str | None, deadline: float
    ) -> _Found:
        """The inspector's answer; without one, what the headers tell."""
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
            why = f"computed from the weight files' headers alone: {_clause(failure.message)}"
            if packed:
                found = replace(_as_stored(checkpoint, static, load_dtype, None), reason=why)
            else:
                found = _Found(_from_headers(checkpoint, load_dtype), held, load_dtype, why)
            return replace(found, may_improve=failure.passing)
        count = _count(checkpoint, memory)
        options = {option["quantization"]: _as_computed(option, count.untied_bytes) for option in memory["options"]}
        return _Found(options, count.num_parameters, memory["dtype"], count.doubt, count.left_out)

    def _support(self, checkpoint: Checkpoint, deadline: float) -> dict[str, Any]:
        """What the preview tells of whether the model can be loaded here. Raises InspectionFailed."""
        return self.inspections.ask(
            "support",
            checkpoint.model_id,
            checkpoint.commit,
            checkpoint.config,
            seconds=deadline - time.monotonic(),
            files=list(checkpoint.files),
            held=checkpoint.held,
        )

    def _use(
        self, checkpoint: Checkpoint, found: _Found, context: int, batch: int, parts: EstimateParts, deadline: float
    ) -> _Use:
        if not any(option.available for option in found.options.values()):
            return _Use([], None, {}, None)
        segments: list[KvCacheSegment] = []
        activations: Mapping[str, int] = {}
        remarks = list[_Remark]()
        if found.dtype is None:
            remarks.append(_Remark("the KV cache and the activations are not known: nothing tells the dtype"))
        elif parts == "all":
            segments, remark = self._segments(checkpoint, found.dtype, deadline)
            activations, other = self._activations(checkpoint, found.dtype, context, batch, deadline)
            remarks = [remark for remark in (remark, other) if remark is not None]
        kv_cache = kv_cache_bytes(segments, context) * batch if segments else None
        bound = _unknown_at_most(checkpoint, found.dtype, context, batch, cache=not segments, rest=not activations)
        return _Use(
            segments,
            kv_cache,
            activations,
            bound,
            remarks=tuple(remark.text for remark in remarks),
            may_improve=any(remark.may_improve for remark in remarks),
        )

    def _segments(
        self, checkpoint: Checkpoint, dtype: str, deadline: float
    ) -> tuple[list[KvCacheSegment], _Remark | None]:
        """The KV cache of one sequence, and what is to be said of it."""
        # The activations, asked for next, get the other half.
        seconds = (deadline - time.monotonic()) / 2
        try:
            answer = self._ask_unless_late("kv_cache", checkpoint, seconds, dtype=dtype)
        except InspectionFailed as failure:
            segments = header_estimate.kv_cache_segments(
                read_config(checkpoint.config).dimensions, checkpoint.config, dtype
            )
            how = "computed from the configuration alone" if segments else "not known"
            return segments, _Remark(f"the KV cache is {how}: {_clause(failure.message)}", failure.passing)
        if answer["segments"] is None:
            return [], _Remark(f"the KV cache is not known: {_clause(answer['reason'])}")
        return [KvCacheSegment(**segment) for segment in answer["segments"]], None

    def _activations(
        self, checkpoint: Checkpoint, dtype: str, context: int, batch: int, deadline: float
    ) -> tuple[Mapping[str, int], _Remark | None]:
        """The activations' peak in each precision, and what is to be said of it."""
        seconds = deadline - time.monotonic()
        try:
            answer = self._ask_unless_late(
                "activations",
                checkpoint,
                seconds,
                dtype=dtype,
                batch=batch,
                sequence=context,
                quantizations=list(QUANTIZATIONS[1:]),
            )
        except InspectionFailed as failure:
            return {}, _Remark(f"the activations are not known: {_clause(failure.message)}", failure.passing)
        if answer["activation_bytes"] is None:
            return {}, _Remark(f"the activations are not known: {_clause(answer['reason'])}")
        return {"none": answer["activation_bytes"], **answer["quantized_bytes"]}, None

    def _ask_unless_late(self, kind: Kind, checkpoint: Checkpoint, seconds: float, **options: Any) -> dict[str, Any]:
        """As `InspectionService.ask`, but what was not answered in time a moment ago is not waited for again."""
        now = time.monotonic()
        key = (checkpoint.model_id, checkpoint.commit, kind, *(f"{name}={options[name]}" for name in sorted(options)))
        late = _late.get(key)
        if (
            late is not None
            and now < late.until
            and seconds < 3 * late.seconds
            and not self.inspections.is_known(
                kind, checkpoint.model_id, checkpoint.commit, held=checkpoint.held, **options
            )
        ):
            raise InspectionFailed(late.failure.reason_code, late.failure.message, late.failure.hint)
        try:
            return self.inspections.ask(
                kind,
                checkpoint.model_id,
                checkpoint.commit,
                checkpoint.config,
                seconds=seconds,
                held=checkpoint.held,
                **options,
            )
        except InspectionFailed as failure:
            if failure.reason_code == "inspector_timeout":
                for old in [other for other, entry in list(_late.items()) if entry.until <= now]:
                    _late.pop(old, None)
                _late[key] = _Late(failure, seconds, time.monotonic() + LATE_SECONDS)
            raise


def _clause(sentence: str) -> str:
    """A sentence as the end of another one."""
    return sentence.rstrip(".")


def _is_computable(config: Mapping[str, Any]) -> bool:
    """Whether the inspector knows what a checkpoint stored this way takes in memory."""
    method = read_config(config).quantization_method
    if method is None:
        return True
    # It does not look into the parts of a configuration.
    return method in ("bitsandbytes", "modelyard_4bit") and "quantization_config" in config


def kv_cache_bytes(segments: Sequence[KvCacheSegment], tokens: int) -> int:
    """Bytes of one sequence's cache at `tokens`: the last segment that begins before it, continued."""
    last = [segment for segment in segments if segment.from_tokens <= tokens][-1]
    return last.bytes_at_from + (tokens - last.from_tokens) * last.bytes_per_token


def _from_headers(checkpoint: Checkpoint, load_dtype: str | None) -> dict[str, _Weights]:
    if not checkpoint.tensors or load_dtype is None:
        note = "There are no safetensors headers to compute this from."
        return {name: _Weights(None, None, note) for name in QUANTIZATIONS}
    found = {name: header_estimate.weight_figures(checkpoint.tensors, name, load_dtype) for name in QUANTIZATIONS}
    return {
        name: _Weights(
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
) -> _Found:
    """Weights that cannot be loaded here, or that are quantized already, in the words of the preview's verdict."""
    from modelyard.ml.inspect.support import growth_when_loaded

    stored = _stored_bytes(checkpoint)
    refusal = next((reason["message"] for reason in verdict["reasons"] if reason["level"] == _NO), None)
    if refusal is not None:
        unloadable: dict[str, _Weights] = {
            name: _Weights(stored if name == "none" else None, None, refusal, available=False) for name in QUANTIZATIONS
        }
        return _Found(unloadable, num_parameters, load_dtype, _clause(refusal))
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
        "none": _Weights(stored, at_most, f"{sentence} {figure}"),
        **{name: _Weights(None, None, sentence, available=False) for name in ("8bit", "4bit")},
    }
    return _Found(options, num_parameters, load_dtype, _clause(sentence))


def _stored_bytes(checkpoint: Checkpoint) -> int | None:
    return sum(tensor.stored_bytes for tensor in checkpoint.tensors) or None


def _unknown_at_most(
    checkpoint: Checkpoint, dtype: str | None, context: int, batch: int, *, cache: bool, rest: bool
) -> int | None:
    """A generous bound for a KV cache or activations (`rest`) that are not known; None where not even that is.

    The cache is taken to be that of full attention with all heads, plus a recurrent state; of activations the widest
    layer, every score of attention and every logit are taken to be held at once.
    """
    dimensions = read_config(checkpoint.config).dimensions
    hidden, layers, heads = (dimensions[name] for name in ("hidden_size", "num_layers", "num_attention_heads"))
    bound = 0
    if (cache or rest) and (hidden is None or layers is None or dtype not in header_estimate.LOAD_BYTES):
        return None
    width = max(hidden or 0, (heads or 0) * (dimensions["head_dim"] or 0))
    if cache and layers is not None and dtype is not None:
        bound += 2 * layers * width * header_estimate.LOAD_BYTES[dtype] * context * batch
        bound += layers * width * _MOST_STATE_PER_LAYER_AND_WIDTH * batch
    if rest:
        per_token = width * _MOST_PER_TOKEN_AND_WIDTH + (dimensions["vocab_size"] or 0) * _MOST_PER_LOGIT
        bound += (per_token + (heads or 0) * context * _MOST_PER_SCORE) * context * batch
    return bound


def _count(checkpoint: Checkpoint, memory: Mapping[str, Any]) -> Count:
    described = Described.of(memory)
    assert described is not None  # noqa: S101 - every answer on memory counts them
    return checkpoint.count(described)


def _as_computed(option: Mapping[str, Any], untied_bytes: int) -> _Weights:
    """One precision as the inspector tells it, and parameters besides that are not tied after all."""
    copy_peak = option.get("copy_peak_bytes")  # answers that were remembered before lack it
    return _Weights(
        weights=option["weights_bytes"] + untied_bytes,
        at_most=option["weights_bytes"] + untied_bytes,
        state=option["quantization_state_bytes"],
        fraction=option["quantized_fraction"],
        load_peak=option["load_peak_bytes"] + untied_bytes,
        copy_peak=None if copy_peak is None else copy_peak + untied_bytes,
        available=option["available"],
        note=option["note"],
    )


def _option(
    name: Literal["none", "8bit", "4bit"],
    weights: _Weights,
    use: _Use,
    size_bytes: int,
    devices: Sequence[Device],
    fast_dtype_bytes: int | None,
) -> MemoryOption:
    activations = use.activations.get(name)
    known = None
    if weights.weights is not None:
        known = weights.weights + (use.kv_cache or 0) + (activations or 0)
    at_most = None
    if weights.at_most is not None and use.unknown_at_most is not None:
        at_most = weights.at_most + (use.kv_cache or 0) + (activations or 0) + use.unknown_at_most
    partial = None in (use.kv_cache, activations) or weights.weights != weights.at_most
    return MemoryOption(
        quantization=name,
        weights_bytes=weights.weights,
        quantization_state_bytes=weights.state,
        quantized_fraction=weights.fraction,
        kv_cache_bytes=use.kv_cache,
        activation_bytes=activations,
        # On a CPU a model adds nothing beside its tensors; what a GPU's context takes is not known before it is there.
        overhead_bytes=0 if all(device.id == "cpu" for device in devices) else None,
        total_bytes=known,
        total_is_lower_bound=known is not None and partial,
        load_peak_bytes=weights.load_peak,
        download_bytes=size_bytes,
        disk_bytes=size_bytes if name == "none" else weights.weights,
        fast_dtype_bytes=fast_dtype_bytes,
        available=weights.available,
        note=weights.note,
        verdicts=[
            _verdict(known, at_most, weights.load_peak or 0, device) if weights.available else _no_verdict(device)
            for device in devices
        ],
    )


def _verdict(known: int | None, at_most: int | None, load_peak: int, device: Device) -> Verdict:
    """`fits` and `tight` are said of the most that it may take, `does_not_fit` of the least that it takes."""
    word: Literal["fits", "tight", "does_not_fit", "unknown"] = "unknown"
    if known is not None and max(known, load_peak) > device.free_bytes:
        word = "does_not_fit"
    elif at_most is not None and max(at_most, load_peak) <= device.free_bytes:
        word = "fits" if max(at_most, load_peak) <= FITS_FRACTION * device.free_bytes else "tight"
    return Verdict(device=device.id, verdict=word, free_bytes=device.free_bytes, total_bytes=device.total_bytes)


def _no_verdict(device: Device) -> Verdict:
    return Verdict(device=device.id, verdict="unknown", free_bytes=device.free_bytes, total_bytes=device.total_bytes)
