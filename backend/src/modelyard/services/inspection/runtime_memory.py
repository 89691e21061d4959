"""What running a model takes besides its weights: the KV cache and the activations."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.schemas.memory import EstimateParts, KvCacheSegment
from modelyard.services.facts import header_estimate
from modelyard.services.facts.config_facts import read_config
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService, Kind
from modelyard.services.inspection.weight_memory import QUANTIZATIONS, FoundWeights, clause

LATE_SECONDS = 300.0
"""How long nobody waits again for the answer to a question that was not answered in time, unless there is much more
time for it. It is asked again by itself meanwhile."""

# The most that a part nobody could work out takes, in bytes; several times what ordinary models need.
_MOST_PER_TOKEN_AND_WIDTH = 512
_MOST_PER_SCORE = 8
_MOST_PER_LOGIT = 8
_MOST_STATE_PER_LAYER_AND_WIDTH = 1024


@dataclass(frozen=True)
class RuntimeMemory:
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
class _RecentTimeout:
    """A question that was not answered in time: for how many seconds it was waited for, and until when that counts."""

    failure: InspectionFailed
    seconds: float
    until: float


_recent_timeouts: dict[tuple[str, ...], _RecentTimeout] = {}


class RuntimeMemories:
    """Finds what running a model takes; what the inspector did not answer in time is not waited for again soon."""

    def __init__(self, inspections: InspectionService) -> None:
        self.inspections = inspections

    def find(
        self,
        checkpoint: Checkpoint,
        found: FoundWeights,
        context: int,
        batch: int,
        parts: EstimateParts,
        deadline: float,
    ) -> RuntimeMemory:
        """Return what `context` tokens in `batch` sequences take; `parts="weights"` leaves out what takes long."""
        if not any(option.available for option in found.options.values()):
            return RuntimeMemory([], None, {}, None)
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
        return RuntimeMemory(
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
        """Return the KV cache of one sequence, and what is to be said of it."""
        # The activations, asked for next, get the other half.
        seconds = (deadline - time.monotonic()) / 2
        try:
            answer = self._ask_unless_recent_timeout("kv_cache", checkpoint, seconds, dtype=dtype)
        except InspectionFailed as failure:
            segments = header_estimate.kv_cache_segments(
                read_config(checkpoint.config).dimensions, checkpoint.config, dtype
            )
            how = "computed from the configuration alone" if segments else "not known"
            return segments, _Remark(f"the KV cache is {how}: {clause(failure.message)}", failure.passing)
        if answer["segments"] is None:
            return [], _Remark(f"the KV cache is not known: {clause(answer['reason'])}")
        return [KvCacheSegment(**segment) for segment in answer["segments"]], None

    def _activations(
        self, checkpoint: Checkpoint, dtype: str, context: int, batch: int, deadline: float
    ) -> tuple[Mapping[str, int], _Remark | None]:
        """Return the activations' peak in each precision, and what is to be said of it."""
        seconds = deadline - time.monotonic()
        try:
            answer = self._ask_unless_recent_timeout(
                "activations",
                checkpoint,
                seconds,
                dtype=dtype,
                batch=batch,
                sequence=context,
                quantizations=list(QUANTIZATIONS[1:]),
            )
        except InspectionFailed as failure:
            return {}, _Remark(f"the activations are not known: {clause(failure.message)}", failure.passing)
        if answer["activation_bytes"] is None:
            return {}, _Remark(f"the activations are not known: {clause(answer['reason'])}")
        return {"none": answer["activation_bytes"], **answer["quantized_bytes"]}, None

    def _ask_unless_recent_timeout(
        self, kind: Kind, checkpoint: Checkpoint, seconds: float, **options: Any
    ) -> dict[str, Any]:
        """Ask as `InspectionService.ask` does, but do not wait again for what was not answered in time a moment ago."""
        now = time.monotonic()
        key = (checkpoint.model_id, checkpoint.commit, kind, *(f"{name}={options[name]}" for name in sorted(options)))
        late = _recent_timeouts.get(key)
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
                for old in [other for other, entry in list(_recent_timeouts.items()) if entry.until <= now]:
                    _recent_timeouts.pop(old, None)
                _recent_timeouts[key] = _RecentTimeout(failure, seconds, time.monotonic() + LATE_SECONDS)
            raise


def kv_cache_bytes(segments: Sequence[KvCacheSegment], tokens: int) -> int:
    """Return the bytes of one sequence's cache at `tokens`: the last segment that begins before it, continued."""
    last = [segment for segment in segments if segment.from_tokens <= tokens][-1]
    return last.bytes_at_from + (tokens - last.from_tokens) * last.bytes_per_token


def _unknown_at_most(
    checkpoint: Checkpoint, dtype: str | None, context: int, batch: int, *, cache: bool, rest: bool
) -> int | None:
    """Return a generous bound for a KV cache or activations (`rest`) that are not known; None where not even that is.

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
