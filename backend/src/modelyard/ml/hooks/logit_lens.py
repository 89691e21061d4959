"""The logit lens: what a model would say next if each layer were its last one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from modelyard.core.errors import InvalidRequest, UnsupportedArchitecture
from modelyard.ml.hooks.capture import capture
from modelyard.ml.hooks.points import HookShape, probe
from modelyard.ml.hooks.reading import token_rows
from modelyard.ml.loading import devices
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled

MAX_TOKENS = 512
_TOLERANCE = 0.05
"""How far the last layer's probabilities may be from the model's own, as a share of the largest one."""


def read_lens(
    loaded: LoadedModel,
    text: str,
    layers: Sequence[str],
    final_norm: str,
    top: int,
    should_stop: Callable[[], bool],
    adapter: str | None = None,
) -> dict[str, Any]:
    """Return the `top` tokens with their probabilities, for each layer and position, as the API answers them.

    Raises InvalidRequest for a text that is too long, UnsupportedArchitecture for a model whose logits are not its
    final norm and its head, LoadCancelled, and what reading tokens raises.
    """
    [ids] = token_rows(loaded, [text], None, should_stop)
    if len(ids) > MAX_TOKENS:
        raise InvalidRequest(
            f"The prompt has {len(ids):,} tokens; the logit lens reads at most {MAX_TOKENS}.",
            hint="Send a shorter one.",
        )
    with loaded.turn(should_stop, adapter) as is_ours:
        if not is_ours:
            raise LoadCancelled
        likely = _likely(loaded.model, ids, layers, final_norm, top)
    pieces = loaded.tokenizer.pieces({*ids, *(token for _, tokens in likely for token in tokens.flatten().tolist())})

    def named(token: int) -> dict[str, Any]:
        return {"id": token, "text": pieces[token].decode(errors="replace")}

    return {
        "tokens": [named(token) for token in ids],
        "layers": [
            {
                "hook_point": path,
                "positions": [
                    [named(token) | {"probability": chance} for token, chance in zip(*place, strict=True)]
                    for place in zip(tokens.tolist(), chances.tolist(), strict=True)
                ],
            }
            for path, (chances, tokens) in zip(layers, likely, strict=True)
        ],
    }


@torch.no_grad()
def _likely(
    model: PreTrainedModel, ids: list[int], layers: Sequence[str], final_norm: str, top: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the probabilities and ids [tokens, top] of each layer. The caller holds the model's lock."""
    shapes: Mapping[str, HookShape] = probe(model, layers)
    one = torch.tensor([ids])
    streams = capture(model, one, torch.ones_like(one), shapes)
    norm, head = model.get_submodule(final_norm), model.get_output_embeddings()
    if head is None:
        raise UnsupportedArchitecture("This model has no output embedding, so it predicts no next token.")
    said = model(input_ids=one.to(devices.input_device(model))).logits[0].float().softmax(-1)
    found = []
    for path in layers:
        chances = _logits(model, norm, head, streams.pop(path)[0]).softmax(-1)
        if path == layers[-1] and (chances - said.to(chances.device)).abs().max() > _TOLERANCE * said.max():
            raise UnsupportedArchitecture(
                "This model makes its logits in another way than by its final norm and its output embedding.",
                hint="Read the activations of its layers instead.",
            )
        values, tokens = chances.topk(min(top, chances.shape[-1]), -1)
        found.append((values, tokens))
    return found


def _logits(model: PreTrainedModel, norm: nn.Module, head: nn.Module, stream: torch.Tensor) -> torch.Tensor:
    """Return the logits [tokens, vocabulary] of a layer's output [tokens, width]."""
    logits: torch.Tensor = head(norm(stream[None]))[0].float()
    config = model.config.get_text_config(decoder=True)
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if scaling := getattr(config, "logits_scaling", None):
        logits = logits / scaling
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = torch.tanh(logits / cap) * cap
    return logits
