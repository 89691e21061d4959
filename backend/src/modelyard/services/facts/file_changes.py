"""What the files of two versions of a model differ in, in the words a user decides by."""

import json
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

from modelyard.hub.names import RemoteFile

Change = Literal["weights", "tokenizer", "template", "config", "readme", "other"]

CHANGES: tuple[Change, ...] = ("weights", "tokenizer", "template", "config", "readme", "other")
TOKENIZER_CONFIG = "tokenizer_config.json"

_WEIGHTS = {".safetensors", ".bin", ".gguf", ".pt", ".pth"}
_TEMPLATES = {"chat_template.jinja", "chat_template.json"}
_TOKENIZERS = {
    TOKENIZER_CONFIG,
    "added_tokens.json",
    "byte_maps.json",
    "merges.txt",
    "normalizer.json",
    "special_tokens_map.json",
    "tekken.json",
    "tokenizer.json",
    "vocab-src.json",
    "vocab-tgt.json",
    "vocab.json",
    "vocab.txt",
}
_VOCABULARIES = {".model", ".tiktoken", ".spm", ".vocab", ".bpe", ".codes", ".tokenizer"}


def changed_kinds(
    old: Sequence[RemoteFile],
    new: Sequence[RemoteFile],
    tokenizer_configs: Callable[[], tuple[bytes | None, bytes | None]],
) -> list[Change]:
    """Return which kinds of files were added, removed or changed; empty where none of these files was.

    `tokenizer_configs` reads the old and the new tokenizer_config.json, where alone a chat template may have changed.
    """
    before, after = ({file.path: (file.size_bytes, _hash(file)) for file in files} for files in (old, new))
    differing = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    kinds: set[Change] = set()
    for path in differing:
        if path == TOKENIZER_CONFIG:
            kinds |= _changes_of_tokenizer_config(*tokenizer_configs())
        else:
            kinds.add(kind_of_file(path))
    return [kind for kind in CHANGES if kind in kinds]


def kind_of_file(name: str) -> Change:
    """Return what a file of a repository is for."""
    path = PurePosixPath(name)
    if path.suffix in _WEIGHTS or path.name.endswith((".safetensors.index.json", ".bin.index.json")):
        return "weights"
    if path.name in _TEMPLATES or path.parts[0] == "additional_chat_templates":
        return "template"
    if path.name in _TOKENIZERS or path.suffix in _VOCABULARIES:
        return "tokenizer"
    if path.suffix == ".md":
        return "readme"
    return "config" if path.suffix in (".json", ".yaml", ".yml") else "other"


def _hash(file: RemoteFile) -> str | None:
    return file.sha256 or file.git_sha1


def _changes_of_tokenizer_config(old: bytes | None, new: bytes | None) -> set[Change]:
    before, after = _parsed(old), _parsed(new)
    kinds: set[Change] = set()
    if before.pop("chat_template", None) != after.pop("chat_template", None):
        kinds.add("template")
    # What cannot be read at all has changed in a way that nobody can name.
    if before != after or not kinds:
        kinds.add("tokenizer")
    return kinds


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(content or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
