"""A text that is sent to many sockets, and encoded for all of them once."""

from typing import Any


class SharedBytes(bytes):
    """The encoded text. `forms` is for whoever sends it: what all sockets of one kind get, by the kind."""

    def __new__(cls, content: bytes) -> "SharedBytes":
        shared = super().__new__(cls, content)
        shared.forms = {}
        return shared

    forms: dict[Any, Any]


class SharedText(str):
    """A str whose UTF-8 form is made once."""

    __slots__ = ("_encoded",)
    _encoded: SharedBytes

    def __new__(cls, text: str) -> "SharedText":
        shared = super().__new__(cls, text)
        shared._encoded = SharedBytes(str.encode(text))
        return shared

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self._encoded if encoding in ("utf-8", "utf8") else super().encode(encoding, errors)
