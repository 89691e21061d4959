"""A model's decoder blocks: where they are, which of them are alike, and how to run only one of each kind.

Deep models repeat a few kinds of block. What a block adds to a cache or to memory is the same for every block of its
kind, so a question about all of them needs a pass through one or two of each.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from modelyard.ml.inspect.dimensions import read_dimensions
from modelyard.ml.inspect.meta_forward import CannotRun
from modelyard.ml.inspect.meta_model import MetaModel

_KINDS = "layer_kinds"  # finding: the answer of `few_kinds`
_OTHER_TOWERS = re.compile(r"vision|visual|image|audio|speech|tower|vit\b|perceiver|resampler|depth_decoder")


def find_layers(model: nn.Module, num_layers: int | None) -> str | None:
    """Return the path of the decoder blocks: the text model's outermost `ModuleList`, preferably of `num_layers`."""
    found = [
        (path, module) for path, module in _outermost_lists(model, "") if len(module) and not _OTHER_TOWERS.search(path)
    ]
    if not found:
        return None

    def preference(candidate: tuple[str, nn.ModuleList]) -> tuple[bool, bool, int]:
        path, module = candidate
        parameters = sum(parameter.numel() for parameter in module.parameters())
        return len(module) == num_layers, "encoder" not in path.replace("encoder_decoder", ""), parameters

    return max(found, key=preference)[0]


def _outermost_lists(module: nn.Module, path: str) -> Iterator[tuple[str, nn.ModuleList]]:
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if isinstance(child, nn.ModuleList):
            yield child_path, child
        else:
            yield from _outermost_lists(child, child_path)


@dataclass(frozen=True)
class LayerKinds:
    """The blocks, and the indices of each kind in ascending order."""

    layers: Sequence[nn.Module]
    kinds: tuple[tuple[int, ...], ...]

    def first(self, count: int) -> set[int]:
        """Return the indices of the first `count` blocks of every kind."""
        return {index for kind in self.kinds for index in kind[:count]}

    @contextmanager
    def running(self, kept: Collection[int], on_entry: Callable[[int, bool], None] | None = None) -> Iterator[None]:
        """Let forward passes run only the blocks in `kept`, which must hold the first of every kind.

        The others return what they receive, in the form in which the first of their kind returned it. `on_entry` is
        called before each block with its kind and whether the block is run.
        """
        forms: dict[int, _Form] = {}
        restore: list[Callable[[], None]] = []
        try:
            for number, indices in enumerate(self.kinds):
                for index in indices:
                    layer = self.layers[index]
                    if on_entry is not None:
                        restore.append(
                            layer.register_forward_pre_hook(_entering(on_entry, number, index in kept)).remove
                        )
                    if index == indices[0]:
                        restore.append(layer.register_forward_hook(_noting(forms, number), with_kwargs=True).remove)
                    elif index not in kept:
                        layer.forward = _passing_on(forms, number)
                        restore.append(_deleting_forward(layer))
            yield
        finally:
            for undo in restore:
                undo()


def few_kinds(skeleton: MetaModel) -> LayerKinds | None:
    """Return the kinds of a model that repeats them so often that asking about one of each saves most of the work."""
    if _KINDS not in skeleton.findings:
        kinds = layer_kinds(skeleton)
        if kinds is not None and len(kinds.first(2)) >= len(kinds.layers):
            kinds = None
        skeleton.findings[_KINDS] = kinds
    found: LayerKinds | None = skeleton.findings[_KINDS]
    return found


def layer_kinds(skeleton: MetaModel) -> LayerKinds | None:
    """Group the blocks that have equal modules, shapes and settings; None where no list of blocks is found."""
    path = find_layers(skeleton.model, read_dimensions(skeleton.config).num_layers)
    if path is None:
        return None
    layers = list(skeleton.model.get_submodule(path).children())
    shapes = [_shapes(layer) for layer in layers]
    numbers = _without_positions([_settings(layer) for layer in layers])
    listed = _listed_settings(skeleton.text_config.to_dict(), len(layers))
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, key in enumerate(zip(shapes, numbers, listed, strict=True)):
        groups[key].append(index)
    return LayerKinds(layers, tuple(tuple(indices) for indices in groups.values()))


def _shapes(layer: nn.Module) -> tuple[Any, ...]:
    modules = tuple((name, type(module)) for name, module in layer.named_modules())
    tensors = (*layer.named_parameters(remove_duplicate=False), *layer.named_buffers(remove_duplicate=False))
    return modules, tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors)


def _settings(layer: nn.Module) -> dict[tuple[str, str], Any]:
    """Whole numbers, switches and names kept as attributes. Fractions scale values and change no shape."""
    return {
        (name, attribute): value
        for name, module in layer.named_modules()
        for attribute, value in vars(module).items()
        if value is None or isinstance(value, (bool, int, str))
    }


def _without_positions(settings: Sequence[Mapping[tuple[str, str], Any]]) -> list[frozenset[Any]]:
    """Return the settings without those that only say which block this is: they grow by one from block to block.

    They count either all blocks or those that have the setting (the attention layers of a hybrid model).
    """
    holders: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, each in enumerate(settings):
        for key, value in each.items():
            if type(value) is int:
                holders[key].append((index, value))
    positions = {
        key
        for key, held in holders.items()
        if len(held) > 1
        and (
            len({value - index for index, value in held}) == 1
            or len({value - rank for rank, (_, value) in enumerate(held)}) == 1
        )
    }
    return [frozenset(item for item in each.items() if item[0] not in positions) for each in settings]


def _listed_settings(config: Mapping[str, Any], count: int) -> list[tuple[str, ...]]:
    """Return what the configuration lists block by block, such as `layer_types`, but no list of the blocks' numbers."""
    lists = [
        value
        for value in config.values()
        if isinstance(value, (list, tuple)) and len(value) == count and list(value) != list(range(count))
    ]
    return [tuple(repr(each[index]) for each in lists) for index in range(count)]


@dataclass(frozen=True)
class _Form:
    """What a block returned, with recipes for its tensors, the place of the first one and that one's shape."""

    leaves: tuple[Any, ...]
    spec: Any
    place: int
    shape: torch.Size


def _noting(forms: dict[int, _Form], kind: int) -> Callable[..., None]:
    def note(_layer: nn.Module, _args: Any, _kwargs: Any, output: Any) -> None:
        leaves, spec = tree_flatten(output)
        place = next((i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)), None)
        if place is not None:
            # Tensors are made anew: one that is held here would count as memory that is still in use.
            kept = [_Recipe(leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            forms[kind] = _Form(tuple(kept), spec, place, leaves[place].shape)

    return note


@dataclass(frozen=True)
class _Recipe:
    shape: torch.Size
    dtype: torch.dtype

    def make(self) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


def _passing_on(forms: Mapping[int, _Form], kind: int) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        received = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        form = forms.get(kind)
        if received is None or form is None or received.shape != form.shape:
            raise CannotRun("The blocks do not hand on one stream of hidden states.")
        leaves = [received if place == form.place else _made(leaf) for place, leaf in enumerate(form.leaves)]
        return tree_unflatten(leaves, form.spec)

    return forward


def _made(leaf: Any) -> Any:
    return leaf.make() if isinstance(leaf, _Recipe) else leaf


def _entering(on_entry: Callable[[int, bool], None], kind: int, runs: bool) -> Callable[..., None]:
    def enter(_layer: nn.Module, _args: Any) -> None:
        on_entry(kind, runs)

    return enter


def _deleting_forward(layer: nn.Module) -> Callable[[], None]:
    def delete() -> None:
        del layer.forward

    return delete
