"""Names in a `config.json` that transformers, or timm below it, would look for outside of the repository."""

import re
from collections.abc import Mapping
from typing import Any

# Such as resnet50.a1_in1k. What else timm takes leads elsewhere: hf-hub:owner/name, local-dir:/path.
_ARCHITECTURE = re.compile(r"[\w.-]+", re.ASCII)
_OF_TIMM = {"timm_backbone": "backbone", "timm_wrapper": "architecture"}
"""Model types whose key names an architecture that timm builds, with no Hub."""


def foreign_source(config: Mapping[str, Any], prefix: str = "") -> str | None:
    """Return a clause about the first key that names a model elsewhere, at any depth; None where there is none.

    A `backbone` is asked of the Hub, and its configuration is read from there, whatever else the configuration says of
    it (`use_pretrained_backbone`, `use_timm_backbone`).
    """
    own = _OF_TIMM.get(str(config.get("model_type")))
    for key, value in config.items():
        if isinstance(value, Mapping) and (found := foreign_source(value, f"{prefix}{key}.")):
            return found
        if key not in ("backbone", own) or not isinstance(value, str):
            continue
        if key != own or not _ARCHITECTURE.fullmatch(value):
            return f"{prefix}{key} names another model, {ascii(value)[:100]}"
    return None
