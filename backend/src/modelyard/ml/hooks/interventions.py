"""Interventions: what hook points of a loaded model return is changed, for chosen tokens, while it runs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from modelyard.core.errors import InvalidRequest
from modelyard.ml.hooks.points import HookShape, by_row, first_tensor, hooked, probe, with_first_tensor
from modelyard.ml.sae.inference import LoadedSae

Change = Callable[[torch.Tensor], torch.Tensor]
"""Takes and returns the output of a hook point, [rows, tokens, …]."""


@dataclass(frozen=True)
class Intervention:
    """One change at one hook point, the path of a module; the fields are those of the API."""

    hook_point: str
    op: str
    vector: Sequence[float] | None = None
    vector_path: Path | None = None
    value: float = 1.0
    positions: Literal["all", "generated"] | Sequence[int] = "all"
    sae: LoadedSae | None = None
    """Positions that it was not trained on are left as they are, unless they are listed."""
    feature: int | None = None


class Steering:
    """The interventions of one request. Whoever runs the model holds its lock, and says which tokens run.

    The hooks are there only while `running` lasts, so that they touch nobody else's tokens.
    """

    def __init__(self, model: PreTrainedModel, interventions: Sequence[Intervention]) -> None:
        """Raises InvalidRequest for a hook point or a vector that does not fit. The caller holds the model's lock."""
        if model.config.is_encoder_decoder:
            raise refusal("Interventions need a decoder-only or an encoder-only model.")
        self._shapes = probe(model, list(dict.fromkeys(each.hook_point for each in interventions)))
        self._changes = [(each, _change(each, self._shapes[each.hook_point])) for each in interventions]
        self._positions: torch.Tensor | None = None
        self._prompts: torch.Tensor | None = None

    @contextmanager
    def running(self, model: nn.Module) -> Iterator[None]:
        """Have the model changed while the context lasts."""
        try:
            with hooked(model, {path: self._hook(path) for path in self._shapes}):
                yield
        finally:
            self._positions = self._prompts = None

    def at(self, positions: torch.Tensor, prompts: Sequence[int]) -> None:
        """Note the positions [rows, tokens] of the pass that comes next, and how long each row's prompt is."""
        self._positions = positions
        self._prompts = torch.tensor(list(prompts), device=positions.device)[:, None]

    def _hook(self, path: str) -> Callable[[nn.Module, Any, Any], Any]:
        changes = [(each, change) for each, change in self._changes if each.hook_point == path]

        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            tensor = first_tensor(output)
            assert tensor is not None and self._positions is not None  # noqa: S101, PT018 - probed, and told by `at`
            values = by_row(tensor, self._shapes[path], *self._positions.shape)
            for each, change in changes:
                chosen = self._chosen(each).to(values.device).view(*values.shape[:2], *[1] * (values.dim() - 2))
                values = torch.where(chosen, change(values), values)
            if self._shapes[path].layout == "tokens_first":
                values = values.transpose(0, 1)
            return with_first_tensor(output, values.reshape(tensor.shape))

        return hook

    def _chosen(self, intervention: Intervention) -> torch.Tensor:
        """Return which tokens of the pass it is for, [rows, tokens]."""
        positions, prompts = self._positions, self._prompts
        assert positions is not None and prompts is not None  # noqa: S101, PT018 - told by `at`
        first = 0 if intervention.sae is None else intervention.sae.skip_positions
        if intervention.positions == "all":
            return positions >= first
        if intervention.positions == "generated":
            return (positions >= prompts) & (positions >= first)
        return torch.isin(positions, torch.tensor(list(intervention.positions), device=positions.device))


def steered(steering: Steering | None, model: nn.Module) -> Any:
    """Return a context in which the model is changed, or nothing is where there is no steering."""
    return nullcontext() if steering is None else steering.running(model)


def refusal(message: str, hint: str | None = None) -> InvalidRequest:
    """Return the error for interventions that cannot be done."""
    return InvalidRequest(message, hint=hint)


def _change(intervention: Intervention, shape: HookShape) -> Change:
    build = BUILDERS.get(intervention.op)
    if build is None:
        raise refusal(
            f"The operation {intervention.op!r} is not available.", f"The available ones are {', '.join(BUILDERS)}."
        )
    return build(intervention, shape)


def _add(intervention: Intervention, shape: HookShape) -> Change:
    vector = _vector(intervention, shape)
    return lambda values: values + intervention.value * vector.to(values)


def _scale(intervention: Intervention, _shape: HookShape) -> Change:
    _require_no_vector(intervention)
    return lambda values: values * intervention.value


def _zero(intervention: Intervention, _shape: HookShape) -> Change:
    _require_no_vector(intervention)
    return torch.zeros_like


def _project_out(intervention: Intervention, shape: HookShape) -> Change:
    vector = _vector(intervention, shape)
    norm = vector.norm()
    if not norm > 0:
        raise refusal(f"The direction to project out at {intervention.hook_point} is zero.")
    direction = (vector / norm).flatten()

    def change(values: torch.Tensor) -> torch.Tensor:
        unit, flat = direction.to(values), values.flatten(2)
        rest: torch.Tensor = flat - (flat @ unit)[..., None] * unit
        return rest.view_as(values)

    return change


def _sae_clamp(intervention: Intervention, shape: HookShape) -> Change:
    loaded, feature, value = _sae(intervention, shape), intervention.feature, intervention.value
    if feature is None or not 0 <= feature < loaded.sae.cfg.d_sae:
        raise refusal(
            f"The sparse autoencoder for {intervention.hook_point} has no feature {feature}.",
            f"Its features are 0 to {loaded.sae.cfg.d_sae - 1}.",
        )

    def change(values: torch.Tensor) -> torch.Tensor:
        given = values.flatten(2).float()
        features = loaded.encode(given)
        clamped = features.clone()
        clamped[..., feature] = value
        # One call: some SAEs keep the size of what they encoded until it is decoded.
        with_value, without = loaded.sae.decode(torch.stack([clamped, features]))
        changed: torch.Tensor = given + (with_value - without)
        return changed.view_as(values).to(values)

    return change


def _sae_replace(intervention: Intervention, shape: HookShape) -> Change:
    loaded = _sae(intervention, shape)

    def change(values: torch.Tensor) -> torch.Tensor:
        rebuilt: torch.Tensor = loaded.sae.decode(loaded.encode(values.flatten(2).float()))
        return rebuilt.view_as(values).to(values)

    return change


BUILDERS: Mapping[str, Callable[[Intervention, HookShape], Change]] = {
    "add": _add,
    "scale": _scale,
    "zero": _zero,
    "project_out": _project_out,
    "sae_clamp": _sae_clamp,
    "sae_replace": _sae_replace,
}
"""What makes the change of each operation, once per request."""


def _sae(intervention: Intervention, shape: HookShape) -> LoadedSae:
    """Return the SAE of an intervention. Raises InvalidRequest where there is none, or it reads another width."""
    loaded, point = intervention.sae, intervention.hook_point
    if loaded is None:
        raise refusal(f"{intervention.op} at {point} needs a sparse autoencoder.", "Send sae_id.")
    if loaded.sae.cfg.d_in != shape.values:
        raise refusal(
            f"The sparse autoencoder for {point} reads {loaded.sae.cfg.d_in:,} values; the hook point has"
            f" {shape.values:,}."
        )
    return loaded


def _require_no_vector(intervention: Intervention) -> None:
    if intervention.vector is not None or intervention.vector_path is not None:
        raise refusal(
            f"{intervention.op} at {intervention.hook_point} takes no vector.", "project_out removes one direction."
        )


def _vector(intervention: Intervention, shape: HookShape) -> torch.Tensor:
    """Return the vector in float32, in the shape of one token. Raises InvalidRequest."""
    point = intervention.hook_point
    if (intervention.vector is None) == (intervention.vector_path is None):
        raise refusal(f"{intervention.op} at {point} needs a vector.", "Send exactly one of vector and vector_path.")
    if intervention.vector_path is not None:
        vector = _read_vector(intervention.vector_path)
    else:
        vector = torch.tensor(list(intervention.vector or ()), dtype=torch.float32)
    if vector.numel() != shape.values:
        raise refusal(f"The vector for {point} has {vector.numel():,} values; the hook point has {shape.values:,}.")
    if not vector.isfinite().all():
        raise refusal(f"The vector for {point} has values that are not finite.")
    return vector.view(shape.shape)


def _read_vector(path: Path) -> torch.Tensor:
    """Return the only tensor of a safetensors file. Raises InvalidRequest."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise refusal(f"{path.name} cannot be read: {error}", "Save one tensor with safetensors.") from error
    if len(tensors) != 1:
        raise refusal(f"{path.name} holds {len(tensors)} tensors.", "Save one tensor in it.")
    return next(iter(tensors.values())).float().flatten()
