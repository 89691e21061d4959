"""What a model is asked when a copy is compared with what it was made of, and what it answers."""

from pathlib import Path

from transformers import PreTrainedModel

from modelyard.core.errors import NoTokenizer, TemplateFailed
from modelyard.ml.inspect.meta_model import first_line
from modelyard.ml.loading import devices
from modelyard.ml.quantize import drift
from modelyard.ml.untrusted import Tokenizer


def find_prompts(model_id: str, source: Path, model: PreTrainedModel) -> drift.Prompts:
    """Return the fixed prompts in the tokens of a model; pseudo-random ones where its folder has no tokenizer."""
    vocab_size = model.config.get_text_config(decoder=True).vocab_size
    try:
        with Tokenizer(source, model_id) as tokenizer:
            return drift.fixed_prompts(tokenizer, vocab_size)
    except (NoTokenizer, TemplateFailed):
        return drift.fixed_prompts(None, vocab_size)


def answers_of(model: PreTrainedModel, prompts: drift.Prompts) -> drift.Observation | str:
    """Return what the model makes of the prompts, or why it cannot run them."""
    try:
        return drift.observe(model, prompts.ids)
    except Exception as error:  # a model that needs more than text says so with any exception
        if devices.is_out_of_memory(error):
            raise
        return f"The model does not run on text alone: {first_line(error)}"
