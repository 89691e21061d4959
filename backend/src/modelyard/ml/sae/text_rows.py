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

SUFFIXES = (".jsonl", ".txt", ".parquet")
TEXT_COLUMN = "text"
"""The only column of a plain text file."""

PREVIEW_ROWS = 100
SAMPLE_ROWS = 200
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


def preview(path: Path, rules: PathRules) -> TextFile:
    """The text columns, judged by the first rows. Raises InvalidRequest, also for a file that cannot be read."""
    names = dict.fromkeys(
        name
        for record in islice(_records(path, rules), PREVIEW_ROWS)
        for name, value in record.items()
        if isinstance(value, str)
    )
    if not names:
        raise InvalidRequest(
            f"{path.name} holds no text.", hint="Use a .txt file, or .jsonl or .parquet with a column of strings."
        )
    return TextFile(None, tuple(names))


def count(path: Path, rules: PathRules) -> TextFile:
    """Read the whole file. Raises InvalidRequest, with the line that is wrong."""
    found = preview(path, rules)
    return TextFile(sum(1 for _ in _records(path, rules)), found.columns)


def sample(path: Path, column: str, rules: PathRules) -> Sample:
    """The texts of the first rows. Raises InvalidRequest."""
    found: list[str] = []
    characters = 0
    for number, (share, record) in enumerate(_read(path, rules), 1):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            found.append(value)
            characters += len(value)
        if number >= SAMPLE_ROWS or characters >= SAMPLE_CHARACTERS:
            return Sample(tuple(found), min(1.0, share))
    return Sample(tuple(found), 1.0)


def texts(path: Path, column: str, rules: PathRules) -> Iterator[str]:
    """The rows of a column that hold text; others are passed over. Raises InvalidRequest."""
    for record in _records(path, rules):
        value = record.get(column)
        if isinstance(value, str) and value.strip():
            yield value


def _records(path: Path, rules: PathRules) -> Iterator[dict[str, Any]]:
    for _, record in _read(path, rules):
        yield record


def _read(path: Path, rules: PathRules) -> Iterator[tuple[float, dict[str, Any]]]:
    """Each row, and before it the share of the file up to its end. Raises InvalidRequest, PathNotAllowed."""
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
    with TextIOWrapper(BufferedReader(content), encoding="utf-8") as file:
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
            yield done / total, record


def _paragraphs(_path: Path, content: FileIO) -> Iterator[tuple[float, dict[str, Any]]]:
    total, done = os.fstat(content.fileno()).st_size, 0
    lines: list[str] = []
    characters = 0
    with TextIOWrapper(BufferedReader(content), encoding="utf-8") as file:
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
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    done += 1
                    yield done / file.metadata.num_rows, record
    except pyarrow.ArrowException as error:
        raise InvalidRequest(
            f"{path.name} is no readable Parquet file.", hint="Write it again, or use .jsonl or .txt."
        ) from error
