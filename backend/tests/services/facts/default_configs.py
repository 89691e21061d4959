"""Prints, for every causal language model of transformers, its default configuration and what it says of itself.

Run as a script: transformers is not for the process of the tests.
"""

import json
import sys
from typing import Any

from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ATTRIBUTES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)


def describe(model_type: str) -> dict[str, Any]:
    """Both as the config object has it: through its `attribute_map`, and of its text part."""
    config = AutoConfig.for_model(model_type)
    text = config.get_text_config()
    attributes = {name: getattr(text, name, None) for name in ATTRIBUTES}
    parts = [getattr(text, name, None) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
    if all(parts):
        attributes["head_dim"] = sum(filter(None, parts))  # transformers' head_dim is the rotary part alone here
    return {"config": json.loads(config.to_json_string(use_diff=False)), "attributes": attributes}


if __name__ == "__main__":
    found = {}
    for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if name in CONFIG_MAPPING:
            try:
                found[name] = describe(name)
            except Exception as error:  # noqa: BLE001 - some need packages that are not installed
                print(f"{name}: {error}", file=sys.stderr)
    json.dump(found, sys.stdout)
