"""Reading the drift of a quantized copy from its row."""

from collections.abc import Mapping
from typing import Any

from modelyard.core.model_types import generates_text
from modelyard.schemas.model import Drift

_NO_TOKENS = {"kl_mean": None, "kl_max": None, "top1_agreement": None}


def stored_drift(stored: Mapping[str, Any] | None, architecture: str | None) -> Drift | None:
    """Return the drift that was measured when a copy was made; None for rows without one.

    Copies of before perplexities were measured have the final hidden state, which is behind the final norm, as the last
    residual, and figures about tokens also for models that put out none.
    """
    if not stored:
        return None
    if "source_perplexity" in stored:
        return Drift.model_validate(stored)
    *residuals, output = stored["residual_cosine"] or [None]
    tokens = _NO_TOKENS if generates_text(architecture) is False else {}
    return Drift.model_validate({**stored, **tokens, "residual_cosine": residuals, "output_cosine": output})
