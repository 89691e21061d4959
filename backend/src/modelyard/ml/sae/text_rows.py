"""Reading a local text file row by row: JSON lines, plain text (a row is a paragraph) or Parquet. Needs no torch."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, FileIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidRequest
from modelyard.core.paths import PathRules
from modelyard.core.stored_text import clean_text

SUFFIXES = (".jsonl", ".txt", ".parquet")
TEXT_COLUMN = "text"
"""The only column of a plain text file."""

PREVIEW_ROWS = 100
LOOKED_AT_ROWS = 10_000
"""At most, where the first rows do not tell: they hold nothing in a column, or no text at all."""
SAMPLE_TEXTS = 200
SAMPLE_CHARACTERS = 1_000_000
MAX_LINE_CHARACTERS = 10_000_000
PARAGRAPH_CHARACTERS = 1_000_000
"""A longer paragraph becomes several rows."""


@dataclass(frozen=True)
class TextFile:
    """What a file holds; `columns` are those that can be trained on. `rows` is None where nobody counted."""

    rows: int | None
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """The first texts of a column, and which part of the file (its bytes, or the rows of Parquet) they were read from.

    `share` is 1.0 where they are all there are.
    """

    texts: tuple[str, ...]
    share: float


def preview(path: Path, rules: PathRules, column: str | None = None) -> TextFile:
    """Return the text columns, judged by the first rows; `column` is looked for further on where those lack it.

    Raises InvalidRequest, also for a file that cannot be read.
    """
    kinds = _Kinds(column)
    number = 0
    for number, record in enumerate(islice(_records(path, rules), LOOKED_AT_ROWS), 1):
        kinds.add(record)
        if number >= PREVIEW_ROWS and kinds.are_known:
            break
    return TextFile(None, _require_text(kinds, path, number))


def count(path: Path, rules: PathRules) -> TextFile:
    """Read the whole file. Raises InvalidRequest, with the line that is wrong."""
    kinds = _Kinds()
    rows = 0
    for record in _records(path, rules):
        rows += 1
        if rows <= PREVIEW_ROWS or not kinds.are_known:
            kinds.add(record)
    return TextFile(rows, _require_text(kinds, path, rows))


class _Kinds:
    """Which columns hold text, as far as rows were looked at."""

    def __init__(self, wanted: str | None = None) -> None:
        self._is_text: dict[str, bool | None] = {} if wanted is None else {wanted: None}
        """None where there was nothing yet."""

    def add(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if value is not None and not self._is_text.get(name):
                self._is_text[name] = isinstance(value, str)
            else:
                self._is_text.setdefault(name, None)

    @property
    def are_known(self) -> bool:
        return bool(self.columns) and None not in self._is_text.values()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, is_text in self._is_text.items() if is_text)


def _require_text(kinds: _Kinds, path: Path, rows: int) -> tuple[str, ...]:
    if not kinds.columns:
        where = f" in its first {LOOKED_AT_ROWS:,} rows" if rows == LOOKED_AT_ROWS else ""
        raise InvalidRequest(
            f"{path.name} holds no text{where}.",
            hint="Use a .txt file, or .jsonl or .parquet with a column of strings.",
        )
    return kinds.columns


def sample(path: Path, column: str, rules: PathRules) -> Sample:
    """Return the first texts. Raises InvalidRequest."""
    found: list[str] = []
    characters = 0
    for number, (share, record) in enumerate(_read(path, rules), 1):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            found.append(value)
            characters += len(value)
        if len(found) >= SAMPLE_TEXTS or characters >= SAMPLE_CHARACTERS or number >= LOOKED_AT_ROWS:
            return Sample(tuple(found), min(1.0, share))
    return Sample(tuple(found), 1.0)


def texts(path: Path, column: str, rules: PathRules) -> Iterator[str]:
    """Yield the rows of a column that hold text; others are passed over. Raises InvalidRequest."""
    for record in _records(path, rules):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            yield value


def _records(path: Path, rules: PathRules) -> Iterator[dict[str, Any]]:
    for _, record in _read(path, rules):
        yield record


def _read(path: Path, rules: PathRules) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield each row, and before it the share of the file up to its end. Raises InvalidRequest, PathNotAllowed."""
    readers = {".jsonl": _json_lines, ".txt": _paragraphs, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidRequest(
            f"{path.name} is none of the kinds of file that are read.", hint=f"Use {', '.join(SUFFIXES)}."
        )
    try:
        with rules.find_file(path).open() as file:
            yield from reader(path, file)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path.name} is not UTF-8 text.", hint="Convert it to UTF-8.") from error
    except OSError as error:
        raise InvalidRequest(
            f"{path.name} cannot be read: {error.strerror or error}.", hint="Check the path and who may read the file."
        ) from error


def _json_lines(path: Path, content: FileIO) -> Iterator[tuple[float, dict[str, Any]]]:
    total, done = os.fstat(content.fileno()).st_size, 0
    with TextIOWrapper(BufferedReader(content), encoding="utf-8-sig") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARACTERS), ""), 1):
            if len(line) == MAX_LINE_CHARACTERS:
                raise InvalidRequest(
                    f"Line {number} of {path.name} is longer than {MAX_LINE_CHARACTERS:,} characters.",
                    hint="Split its text into several lines.",
                )
            done += len(line.encode())
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise InvalidRequest(
                    f"Line {number} of {path.name} is not a JSON object.",
                    hint='Write one object a line, such as {"text": "…"}.',
                )
            yield done / total, _storable(record) if "\\u" in line else record


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    """The record without halves of surrogate pairs, which JSON can write and no tokenizer, answer or file takes."""
    return {clean_text(name): clean_text(value) if isinstance(value, str) else value for name, value in record.items()}


def _paragraphs(_path: Path, content: FileIO) -> Iterator[tuple[float, dict[str, Any]]]:
    total, done = os.fstat(content.fileno()).st_size, 0
    lines: list[str] = []
    characters = 0
    with TextIOWrapper(BufferedReader(content), encoding="utf-8-sig") as file:
        for line in iter(lambda: file.readline(PARAGRAPH_CHARACTERS), ""):
            done += len(line.encode())
            if line.strip():
                lines.append(line)
                characters += len(line)
            if lines and (not line.strip() or characters >= PARAGRAPH_CHARACTERS):
                yield done / total, {TEXT_COLUMN: "".join(lines)}
                lines, characters = [], 0
    if lines:
        yield 1.0, {TEXT_COLUMN: "".join(lines)}


def _parquet(path: Path, content: FileIO) -> Iterator[tuple[float, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InvalidRequest(
            "Reading Parquet needs pyarrow, which comes with the training extra.", hint="Use .jsonl or .txt."
        ) from error
    try:
        with pyarrow.parquet.ParquetFile(content) as file:
            done = 0
            # Others need not be read, and may hold what Python has no value for.
            columns = [field.name for field in file.schema_arrow if _is_text(field.type)]
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    done += 1
                    yield done / file.metadata.num_rows, dict(zip(batch.schema.names, values, strict=True))
    except pyarrow.ArrowException as error:
        raise InvalidRequest(
            f"{path.name} is no readable Parquet file.", hint="Write it again, or use .jsonl or .txt."
        ) from error


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
