"""Check a repository's tokenizer files before transformers opens them.

transformers passes every key of `tokenizer_config.json` and `special_tokens_map.json` to the tokenizer's class, and
some of these classes open what they are given: `"vocab": "/etc/passwd"` makes a vocabulary of that file. Only keys that
are known to name no file pass with text in them.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.errors import NoTokenizer

TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"

TEXT_OPTIONS = frozenset({
    "_commit_hash", "added_tokens_decoder", "auto_map", "backend", "chat_template", "emoji", "errors", "files_loaded",
    "id2lang", "lang2id", "lang_codes", "langs", "language", "language_codes", "legacy_behaviour", "mask_token_sent",
    "mode", "model_input_names", "never_split", "normalization", "padding_side", "phonemizer_backend",
    "phonemizer_lang", "processor_class", "replace_word_delimiter_char", "response_schema", "rewriting_rules",
    "source_lang", "src_lang", "subword_tokenizer_type", "tags_dict", "target_lang", "task", "tgt_lang",
    "token_type_ids_pattern", "tokenizer_class", "transformers_version", "truncation_side", "truncation_strategy",
    "word_tokenizer_type", "wordpieces_prefix",
})  # fmt: skip
"""Keys whose text no tokenizer takes for a path, besides those that end in TEXT_SUFFIXES."""

TEXT_SUFFIXES = ("_token", "_tokens", "_template")

OPENED = frozenset({"vocab", "merges", "entity_vocab", "init_inputs", "gguf_file", "sp_model_kwargs"})
"""Keys that name what is to be opened. What other keys say of files, transformers finds in the folder itself."""

WORD_OPTIONS = frozenset({"jumanpp_kwargs", "mecab_kwargs", "sudachi_kwargs"})
"""Options of Japanese tokenizers: names of dictionaries that are installed, but no paths."""

FILE_LIST = "fast_tokenizer_files"
"""A list of files of which transformers opens one, chosen by the version in its name."""

_WORD = re.compile(r"\w+", re.ASCII)
_FILE_NAME = re.compile(r"[\w.+-]+", re.ASCII)


@contextmanager
def checked(folder: Path) -> Iterator[Path]:
    """Give a folder whose tokenizer may be read while the context lasts: this one, or links to it beside cleaned files.

    Raises NoTokenizer, which names the file and the key, where a key would make transformers open another file.
    """
    cleaned = clean_files(folder)
    if not cleaned:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-tokenizer-") as name:
        copy = Path(name)
        for path in folder.iterdir():
            if path.name not in cleaned:
                (copy / path.name).symlink_to(path.absolute())
        for file_name, values in cleaned.items():
            (copy / file_name).write_text(json.dumps(values), encoding="utf-8")
        yield copy


def clean_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return by name the files that must be replaced, with what they may say. Raises NoTokenizer."""
    found: dict[str, dict[str, Any]] = {}
    for name in (TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP):
        try:
            values = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # transformers cannot read it either, and says so where it needs it
        if isinstance(values, dict):
            cleaned = _clean(name, values)
            if cleaned != values:
                found[name] = cleaned
    return found


def _clean(file_name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if _may_stay(file_name, key, value)}


def _may_stay(file_name: str, key: str, value: Any) -> bool:
    """Return whether a value is passed on; False leaves it out. Raises NoTokenizer."""
    texts = list(_texts(value))
    if key == FILE_LIST:
        if not all(_FILE_NAME.fullmatch(text) for text in texts):
            raise _names_a_file(file_name, key)
        return True
    if key in OPENED and texts:
        raise _names_a_file(file_name, key)
    if key in WORD_OPTIONS:
        if not all(_WORD.fullmatch(text) for text in texts):
            raise _names_a_file(file_name, key)
        return True
    if key == "name_or_path":  # transformers puts the folder in its place, except where the map of tokens says it
        return file_name == TOKENIZER_CONFIG
    if key.endswith("_file"):
        return value is None
    return not texts or key in TEXT_OPTIONS or key.endswith(TEXT_SUFFIXES)


def _texts(value: Any) -> Iterator[str]:
    """Yield each text in a value, at any depth; keys of objects are none."""
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            pending.extend(each.values())
        elif isinstance(each, list):
            pending.extend(each)


def _names_a_file(file_name: str, key: str) -> NoTokenizer:
    return NoTokenizer(
        f"{file_name} names in {key!r} a file to open; Modelyard reads only the repository's own files.",
        hint="Do not use this repository unless you know why it does so; without that key its tokenizer can be read.",
    )
