"""What a text file is to a run: which column is read, and about how many tokens it has. Needs no torch."""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.core.errors import InvalidRequest, NoTokenizer, PathNotAllowed, TemplateFailed
from modelyard.core.paths import PathRules
from modelyard.hub.cache.hashing import Identity, identity
from modelyard.schemas.training import DatasetChoice
from modelyard.services.training.paths import present_path

if TYPE_CHECKING:
    from modelyard.ml.untrusted import SpecialTokens

CHARACTERS_PER_TOKEN = 4
"""Where the model's tokenizer is none that can be read here."""

COUNT_SECONDS = 20.0
"""Somebody waits for the number, and an estimate will do."""


@dataclass(frozen=True)
class Text:
    """A file as it is now; `columns` are those that hold text, `column` the one that is read."""

    path: Path
    column: str
    columns: tuple[str, ...]
    rules: PathRules


@dataclass(frozen=True)
class Tokens:
    """Of a column. `counted`: not estimated from its first rows, nor from its characters.

    `number` is None where those rows hold no text, so that nothing is known of the others.
    """

    number: int | None
    counted: bool


def find_text(choice: DatasetChoice, rules: PathRules) -> Text:
    """Return the file and the column that are meant. Raises InvalidRequest and PathNotAllowed, which name the field."""
    from modelyard.ml.sae.text_rows import preview

    path = Path(present_path(choice.path))
    try:
        rules.find_file(path)
    except PathNotAllowed as error:
        errors = [{"field": "dataset.path", "message": error.message}]
        raise PathNotAllowed(error.message, hint=error.hint, errors=errors) from error
    except InvalidRequest as error:
        raise wrong_field(
            "dataset.path", error.message, "Send it to POST /datasets, or give an absolute path."
        ) from error
    try:
        columns = preview(path, rules, choice.column).columns
    except InvalidRequest as error:
        raise wrong_field("dataset.path", error.message, error.hint) from error
    if choice.column is not None and choice.column not in columns:
        raise _no_column(f"{path.name} has no text column {choice.column!r}.", columns)
    column = choice.column or _only(columns)
    if column is None:
        raise _no_column(f"{path.name} has {len(columns)} text columns.", columns)
    return Text(path, column, columns, rules)


def count_tokens(text: Text, tokenizer_folder: Path) -> Tokens:
    """Count the tokens of the first rows with the model's tokenizer. Raises InvalidRequest, PathNotAllowed."""
    return _count(text, tokenizer_folder, identity(text.rules.find_file(text.path).status))


def special_tokens(tokenizer_folder: Path) -> "SpecialTokens":
    """Return the special tokens of a model's tokenizer.

    None where it cannot be read here, which the run itself says.
    """
    version = tuple(
        (path.name, path.stat().st_mtime_ns) for path in sorted(tokenizer_folder.glob("*token*")) if path.is_file()
    )
    return _special_tokens(tokenizer_folder, version)


def beginning_token(wanted: str, special: "SpecialTokens") -> str | None:
    """Return the token that `beginning` of a run means, None for none.

    Raises InvalidRequest for one that is none of them.
    """
    if wanted in ("auto", "none"):
        return special.bos if wanted == "auto" else None
    if special.tokens and wanted not in special.tokens:
        raise wrong_field(
            "beginning",
            f"{wanted!r} is no special token of the model's tokenizer.",
            f"Use auto, none or one of {', '.join(special.tokens)}.",
        )
    return wanted


def wrong_field(field: str, message: str, hint: str | None, **more: object) -> InvalidRequest:
    return InvalidRequest(message, hint=hint, errors=[{"field": field, "message": message, **more}])


def _only(columns: tuple[str, ...]) -> str | None:
    from modelyard.ml.sae.text_rows import TEXT_COLUMN

    if len(columns) == 1:
        return columns[0]
    return TEXT_COLUMN if TEXT_COLUMN in columns else None


def _no_column(message: str, columns: tuple[str, ...]) -> InvalidRequest:
    return wrong_field("dataset.column", message, f"Its text columns are {', '.join(columns)}.", columns=list(columns))


@lru_cache(maxsize=64)
def _special_tokens(tokenizer_folder: Path, _version: tuple[tuple[str, int], ...]) -> "SpecialTokens":
    from modelyard.ml.untrusted import SpecialTokens, Tokenizer, TokenizerStopped

    deadline = time.monotonic() + COUNT_SECONDS
    try:
        with Tokenizer(tokenizer_folder, tokenizer_folder.name) as tokenizer:
            return tokenizer.special_tokens(should_stop=lambda: time.monotonic() > deadline)
    except (NoTokenizer, TemplateFailed, TokenizerStopped):
        return SpecialTokens(None, ())


@lru_cache(maxsize=64)
def _count(text: Text, tokenizer_folder: Path, _version: Identity) -> Tokens:
    from modelyard.ml.sae.text_rows import sample

    try:
        found = sample(text.path, text.column, text.rules)
    except InvalidRequest as error:
        raise wrong_field("dataset.path", error.message, error.hint) from error
    if not found.texts and found.share < 1.0:
        return Tokens(None, False)
    number = _tokenize(found.texts, tokenizer_folder)
    counted = number is not None and found.share == 1.0
    if number is None:
        number = sum(map(len, found.texts)) // CHARACTERS_PER_TOKEN
    return Tokens(round(number / found.share), counted)


def _tokenize(texts: tuple[str, ...], tokenizer_folder: Path) -> int | None:
    """None without a tokenizer that works within limits; the run itself says what is wrong with it."""
    from modelyard.ml.untrusted import Tokenizer, TokenizerStopped

    deadline = time.monotonic() + COUNT_SECONDS
    try:
        with Tokenizer(tokenizer_folder, tokenizer_folder.name) as tokenizer:
            return tokenizer.count(texts, should_stop=lambda: time.monotonic() > deadline)
    except (NoTokenizer, TemplateFailed, TokenizerStopped):
        return None
