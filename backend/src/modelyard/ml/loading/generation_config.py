"""What a repository says about generating text, taken field by field.

A `generation_config.json` can ask for what a request has not asked for (several sequences, contrastive search, output
of another form) and make transformers refuse every generation. So only what belongs to the model is taken from it.
"""

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import read_object

logger = logging.getLogger(__name__)

MAX_STRINGS = 32
MAX_STRING_LENGTH = 200


def read_generation_config(folder: Path, config: Mapping[str, Any], vocab_size: int) -> GenerationConfig:
    """Return the fields of a folder's `generation_config.json` that are used; without one, those of `config`.

    What is not usable is left out and logged: a field, an entry of a list that is no token id below `vocab_size`, a
    file that is no JSON object.
    """
    own = _read(folder)
    source = config if own is None else own
    taken: dict[str, Any] = {}
    for name, check in _checks(vocab_size).items():
        value = source.get(name)
        if value is None:
            continue
        if isinstance(value, list):
            value = _tokens_of(name, value, vocab_size)
        if check(value):
            taken[name] = value
        else:
            logger.warning("%s of the model's generation settings is ignored: it is not usable", name)
    # Sampling settings beside greedy decoding are no valid configuration; each request says which of the two it wants.
    return GenerationConfig(**taken, do_sample=bool({"top_k", "top_p"} & set(taken)))


def read_stop_strings(folder: Path) -> tuple[str, ...]:
    """The texts that end a generation. They are no part of a GenerationConfig here: transformers wants the tokenizer
    in this process for them."""
    strings = (_read(folder) or {}).get("stop_strings")
    values = [strings] if isinstance(strings, str) else strings
    if not isinstance(values, list) or len(values) > MAX_STRINGS:
        return ()
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_STRING_LENGTH for text in values):
        return ()
    return tuple(values)


def _tokens_of(name: str, values: list[Any], vocab_size: int) -> list[Any]:
    """Return the token ids in a list; all of it where there are none."""
    tokens = [value for value in values if _is_token(value, vocab_size)]
    if tokens and len(tokens) < len(values):
        logger.warning("%s of the model's generation settings names tokens that there are not", name)
    return tokens or values


def _is_token(value: Any, vocab_size: int) -> bool:
    return type(value) is int and 0 <= value < vocab_size


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        return read_object(folder / "generation_config.json", folder.name)
    except FileNotFoundError:
        return None
    except InvalidRepository as error:
        logger.warning("%s It is ignored.", error.message)
        return None


def _checks(vocab_size: int) -> dict[str, Callable[[Any], bool]]:
    def is_token(value: Any) -> bool:
        return _is_token(value, vocab_size)

    def are_tokens(value: Any) -> bool:
        return isinstance(value, list) and all(map(is_token, value))

    def is_token_or_some(value: Any) -> bool:
        return is_token(value) or (are_tokens(value) and bool(value))

    return {
        "bos_token_id": is_token,
        "eos_token_id": is_token_or_some,
        "pad_token_id": is_token,
        "decoder_start_token_id": is_token,
        "forced_bos_token_id": is_token,
        "forced_eos_token_id": is_token_or_some,
        "suppress_tokens": are_tokens,
        "begin_suppress_tokens": are_tokens,
        "repetition_penalty": lambda value: _is_number(value) and 0 < value <= 100,
        "no_repeat_ngram_size": lambda value: type(value) is int and 0 <= value <= 1000,
        "top_k": lambda value: type(value) is int and 0 < value < 2**31,
        "top_p": lambda value: _is_number(value) and 0 < value <= 1,
    }


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
