"""The bytes that a token stands for by itself, which may be a part of a character."""

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"


def piece_bytes(tokenizer: "PreTrainedTokenizerBase", token: int) -> bytes:
    """Return the bytes of a token in the middle of a text; of a special one, those of its name. Unknown ids: none."""
    added = tokenizer.added_tokens_decoder.get(token)
    if added is not None:
        return _encoded(added.content)
    name = tokenizer.convert_ids_to_tokens(token)
    if not isinstance(name, str):
        return b""
    kinds = _decoders(tokenizer)
    if "ByteLevel" in kinds and all(letter in _bytes_of_letters() for letter in name):
        return bytes(_bytes_of_letters()[letter] for letter in name)
    if byte := _BYTE.fullmatch(name):
        return bytes.fromhex(byte[1])
    if _SPACE in name:
        return _encoded(name.replace(_SPACE, " "))
    if kinds & {"ByteLevel", "Metaspace", "Replace", "ByteFallback"}:
        return _encoded(name)
    return _encoded(tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _decoders(tokenizer: "PreTrainedTokenizerBase") -> frozenset[str]:
    """Return the kinds of steps in which a tokenizer's library makes a text of its tokens."""
    known: frozenset[str] | None = tokenizer.__dict__.get("_modelyard_decoders")
    if known is None:
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        decoder = json.loads(backend.to_str()).get("decoder") if backend is not None else None
        steps = (decoder or {}).get("decoders", [decoder] if decoder else [])
        known = frozenset(str(step.get("type")) for step in steps)
        tokenizer.__dict__["_modelyard_decoders"] = known
    return known


@cache
def _bytes_of_letters() -> dict[str, int]:
    """Return GPT-2's letters for bytes: printable ones stand for themselves, the others follow U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
