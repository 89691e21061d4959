"""What every text and every JSON value passes on its way into a database.

Texts of strangers reach most columns: names, error messages, what a model wrote. PostgreSQL stores no U+0000, no
database stores half of a surrogate pair, and JSON has no NaN. They are replaced here, in one place, so that a result or
an error can always be written down.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return the text with U+FFFD for what no database stores."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def clean_json(value: Any) -> Any:
    """Return a copy whose texts are clean; None for what is not a finite number."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {clean_text(key) if isinstance(key, str) else key: clean_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner) for inner in value]
    return value


def dump_json(value: Any) -> str:
    """JSON that every database and every client reads."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:  # NaN or Infinity
        return json.dumps(clean_json(value), allow_nan=False)
    # Escapes show what is in it; most values hold neither NUL nor anything beyond the first plane.
    return json.dumps(clean_json(value)) if "\\u0000" in text or "\\ud" in text else text


def clean_parameters(parameters: Any) -> Any:
    """Return the parameters of a statement, or of several, with clean texts; the same object where all are."""
    if isinstance(parameters, str):
        return clean_text(parameters)
    if isinstance(parameters, dict):
        cleaned = {name: clean_parameters(value) for name, value in parameters.items()}
        return cleaned if any(cleaned[name] is not value for name, value in parameters.items()) else parameters
    if isinstance(parameters, list | tuple):
        parts = [clean_parameters(value) for value in parameters]
        changed = any(new is not old for new, old in zip(parts, parameters, strict=True))
        return type(parameters)(parts) if changed else parameters
    return parameters
