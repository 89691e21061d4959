"""Which features of an SAE are active in a text that a model in memory reads."""

from collections.abc import Callable
from typing import Any

import torch

from modelyard.core.errors import ContextLengthExceeded, InvalidRequest
from modelyard.ml.generation.text_generation import require_known
from modelyard.ml.hooks.direct import Wanted, prepare
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.sae.beginning import AUTO, NONE
from modelyard.ml.sae.inference import LoadedSae


def read_features(
    loaded: LoadedModel,
    loaded_sae: LoadedSae,
    path: str,
    text: str,
    top: int,
    max_tokens: int,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Return the tokens of a text and its `top` most active features, as the API answers them.

    The text begins as every context did in training. Raises InvalidRequest, ContextLengthExceeded, LoadCancelled, and
    what the tokenizer raises.
    """
    ids = _begun(loaded, loaded_sae.beginning, text, should_stop)
    limit = getattr(loaded.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if len(ids) > min(max_tokens, limit or max_tokens):
        raise ContextLengthExceeded(
            f"The text has {len(ids):,} tokens; at most {min(max_tokens, limit or max_tokens)} are read.",
            hint="Send a shorter one.",
        )
    prepared = prepare(loaded, Wanted({path: path}), should_stop)
    with loaded.turn(should_stop) as is_ours:
        if not is_ours:
            raise LoadCancelled
        one = torch.tensor([ids])
        stream = prepared.capture(loaded, one, torch.ones_like(one))[path]
    with torch.no_grad():
        features = loaded_sae.encode(stream.float())[0].cpu()
    special = {*loaded_sae.excluded_tokens}
    counted = [place >= loaded_sae.skip_positions and token not in special for place, token in enumerate(ids)]
    features = features.masked_fill(~torch.tensor(counted)[:, None], 0)
    sizes, places = features.abs().max(dim=0)
    active = int((sizes > 0).sum())
    order = sizes.topk(min(top, active)).indices.tolist()
    pieces = loaded.tokenizer.pieces(set(ids), should_stop=should_stop)
    return {
        "tokens": [
            {"id": token, "text": pieces[token].decode(errors="replace"), "counted": counts}
            for token, counts in zip(ids, counted, strict=True)
        ],
        "features": [
            {
                "index": index,
                "max": float(sizes[index]),
                "position": int(places[index]),
                "density": None,
                "activations": features[:, index].tolist(),
            }
            for index in order
        ],
        "active_features": active,
    }


def _begun(loaded: LoadedModel, beginning: str, text: str, should_stop: Callable[[], bool]) -> list[int]:
    """Return the token ids of a text after what contexts begin with in training. Raises InvalidRequest."""
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False, should_stop=should_stop)
    first: int | None = None
    if beginning == AUTO:
        first = tokenizer.bos_token_id(should_stop=should_stop)
    elif beginning != NONE:
        named = tokenizer.encode(beginning, add_special_tokens=False, should_stop=should_stop)
        if len(named) != 1:
            raise InvalidRequest(f"The tokenizer has no token {beginning!r}.", hint="Use the model it was trained on.")
        [first] = named
    ids = ids if first is None else [first, *ids]
    if not ids:
        raise InvalidRequest("The text has no tokens.", hint="Send a longer one.")
    require_known(ids, loaded.model)
    return ids
