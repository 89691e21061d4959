"""The name of a licence, which authors write into a model card as they like."""

MAX_CHARACTERS = 200
"""As many as a row keeps."""


def licence_name(value: object) -> str | None:
    """Return a licence in one line of at most MAX_CHARACTERS; None for what is no text that can be shown."""
    if not isinstance(value, str) or not value.isprintable():
        return None
    return value if len(value) <= MAX_CHARACTERS else f"{value[: MAX_CHARACTERS - 1]}…"
