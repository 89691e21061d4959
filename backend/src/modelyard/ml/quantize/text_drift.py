"""Run a loaded model on a text of the user's, to compare it with another on the same tokens."""

from collections.abc import Callable, Iterator, Sequence

import torch

from modelyard.core.errors import InvalidRequest, OutOfMemory, UnsupportedArchitecture
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.quantize.drift import Observation, Prompts, observe, text_prompts


def read_text(loaded: LoadedModel, text: str, should_stop: Callable[[], bool]) -> Prompts:
    """Return the text as windows of tokens. Raises NoTokenizer, TemplateFailed, TokenizerStopped, InvalidRequest."""
    config = loaded.model.config.get_text_config(decoder=True)
    longest = getattr(config, "max_position_embeddings", None)
    ids = loaded.tokenizer.encode(text, should_stop=should_stop)
    prompts = text_prompts(ids, config.vocab_size, longest if isinstance(longest, int) and longest > 0 else None)
    if prompts.tokens < 2:
        raise InvalidRequest("The text has fewer than two tokens that the model knows.", hint="Send a longer text.")
    return prompts


def run_text(loaded: LoadedModel, prompts: Prompts, should_stop: Callable[[], bool]) -> Observation:
    """Run the windows one by one, after other work with the model.

    Raises LoadCancelled when `should_stop` says so, OutOfMemory, and UnsupportedArchitecture for a model that does not
    run on text alone.
    """
    refused = False
    with loaded.turn(should_stop) as is_ours:
        if not is_ours:
            raise LoadCancelled
        try:
            return observe(loaded.model, _until(prompts.ids, should_stop))
        except LoadCancelled:
            raise
        except Exception as error:  # a model that needs more than text says so with any exception
            if not devices.is_out_of_memory(error):
                raise UnsupportedArchitecture(
                    f"{loaded.key.model_id} does not run on text alone: {first_line(error)}"
                ) from error
            refused = True
    assert refused  # noqa: S101
    devices.release_memory()  # outside the handler, because the error's traceback holds activations
    raise OutOfMemory(
        f"{loaded.key.model_id} ran out of memory on {loaded.key.device} while it read the text.",
        hint="Send a shorter text, or unload other models.",
    )


def _until(prompts: Sequence[torch.Tensor], should_stop: Callable[[], bool]) -> Iterator[torch.Tensor]:
    for ids in prompts:
        if should_stop():
            raise LoadCancelled
        yield ids
