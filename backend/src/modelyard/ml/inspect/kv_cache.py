"""The size of a model's KV cache or recurrent state, read off the cache that a forward pass on the meta device fills.

No formula: latent caches, sliding windows, chunks, convolution and state-space states are whatever the model's own code
puts there. Of blocks that are alike one or two are run, and what the last of them adds is counted for the others.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from modelyard.ml.inspect.dimensions import context_length
from modelyard.ml.inspect.layers import LayerKinds, few_kinds
from modelyard.ml.inspect.meta_forward import CannotRun, forward
from modelyard.ml.inspect.meta_model import MetaModel

# Where transformers' model outputs carry what the next step needs.
STATE_FIELDS = ("past_key_values", "cache_params", "state", "mems", "past_buckets_states")
# How settings are called that limit how far back a layer looks. Others only contain such words: `max_window_layers` is
# a number of layers, `sliding_window_pattern` the distance between two of them.
_WINDOW_NAMES = re.compile(r"(window|chunk|local)(_size|_length|_len)?\Z")
_MAX_PIECES = 24
_METER = "cache_meter"  # finding: what measures the caches of a skeleton
_RUN = 6  # consecutive lengths that show steps of four tokens
_DEFAULT_CONTEXT = 4096  # tokens, where the config names no limit
_SHORT, _LONGER = 24, 384  # tokens of the two probes that show whether length costs time
_LONGEST_PROBE = 32768  # tokens; code that walks over blocks of tokens gets slow beyond
_SECONDS_FOR_LONGEST = 0.5


class _NotLinear(Exception):
    """The size is not made of a few straight pieces."""


@dataclass(frozen=True)
class KvSegment:
    """From `from_tokens` on, one sequence's cache holds `bytes_at_from` and grows by `bytes_per_token`."""

    from_tokens: int
    bytes_at_from: int
    bytes_per_token: int


@dataclass(frozen=True)
class KvCache:
    """Segments for one sequence, or `None` with the reason. Above `checked_tokens` the last segment is extrapolated.

    `exact` is false where the cache grows in steps (compressed in blocks): the segments then run along the steps.
    """

    segments: tuple[KvSegment, ...] | None
    reason: str | None
    checked_tokens: int
    exact: bool


def measure_kv_cache(skeleton: MetaModel) -> KvCache:
    """Return the logical bytes of the cache of one sequence, for every length up to the model's context."""
    probe = _Probe(skeleton)
    try:
        if not probe(_SHORT):
            reason = "The model keeps no cache from one call to the next."
            return KvCache((KvSegment(0, 0, 0),), reason, _SHORT, exact=True)
        end = probe.affordable_length()
        marks = sorted({_SHORT, end, *(mark for mark in probe.window_marks() if 1 <= mark < end)})
        try:
            return KvCache(_segments(_straight_pieces(probe, marks)), None, end, exact=True)
        except _NotLinear:
            steps = sorted({*marks, *(end >> shift for shift in range(2, end.bit_length() - _SHORT.bit_length(), 4))})
            highest = accumulate((probe(tokens) for tokens in steps), max)
            return KvCache(_segments(dict(zip(steps, highest, strict=True)), rounded=True), None, end, exact=False)
    except CannotRun as error:
        return KvCache(None, str(error), 0, exact=False)


class CacheMeter:
    """The bytes of the cache that a prefill of a number of tokens fills."""

    def __init__(self, skeleton: MetaModel) -> None:
        self._skeleton = skeleton
        self.windows: set[int] = set()
        """Lengths of the sliding windows that the caches so far had."""
        self._own_tensors = {
            (id(module), name)
            for module in skeleton.model.modules()
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor)
        }
        self._kinds = few_kinds(skeleton)
        self._of_each = self._trusted(self._kinds)

    def bytes(self, tokens: int, *, batch: int = 1) -> int:
        """Return the bytes for `batch` sequences of `tokens` tokens. Raises `CannotRun`."""
        if self._kinds is None or not self._of_each:
            return self._run(tokens, batch)
        return self._from_few(self._kinds, self._of_each, set(range(len(self._kinds.layers))), tokens, batch)

    def _trusted(self, kinds: LayerKinds | None) -> int:
        """Count how few blocks of each kind tell what others from its middle and its end add to a short prompt's cache.

        0 where not even two do. Of some, the first also adds what all share.
        """
        if kinds is None:
            return 0
        some = {index for indices in kinds.kinds for index in (indices[0], indices[len(indices) // 2], indices[-1])}
        try:
            with kinds.running(some):
                seen = self._run(_SHORT, 1)
            return next((few for few in (1, 2) if self._from_few(kinds, few, some, _SHORT, 1) == seen), 0)
        except CannotRun:
            return 0

    def _from_few(self, kinds: LayerKinds, few: int, counted: Set[int], tokens: int, batch: int) -> int:
        """Sum what the `counted` blocks fill together: `few` of each kind are run, and the others count as the last."""
        lasts = {indices: indices[few - 1] for indices in kinds.kinds if len(indices) > few}
        with kinds.running(kinds.first(few)), _bytes_added(kinds.layers, list(lasts.values())) as added:
            total = self._run(tokens, batch)
        for indices, last in lasts.items():
            total += added[last] * (len(counted & set(indices)) - few)
        return total

    def _run(self, tokens: int, batch: int) -> int:
        outputs = forward(self._skeleton, batch=batch, sequence=tokens, use_cache=True)
        state = [getattr(outputs, name, None) for name in STATE_FIELDS]
        self.windows.update(_windows_of(state))
        return state_bytes(state) or self._take_state_from_modules()

    def _take_state_from_modules(self) -> int:
        """State that a model keeps in its own modules (RecurrentGemma), removed again for the next length."""
        total = 0
        for module in self._skeleton.model.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, torch.Tensor) and (id(module), name) not in self._own_tensors:
                    total += state_bytes(value)
                    setattr(module, name, None)
        return total


def cache_meter(skeleton: MetaModel) -> CacheMeter:
    """Return the one meter of a skeleton, so that its blocks are compared once."""
    meter: CacheMeter = skeleton.findings.setdefault(_METER, None) or CacheMeter(skeleton)
    skeleton.findings[_METER] = meter
    return meter


@contextmanager
def _bytes_added(layers: Sequence[nn.Module], indices: Sequence[int]) -> Iterator[dict[int, int]]:
    """By how many bytes the caches that some blocks receive grow in each of them; filled by a forward pass."""
    added: dict[int, int] = dict.fromkeys(indices, 0)

    def watching(index: int, sign: int) -> Callable[..., None]:
        def note(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *_output: Any) -> None:
            caches = [value for value in (*args, *kwargs.values()) if not isinstance(value, (torch.Tensor, tuple))]
            added[index] += sign * state_bytes(caches)

        return note

    handles = [layers[index].register_forward_pre_hook(watching(index, -1), with_kwargs=True) for index in indices]
    handles += [layers[index].register_forward_hook(watching(index, 1), with_kwargs=True) for index in indices]
    try:
        yield added
    finally:
        for handle in handles:
            handle.remove()


class _Probe:
    """Cache bytes of one sequence of n tokens, each length run once."""

    def __init__(self, skeleton: MetaModel) -> None:
        self._skeleton = skeleton
        self._meter = cache_meter(skeleton)
        self._known: dict[int, int] = {}
        self._seconds: dict[int, float] = {}

    def __call__(self, tokens: int) -> int:
        if tokens not in self._known:
            self._run(tokens)
        return self._known[tokens]

    def _run(self, tokens: int) -> None:
        started = time.thread_time()  # what else the machine does must not change an answer
        self._known[tokens] = self._meter.bytes(tokens)
        self._seconds[tokens] = time.thread_time() - started

    def known_between(self, low: int, high: int) -> int | None:
        """Return a length inside that was run already: as good as the middle to find a bend, and free."""
        return next((tokens for tokens in self._known if low < tokens < high), None)

    def affordable_length(self) -> int:
        """Return the context length, or less where the model's code loops over tokens in Python."""
        needed = max((2 * window for window in self._all_windows()), default=0)
        wanted = min(context_length(self._skeleton.config) or _DEFAULT_CONTEXT, max(_LONGEST_PROBE, needed))
        if wanted <= _LONGER:
            return max(wanted, _SHORT + 1)
        self(_LONGER)
        if self._seconds[_LONGER] >= 2 * self._seconds[_SHORT]:
            self._run(_LONGER)  # the first pass of a length takes longer
        if self._seconds[_LONGER] < 2 * self._seconds[_SHORT]:
            return wanted
        per_token = (self._seconds[_LONGER] - self._seconds[_SHORT]) / (_LONGER - _SHORT)
        return min(wanted, max(_LONGER, needed, int(_SECONDS_FOR_LONGEST / per_token)))

    def window_marks(self) -> Iterator[int]:
        """Lengths on both sides of every window the config or the cache names."""
        for window in self._all_windows():
            yield from (window - 2, window + 1)

    def _all_windows(self) -> set[int]:
        return self._meter.windows | set(_config_windows(self._skeleton.text_config.to_dict()))


def state_bytes(state: Any) -> int:
    """Return the bytes of all tensors reachable from a cache object, each once.

    The single numbers that it keeps its books with are left out.
    """
    tensors = _reachable(state, lambda value: isinstance(value, torch.Tensor) and value.dim() > 0)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _reachable(root: Any, wanted: Callable[[Any], bool]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    seen: set[int] = set()
    pending = [root]
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if wanted(value):
            found[id(value)] = value
        if isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            pending.extend(value)
        elif _is_cache_part(value):
            pending.extend(vars(value).values())
    return found


def _is_cache_part(value: Any) -> bool:
    """Objects of transformers' cache classes, but neither configs nor modules that they refer to."""
    return type(value).__module__.startswith("transformers.") and not isinstance(
        value, (PreTrainedConfig, nn.Module, type)
    )


def _windows_of(state: Any) -> Iterator[int]:
    for part in _reachable(state, _is_cache_part).values():
        window = getattr(part, "sliding_window", None)
        if isinstance(window, int):
            yield window


def _config_windows(values: Mapping[str, Any]) -> Iterator[int]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _config_windows(value)
        elif type(value) is int and value > 1 and _WINDOW_NAMES.search(str(key)):
            yield value


def _straight_pieces(probe: _Probe, marks: Sequence[int]) -> dict[int, int]:
    """Sizes at the ends of the straight pieces; a single bend moves every point between two ends off their line."""
    sizes = {marks[0]: probe(marks[0])}
    pending = list(pairwise(marks))
    while pending:
        low, high = pending.pop()
        middle = probe.known_between(low, high) or (low + high) // 2
        if middle == low or _on_line(low, middle, high, probe):
            sizes[high] = probe(high)
        elif high - low > _RUN and _grows_in_steps(probe, middle):
            raise _NotLinear
        else:
            pending += [(low, middle), (middle, high)]
        if len(sizes) + len(pending) > len(marks) + _MAX_PIECES:
            raise _NotLinear
    return sizes


def _grows_in_steps(probe: _Probe, tokens: int) -> bool:
    """Return whether the growth changes more than once within a few tokens; a bend changes it once."""
    sizes = [probe(tokens + offset) for offset in range(_RUN)]
    growth = [after - before for before, after in pairwise(sizes)]
    return sum(before != after for before, after in pairwise(growth)) > 1


def _on_line(low: int, middle: int, high: int, probe: _Probe) -> bool:
    rise = (probe(high) - probe(low)) * (middle - low)
    return rise == (probe(middle) - probe(low)) * (high - low)


def _segments(sizes: Mapping[int, int], *, rounded: bool = False) -> tuple[KvSegment, ...]:
    tokens = sorted(sizes)
    segments: list[KvSegment] = []
    for low, high in pairwise(tokens):
        slope, rest = divmod(sizes[high] - sizes[low], high - low)
        if rest and not rounded:
            raise _NotLinear
        slope += bool(rest)
        if segments and segments[-1].bytes_per_token == slope and not rounded:
            continue
        start = low if segments else 0
        segments.append(KvSegment(start, sizes[low] - (low - start) * slope, slope))
    return tuple(segments)
