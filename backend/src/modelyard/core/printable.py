"""Texts of strangers, before they go to a terminal or a log."""


def printable(text: str) -> str:
    """Replace control characters: what others wrote must not steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
