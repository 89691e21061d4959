"""Licence names of model cards, which authors write freely."""

MAX_CHARACTERS = 200
"""As many as a row keeps."""

LICENCE_TAG = "license:"
"""Before the licence among the tags of a model on a Hub."""


def licence_name(value: object) -> str | None:
    """Return a licence as one line of at most MAX_CHARACTERS, None if it is no text."""
    if not isinstance(value, str) or not value.isprintable():
        return None
    return value if len(value) <= MAX_CHARACTERS else f"{value[: MAX_CHARACTERS - 1]}…"
