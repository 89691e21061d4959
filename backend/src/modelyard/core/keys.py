"""The server's key, as it comes from the environment or a file."""


def clean_key(key: str) -> str:
    """Return the key without the line end of a file around it. Raises ValueError for what no HTTP header can carry."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key is sent in a header, which takes only ASCII letters, digits, signs and blanks")
    return key
