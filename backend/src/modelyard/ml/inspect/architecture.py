"""What a model is made of: sizes, decoder blocks, places to hook, and the module tree; found without its weights.

Blocks and their parts are proposed from the module structure and then checked by a forward pass on the meta device: a
residual point counts as verified only if every block ran once and each block's output is what the next block received.
Of blocks that are alike the pass runs the first and the last; what the first showed of its parts goes for the others.
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from modelyard.ml.inspect.dimensions import Dimensions, read_dimensions
from modelyard.ml.inspect.layers import LayerKinds, few_kinds, find_layers
from modelyard.ml.inspect.memory import resident_parameters
from modelyard.ml.inspect.meta_forward import CannotRun, forward
from modelyard.ml.inspect.meta_model import MetaModel
from modelyard.ml.inspect.sublayers import Kind, sublayers
from modelyard.ml.inspect.support import is_encoder
from modelyard.ml.inspect.transformer_lens_names import transformer_lens_name

_RESIDUAL_SCALES = (
    "residual_multiplier",
    "scale_depth",
    "mlp_alpha_factor",
    "full_attn_alpha_factor",
    "mlp_multiplier",
)
_BATCH, _SEQUENCE = 2, 7  # unlike each other and unlike any width


@dataclass(frozen=True)
class HookPoint:
    """A module whose output can be read. `output` says whether that is a tensor or a tuple that begins with it."""

    path: str
    layer: int | None
    kind: Kind
    shape: tuple[str | int, ...]
    width: int
    output: Literal["tensor", "tuple"]
    verified: bool
    transformer_lens: str | None


@dataclass(frozen=True)
class ModuleNode:
    """One module: its own name, class, parameters of it and everything below (tied ones once), and its children."""

    name: str
    type: str
    num_parameters: int
    children: tuple["ModuleNode", ...]


@dataclass(frozen=True)
class Architecture:
    """A model's structure. `verified` is about the residual points; `reason` says why they are not."""

    model_class: str
    model_type: str
    num_parameters: int
    method: Literal["meta"]
    verified: bool
    reason: str | None
    dimensions: Dimensions
    layers_path: str | None
    final_norm: str | None
    tied: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    hook_points: tuple[HookPoint, ...]
    tree: ModuleNode

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form of `GET …/architecture`, without the model's name."""
        return asdict(self)


@dataclass
class _Call:
    """What one module received (`latest` in its last call, if it has several) and returned, as first tensors.

    `turn` counts the calls of all watched modules up to its last one.
    """

    received: torch.Tensor | None
    latest: torch.Tensor | None
    returned: torch.Tensor | None
    is_tuple: bool
    turn: int
    times: int = 1


def inspect_architecture(skeleton: MetaModel) -> Architecture:
    """Return the dimensions, blocks, hook points and tree of a skeleton.

    Never fails: what cannot be verified says so.
    """
    model = skeleton.model
    dimensions = read_dimensions(skeleton.config)
    layers_path = find_layers(model, dimensions.num_layers)
    resident = resident_parameters(model)
    flags, points, final_norm, verified = set(), [], None, False
    reason: str | None = "No list of decoder blocks was found."
    if layers_path is not None:
        survey = _Survey(skeleton, layers_path, dimensions.hidden_size or 0)
        reason = survey.run()
        points, final_norm, verified = survey.hook_points(), survey.final_norm, survey.verified
        flags = survey.flags()
    tied: dict[str, str] = model.all_tied_weights_keys  # type: ignore[assignment]
    if tied:
        flags.add("tied_weights")
    if skeleton.config.is_encoder_decoder:
        flags.add("encoder_decoder")
    elif is_encoder(skeleton.config.to_dict()):
        flags.add("encoder_only")
    if dimensions.intermediate_size is None:
        dimensions = replace(dimensions, intermediate_size=_mlp_width(model, points, dimensions.hidden_size))
    return Architecture(
        model_class=type(model).__name__,
        model_type=skeleton.config.model_type,
        num_parameters=sum(parameter.numel() for parameter in resident.values()),
        method="meta",
        verified=verified,
        reason=None if verified else reason,
        dimensions=dimensions,
        layers_path=layers_path,
        final_norm=final_norm,
        tied=tuple(sorted(tied.items())),
        flags=tuple(sorted(flags)),
        hook_points=tuple(points),
        tree=_tree(model, "", {id(parameter) for parameter in resident.values()}),
    )


class _Survey:
    """Proposes the parts of every block, watches one forward pass, and keeps what it showed."""

    def __init__(self, skeleton: MetaModel, layers_path: str, width: int) -> None:
        self._skeleton = skeleton
        self._layers_path = layers_path
        self._width = width
        layers = skeleton.model.get_submodule(layers_path)
        self._blocks = [f"{layers_path}.{index}" for index, _ in enumerate(layers.children())]
        self._parts = [sublayers(block, path) for block, path in zip(layers.children(), self._blocks, strict=True)]
        self._norms = [path for path, module in skeleton.model.named_modules() if _is_norm(module)]
        norms = set(self._norms)
        self._norms_in = [
            [path for path, _ in block.named_modules(prefix=prefix) if path in norms and path != prefix]
            for prefix, block in zip(self._blocks, layers.children(), strict=True)
        ]
        self._calls: dict[str, _Call] = {}
        self._turns = 0
        self.verified = False
        self.final_norm: str | None = None

    def run(self) -> str | None:
        """Run the forward pass; the reason why the residual points are not verified, if they are not."""
        kinds = few_kinds(self._skeleton)
        reason = self._run(kinds)
        if reason is not None and kinds is not None:
            reason = self._run(None)
        self.verified = reason is None
        self.final_norm = self._find_final_norm()
        return reason

    def _run(self, kinds: LayerKinds | None) -> str | None:
        """Run all blocks, or the first and the last of each of `kinds`; what speaks against the residual points."""
        self._calls, self._turns = {}, 0
        kept = None if kinds is None else {index for indices in kinds.kinds for index in (indices[0], indices[-1])}
        handles = [self._watch(path) for path in self._watched(kept)]
        try:
            with nullcontext() if kinds is None or kept is None else kinds.running(kept):
                forward(self._skeleton, batch=_BATCH, sequence=_SEQUENCE, use_cache=False)
        except CannotRun as error:
            return str(error)
        finally:
            for handle in handles:
                handle.remove()
        for indices in () if kinds is None else kinds.kinds:
            self._repeat(indices[0], indices[1:-1])
        return self._chain_problem()

    def _watched(self, kept: set[int] | None) -> set[str]:
        """Return the blocks, and the norms and parts outside of them and in those that are run."""
        inside = {path for norms in self._norms_in for path in norms}
        watched = {*self._blocks, *(path for path in self._norms if path not in inside)}
        for index, (norms, parts) in enumerate(zip(self._norms_in, self._parts, strict=True)):
            if kept is None or index in kept:
                watched.update(norms, (path for path, _ in parts))
        return watched

    def _repeat(self, index: int, others: tuple[int, ...]) -> None:
        """Take the calls inside a block for those inside others of its kind."""
        inside = [*self._norms_in[index], *(path for path, _ in self._parts[index])]
        calls = {path.removeprefix(self._blocks[index]): self._calls[path] for path in inside if path in self._calls}
        for other in others:
            self._calls.update({self._blocks[other] + path: call for path, call in calls.items()})

    def hook_points(self) -> list[HookPoint]:
        """Residual points of all blocks with their sublayers, then the final norm."""
        points = []
        for index, (path, parts) in enumerate(zip(self._blocks, self._parts, strict=True)):
            post_norms = self._post_norms(index)
            normalized = {kind for _, kind in post_norms}
            points.append(self._point(path, index, "residual", self.verified, self._lens_name("residual", index)))
            for part, kind in parts:
                # TransformerLens reads a sublayer behind its norm, where there is one.
                name = None if kind in normalized else self._lens_name(kind, index)
                points.append(self._point(part, index, kind, self._has_stream_shape(part), name))
            for norm, kind in post_norms:
                name = self._lens_name(kind, index)
                points.append(self._point(norm, index, "norm", self._has_stream_shape(norm), name))
        if self.final_norm is not None:
            verified = self.verified and self._has_stream_shape(self.final_norm)
            points.append(self._point(self.final_norm, None, "norm", verified, self._lens_name("norm", None)))
        return points

    def flags(self) -> set[str]:
        """Peculiarities that matter to whoever reads or edits activations."""
        flags = set()
        layers = self._skeleton.model.get_submodule(self._layers_path)
        kinds = {tuple(kind for _, kind in parts) for parts in self._parts}
        if len(kinds) > 1 or len({type(block) for block in layers.children()}) > 1:
            flags.add("hybrid")
        if any(self._post_norms(index) for index, _ in enumerate(self._blocks)):
            flags.add("post_norm")
        first = self._calls.get(self._blocks[0])
        if first is not None and first.returned is not None and first.returned.dim() > 3:
            flags.add("hyper_connections")
        text = self._skeleton.text_config
        if any(getattr(text, name, None) not in (None, 1, 1.0) for name in _RESIDUAL_SCALES):
            flags.add("residual_multiplier")
        if any("experts" in name for name, _ in layers.named_modules()):
            flags.add("mixture_of_experts")
        if self._reads_in_parallel():
            flags.add("parallel_sublayers")
        return flags

    def _watch(self, path: str) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            received = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
            self._turns += 1
            if path in self._calls:
                call = self._calls[path]
                call.times, call.latest, call.turn = call.times + 1, received, self._turns
                return
            is_tuple = isinstance(output, (tuple, list))
            self._calls[path] = _Call(received, received, _first_tensor(output), is_tuple, self._turns)

        return self._skeleton.model.get_submodule(path).register_forward_hook(note, with_kwargs=True)

    def _chain_problem(self) -> str | None:
        calls = [self._calls.get(path) for path in self._blocks]
        if any(call is None or call.returned is None for call in calls):
            return "Not every block took part in the forward pass."
        known = [call for call in calls if call is not None]
        if any(call.times != 1 for call in known):
            return "Blocks run more than once in a forward pass."
        shape = known[0].returned.shape if known[0].returned is not None else torch.Size()
        if shape[:2] != (_BATCH, _SEQUENCE) or shape[-1] != self._width:
            return f"The blocks return {tuple(shape)} and not (batch, sequence, {self._width})."
        for before, after in pairwise(known):
            if not _same(before.returned, after.received):
                return "The output of a block is not what the next block receives."
        return None

    def _has_stream_shape(self, path: str) -> bool:
        call = self._calls.get(path)
        flat = (_BATCH * _SEQUENCE, self._width)
        return (
            call is not None
            and call.returned is not None
            and call.returned.shape in {(_BATCH, _SEQUENCE, self._width), flat}
        )

    def _post_norms(self, index: int) -> list[tuple[str, Kind]]:
        """Norms of a block that read a sublayer's output directly, so that the stream gets the normalized value."""
        norms = [path for path in self._norms_in[index] if path in self._calls]
        ran = [(self._calls[path].returned, kind) for path, kind in self._parts[index] if path in self._calls]
        return [(path, kind) for output, kind in ran for path in norms if _same(self._calls[path].received, output)]

    def _reads_in_parallel(self) -> bool:
        if getattr(self._skeleton.text_config, "use_parallel_residual", False):
            return True  # each sublayer has its own norm, so their inputs are different tensors
        inputs = [self._calls[path].received for path, kind in self._parts[0] if path in self._calls and kind != "norm"]
        return len(inputs) > 1 and any(_same(inputs[0], other) for other in inputs[1:])

    def _point(self, path: str, layer: int | None, kind: Kind, verified: bool, lens: str | None) -> HookPoint:
        call = self._calls.get(path)
        shape: tuple[str | int, ...] = ("batch", "seq", self._width)
        if call is not None and call.returned is not None:
            sizes = tuple(call.returned.shape)
            if sizes[:2] == (_BATCH, _SEQUENCE):
                shape = ("batch", "seq", *sizes[2:])
            elif sizes[1:3] == (_BATCH, _SEQUENCE):  # copies of the stream, one after the other
                shape = (sizes[0], "batch", "seq", *sizes[3:])
            elif sizes[:2] == (_SEQUENCE, _BATCH):
                shape = ("seq", "batch", *sizes[2:])
            elif sizes[:1] == (_BATCH * _SEQUENCE,):
                shape = ("batch*seq", *sizes[1:])
        width = shape[-1] if isinstance(shape[-1], int) else self._width
        output: Literal["tensor", "tuple"] = "tuple" if call is not None and call.is_tuple else "tensor"
        return HookPoint(path, layer, kind, shape, width, output, verified, lens)

    def _find_final_norm(self) -> str | None:
        """Return the norm that read what the last block returned; else one beside the blocks that ran after them.

        The second is how models end that fold several copies of the stream into one before it.
        """
        last = self._calls.get(self._blocks[-1])
        if last is None:
            return None
        outside = [path for path in self._norms if path in self._calls and not path.startswith(self._layers_path + ".")]
        readers = [path for path in outside if _same(self._calls[path].latest, last.returned)]
        holder = self._layers_path.rpartition(".")[0]
        beside = [
            path
            for path in outside
            if path.rpartition(".")[0] == holder and self._calls[path].turn > last.turn and self._has_stream_shape(path)
        ]
        return next(iter(readers or beside), None)

    def _lens_name(self, kind: Kind, layer: int | None) -> str | None:
        return transformer_lens_name(self._skeleton.text_config.model_type, kind, layer)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], torch.Tensor):
        return output[0]
    return None


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and left.untyped_storage() is right.untyped_storage()


def _mlp_width(model: nn.Module, points: list[HookPoint], hidden: int | None) -> int | None:
    """Return the widest layer inside the first MLP, where the config does not say."""
    for point in points:
        if point.kind == "mlp" and "." in point.path:
            sizes = [size for p in model.get_submodule(point.path).parameters() if p.dim() == 2 for size in p.shape]
            wider = [size for size in sizes if size != hidden]
            return max(wider) if wider else hidden
    return None


def _tree(module: nn.Module, name: str, resident: set[int]) -> ModuleNode:
    children = tuple(_tree(child, child_name, resident) for child_name, child in module.named_children())
    own = sum(p.numel() for p in module.parameters(recurse=False) if id(p) in resident)
    return ModuleNode(name, type(module).__name__, own + sum(child.num_parameters for child in children), children)
