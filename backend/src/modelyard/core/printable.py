"""Texts of strangers, before they go to a terminal or a log."""

import json
from typing import Any


def printable(text: str) -> str:
    """Replace control characters, so that what others wrote cannot steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def printable_json(value: Any) -> str:
    """Return indented JSON without characters that could steer a terminal; it still means the same.

    JSON itself escapes only U+0000 to U+001F.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
