"""Whether a model could be trained on, judged at once: by its configuration and the names of its files."""

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.hub.model_info import HubFile
from modelyard.schemas.common import Reason
from modelyard.schemas.model import TrainingVerdict
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import plan_files

NEVER = {
    "encoder_only": "This is an encoder: it reads text in both directions and is no language model,"
    " so there is no causal residual stream to train on.",
    "encoder_decoder": "This is an encoder-decoder model: it needs two inputs, and training feeds only one text."
    " Choose a decoder-only model.",
    "peft_adapter": "This is an adapter. Train on its base.",
}
_FATAL = {"gguf_only", "no_weights", "no_config", "not_a_language_model", "needs_custom_code"}


def static_verdict(model_id: str, config: Mapping[str, Any] | None, names: Sequence[str]) -> TrainingVerdict:
    """From the configuration and the names of the files, here or on a Hub; at once. None: it cannot be read yet."""
    from modelyard.ml.inspect.support import static_support

    if config is None and "config.json" in names:
        return verdict(None, "unknown_dimensions", "Its configuration cannot be read before it is here.")
    for reason in static_support(config, names).reasons:
        if reason.code in NEVER or reason.code in _FATAL:
            return verdict(False, reason.code, NEVER.get(reason.code, reason.message))
    if names and not plan_files([HubFile(name, None, None, None) for name in names]).has_tokenizer:
        return verdict(False, "no_tokenizer", f"{model_id} has no tokenizer, so texts cannot be fed to it.")
    facts = read_config(config or {}).dimensions
    if facts["hidden_size"] is None or facts["num_layers"] is None:
        message = "config.json does not say how wide and how deep the model is; the inspector may find out."
        return verdict(None, "unknown_dimensions", message)
    return TrainingVerdict(compatible=True, reasons=[])


def verdict(compatible: bool | None, code: str, message: str) -> TrainingVerdict:
    return TrainingVerdict(compatible=compatible, reasons=[Reason(code=code, message=message)])
