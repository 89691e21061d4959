"""Text embeddings: the last hidden states of a text's tokens, pooled into one vector as its repository says."""

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from modelyard.core.errors import ContextLengthExceeded, UnsupportedArchitecture
from modelyard.ml.generation.batching import out_of_memory
from modelyard.ml.generation.pooling import Pooling
from modelyard.ml.generation.text_generation import require_known
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled


@dataclass(frozen=True)
class Embedded:
    """One vector for each text."""

    vectors: list[list[float]]
    prompt_tokens: int


def embed(
    loaded: LoadedModel,
    inputs: SequenceOf[str | SequenceOf[int]],
    pooling: Pooling,
    should_stop: Callable[[], bool],
    adapter: str | None = None,
) -> Embedded:
    """Return the vectors of texts or of token ids, in float32, each read alone, between other work with the model.

    `adapter` is the name of one that is in memory.

    Raises NoTokenizer, TemplateFailed, TokenizerStopped, LoadCancelled when `should_stop` says so, InvalidRequest,
    ContextLengthExceeded, OutOfMemory, and UnsupportedArchitecture for a model without hidden states of text.
    """
    texts = [
        loaded.tokenizer.encode(given, should_stop=should_stop) if isinstance(given, str) else list(given)
        for given in inputs
    ]
    for ids in texts:
        _require_short(ids, loaded.model)
        require_known(ids, loaded.model)
    vectors = list[list[float]]()
    for ids in texts:
        with loaded.turn(should_stop, adapter) as is_ours:
            if not is_ours or should_stop():
                raise LoadCancelled
            vectors.append(_vector(loaded, ids, pooling))
    return Embedded(vectors, sum(map(len, texts)))


def _vector(loaded: LoadedModel, ids: list[int], pooling: Pooling) -> list[float]:
    try:
        vector: list[float] = pooling.pool(_hidden(loaded.model, ids)).tolist()
        return vector
    except Exception as error:
        if not devices.is_out_of_memory(error):
            raise UnsupportedArchitecture(
                f"{loaded.key.model_id} makes no embeddings of text: {first_line(error)}"
            ) from error
    devices.release_memory()  # outside the handler, because the error's traceback holds activations
    raise out_of_memory(loaded, len(ids))


@torch.no_grad()
def _hidden(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    """Return the last hidden states [tokens, width] of the encoder, or of the decoder where there is no other."""
    body: Any = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    inputs = torch.tensor([ids], device=devices.input_device(model))
    hidden: torch.Tensor = body(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
    return hidden[0]


def _require_short(ids: list[int], model: PreTrainedModel) -> None:
    limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if isinstance(limit, int) and 0 < limit < len(ids):
        raise ContextLengthExceeded(f"The text has {len(ids)} tokens; this model reads at most {limit}.")
