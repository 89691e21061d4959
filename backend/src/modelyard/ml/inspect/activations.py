"""The most memory a forward pass holds beside the weights, measured on the meta device.

Every tensor a real eager pass would allocate is made here too, with its size but no memory behind it; we watch them
come and go. Of blocks that are alike, two are run and the others counted; so are the turns of a loop over tokens. Fused
attention counts as a flash kernel, which needs no score matrix. Not covered are a kernel's own workspace, allocator
rounding and what torch.compile changes.

A quantized matrix needs more for the moment of its product, counted as bitsandbytes does it on this machine's CPU: in
4bit the matrix exists once more unpacked, in 8bit inputs are rounded and results scaled in wider dtypes (less so on a
GPU), and the matrix exists once more in float32, unless the CPU has kernels that need none of these copies.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from modelyard.ml.inspect.kv_cache import STATE_FIELDS, cache_meter, state_bytes
from modelyard.ml.inspect.layers import LayerKinds, few_kinds
from modelyard.ml.inspect.meta_forward import CannotRun, forward
from modelyard.ml.inspect.meta_model import MetaModel
from modelyard.ml.loading.cpu_kernels import CpuKernels, cpu_kernels
from modelyard.ml.quantize.quantization_plan import BLOCK, INT8, PACKING_METHOD, plan_quantization, stored_scheme

Held = Callable[[int, int], int]
"""Bytes that one product holds beside its input and its result, by the numbers of elements in these."""


@dataclass(frozen=True)
class Activations:
    """`activation_bytes` is the peak less the `kv_cache_bytes` that stay; `None` with a reason if unknown.

    `quantized_bytes` is what it is with the weights quantized on loading, by the name of the quantization.
    """

    activation_bytes: int | None
    quantized_bytes: Mapping[str, int]
    kv_cache_bytes: int | None
    reason: str | None


def measure_activations(
    skeleton: MetaModel,
    *,
    batch: int,
    sequence: int,
    all_logits: bool = False,
    use_cache: bool = True,
    quantizations: Sequence[str] = (),
    kernels: CpuKernels | None = None,
) -> Activations:
    """Return the peak of one prefill of `batch` sequences of `sequence` tokens, and that of each of `quantizations`.

    As in generation, logits are computed for the last position only where the model can do that, unless `all_logits`.
    `kernels` are those of this machine unless others are given.
    """
    kernels = kernels or cpu_kernels()
    arguments: dict[str, Any] = {"use_cache": use_cache}
    if not all_logits:
        arguments["logits_to_keep"] = 1
    held = _held_as_loaded(skeleton, kernels), {name: _held_by(skeleton, name, kernels) for name in quantizations}
    try:
        kinds = few_kinds(skeleton)
        if kinds is None:
            live, cache = _whole_pass(skeleton, held, batch, sequence, arguments)
        else:
            live, cache = _short_pass(skeleton, kinds, held, batch, sequence, arguments)
    except CannotRun as error:
        return Activations(None, {}, None, str(error))
    as_loaded, *quantized = (max(peak - cache, 0) for peak in live.peaks)
    return Activations(as_loaded, dict(zip(quantizations, quantized, strict=True)), cache, None)


def _whole_pass(
    skeleton: MetaModel, held: "_HeldByProducts", batch: int, sequence: int, arguments: Mapping[str, Any]
) -> tuple["_LiveBytes", int]:
    with _LiveBytes(*held) as live:
        outputs = forward(skeleton, batch=batch, sequence=sequence, on_skip=live.skip, **arguments)
        live.stop()
    return live, state_bytes([getattr(outputs, name, None) for name in STATE_FIELDS])


def _short_pass(
    skeleton: MetaModel,
    kinds: LayerKinds,
    held: "_HeldByProducts",
    batch: int,
    sequence: int,
    arguments: Mapping[str, Any],
) -> tuple["_LiveBytes", int]:
    """Run two blocks of each kind; the others add what the second of their kind left behind."""
    with _LiveBytes(*held) as live, kinds.running(kinds.first(2), on_entry=live.enter_layer):
        outputs = forward(skeleton, batch=batch, sequence=sequence, on_skip=live.skip, **arguments)
        live.stop()
    cache = state_bytes([getattr(outputs, name, None) for name in STATE_FIELDS])
    return live, cache_meter(skeleton).bytes(sequence, batch=batch) if cache else 0


def _held_as_loaded(skeleton: MetaModel, kernels: CpuKernels) -> "_Products":
    """Nothing, unless the checkpoint is quantized already."""
    section = skeleton.stored_quantization
    scheme = None if section is None else stored_scheme(section)
    if section is None or scheme is None:
        return _Products({})
    packed = section.get("quant_method") == PACKING_METHOD
    skip_modules = section.get("llm_int8_skip_modules")
    return _products(skeleton, scheme.name, kernels, packed=packed, skip_modules=skip_modules)


def _held_by(skeleton: MetaModel, quantization: str, kernels: CpuKernels) -> "_Products":
    return _products(skeleton, quantization, kernels, packed=quantization != INT8.name)


@dataclass(frozen=True)
class _Products:
    """What the products with quantized matrices hold, by the identity of the matrix's storage.

    `unseen` is what a product with one packed expert holds: on the meta device the experts' products are one kernel.
    `left` is what the first products leave behind for good.
    """

    held: Mapping[int, Held]
    unseen: int = 0
    left: int = 0


def _products(
    skeleton: MetaModel,
    quantization: str,
    kernels: CpuKernels,
    *,
    packed: bool,
    skip_modules: Sequence[str] | None = None,
) -> _Products:
    plan = plan_quantization(skeleton.model, skip_modules=skip_modules)
    if packed:
        plan = plan.with_packing()
    parameters = dict(skeleton.model.named_parameters())
    matrices = {id(parameters[name].untyped_storage()): parameters[name] for name in plan.quantized}
    if quantization == INT8.name:
        return _Products({storage: _held_in_8bit(matrix, kernels) for storage, matrix in matrices.items()})
    held = {storage: _held_in_4bit(matrix, kernels) for storage, matrix in matrices.items()}
    experts = [parameters[name] for name in plan.packed]
    unseen = [_unpacked_bytes(expert.shape[1:].numel(), expert.element_size()) for expert in experts]
    # Repacked, a block has its scale in bfloat16 instead of one more byte.
    left = sum(matrix.numel() // BLOCK for matrix in matrices.values() if _is_repacked(matrix, kernels))
    return _Products(held, max(unseen, default=0), left)


def _held_in_8bit(matrix: torch.Tensor, kernels: CpuKernels) -> Held:
    result_bytes, elements = matrix.element_size(), matrix.numel()

    def held(inputs: int, outputs: int) -> int:
        # Either while rounding the input, or while scaling the result: four arrays of four bytes, the rounded input
        # beside them, and the result itself not yet made.
        most = max(11 * inputs, 16 * outputs + inputs)
        if not kernels.int8_products:
            # Or in the product: the matrix, the rounded input and the result in float32.
            most = max(most, 4 * (elements + inputs + outputs) + inputs)
        return most - outputs * result_bytes

    return held


def _held_in_4bit(matrix: torch.Tensor, kernels: CpuKernels) -> Held:
    result_bytes, elements = matrix.element_size(), matrix.numel()
    if _is_repacked(matrix, kernels):
        # The first time, before there is a result: each value in an int32, then in a byte, twice, and the halves of
        # the bytes of the new order with those bytes themselves.
        return lambda _inputs, outputs: 7 * elements - outputs * result_bytes
    unpacked = _unpacked_bytes(elements, result_bytes)
    return lambda _inputs, _outputs: unpacked


def _is_repacked(matrix: torch.Tensor, kernels: CpuKernels) -> bool:
    # `_Linear4bitOfAnyShape` unpacks what is not whole blocks.
    return kernels.packed_4bit_products and all(size % BLOCK == 0 for size in matrix.shape)


def _unpacked_bytes(elements: int, element_bytes: int) -> int:
    # The matrix itself, and the float32 scales of its blocks.
    return elements * element_bytes + 4 * -(-elements // BLOCK)


def _held(products: _Products, inputs: Mapping[int, int], outputs: int) -> int:
    held = products.unseen
    for matrix in inputs.keys() & products.held.keys():
        others = sum(elements for other, elements in inputs.items() if other != matrix)
        held = max(held, products.held[matrix](others, outputs))
    return held + products.left


_HeldByProducts = tuple[_Products, Mapping[str, _Products]]


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operators create until the last tensor on them is gone.

    `peaks` are those with the weights as they are loaded, and with each quantization's products.
    """

    def __init__(self, as_loaded: _Products, quantized: Mapping[str, _Products]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._products = [as_loaded, *quantized.values()]
        self.peaks = [0] * len(self._products)
        self._live = 0
        self._counting = True
        self._layer: tuple[int, int, bool] | None = None
        self._since_entry = [0] * len(self._products)
        self._of_kind: dict[int, tuple[int, list[int]]] = {}
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def stop(self) -> None:
        self._counting = False

    def skip(self, left: Sequence[torch.UntypedStorage], turns: int) -> None:
        """Count what more turns of a loop leave behind; it goes when what one of them left goes."""
        for storage in left:
            size = turns * storage.nbytes()
            self._live += size
            weakref.finalize(storage, self._remove, size)

    def enter_layer(self, kind: int, runs: bool) -> None:
        """Note how high a block of each kind gets and what it leaves behind; one that is not run does the same."""
        if self._layer is not None:
            left, before, ran = self._layer
            if ran:
                self._of_kind[left] = self._live - before, [peak - before for peak in self._since_entry]
            else:
                self._live = before + self._of_kind[left][0]
        self._layer = (kind, self._live, runs)
        self._since_entry = [self._live] * len(self.peaks)
        if not runs:
            growth, heights = self._of_kind[kind]
            self._note([self._live + height for height in heights])
            self._live += growth

    def _note(self, held: Sequence[int]) -> None:
        self.peaks = list(map(max, self.peaks, held))
        self._since_entry = list(map(max, self._since_entry, held))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # What comes in existed before: weights, and tensors that are counted already.
        before = [value for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)]
        inputs = {id(value.untyped_storage()): value.numel() for value in before}
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor) and self._counting:
                storage = value.untyped_storage()
                if id(storage) not in inputs and storage not in self._known:
                    self._add(storage, inputs, value.numel())
        return result

    def _add(self, storage: torch.UntypedStorage, inputs: Mapping[int, int], outputs: int) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self._live += size
        self._note([self._live + _held(products, inputs, outputs) for products in self._products])
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self._live -= size
