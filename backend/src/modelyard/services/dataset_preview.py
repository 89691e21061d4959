"""Looking into a split of a Hub's data set: columns, rows and first rows, from small parts of its files."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from modelyard.core.errors import InvalidRepository, InvalidRequest
from modelyard.core.extras import Extra, missing
from modelyard.core.stored_text import clean_json
from modelyard.hub.dataset_layout import Split
from modelyard.hub.datasets import DatasetClient
from modelyard.hub.model_info import HubFile
from modelyard.ml.parquet_facts import (
    MAX_COLUMNS,
    MAX_NAME_CHARACTERS,
    ParquetFacts,
    Part,
    read_parts,
    short_cell,
    short_row,
)
from modelyard.ml.sae.text_rows import TEXT_COLUMN

FIRST_ROWS = 10
COUNTED_FILES = 16
"""More files of one split are not counted: that is what the card is for."""
FOOTER_READERS = 4
TAIL_BYTES = 256 << 10
MAX_FOOTER_BYTES = 4 << 20
MAX_GROUP_BYTES = 16 << 20
TEXT_BYTES = 256 << 10


@dataclass(frozen=True)
class Preview:
    """`rows` is None where not all were counted, `first_rows` where reading them would take too many bytes."""

    columns: tuple[tuple[str, str], ...]
    rows: int | None
    first_rows: tuple[dict[str, Any], ...] | None


def preview(client: DatasetClient, repo_id: str, commit: str, split: Split) -> Preview:
    """Look into a split. Raises InvalidRepository, InvalidRequest for kinds of file not read here, HubError."""
    readers = {"parquet": _parquet, "jsonl": _json_lines, "text": _text}
    kind = split.format
    if kind is None:
        raise InvalidRequest(
            f"The files of the split {split.name} are not read here.",
            hint="Parquet, JSON lines and plain text are read; convert the data set on its Hub.",
        )
    return readers[kind](client, repo_id, commit, split)


def _parquet(client: DatasetClient, repo_id: str, commit: str, split: Split) -> Preview:
    if find_spec("pyarrow") is None:
        raise missing(Extra.SAE)
    first, *others = split.files
    tails = _tail(client, repo_id, commit, first)
    facts = read_parts(first.path, _size(first), tails)
    rows: int | None = None
    if len(split.files) <= COUNTED_FILES:
        with ThreadPoolExecutor(FOOTER_READERS) as pool:
            # Each in a context of its own, for the deadline of this call.
            counts = [pool.submit(copy_context().run, _rows, client, repo_id, commit, file) for file in others]
            rows = facts.rows + sum(count.result() for count in counts)
    return Preview(facts.columns, rows, _first_rows(client, repo_id, commit, first, tails, facts))


def _rows(client: DatasetClient, repo_id: str, commit: str, file: HubFile) -> int:
    return read_parts(file.path, _size(file), _tail(client, repo_id, commit, file)).rows


def _first_rows(
    client: DatasetClient, repo_id: str, commit: str, file: HubFile, tails: list[Part], facts: ParquetFacts
) -> tuple[dict[str, Any], ...] | None:
    if facts.first_group is None:
        return ()
    start, stop = facts.first_group
    if not 0 <= start < stop <= _size(file):
        raise InvalidRepository(f"The footer of {file.path} names bytes that it does not have.", file=file.path)
    if stop - start > MAX_GROUP_BYTES:
        return None
    group = Part(start, client.read_range(repo_id, commit, file.path, start, stop))
    rows = read_parts(file.path, _size(file), [group, *tails], FIRST_ROWS).first_rows
    return tuple(clean_json(row) for row in rows)


def _tail(client: DatasetClient, repo_id: str, commit: str, file: HubFile) -> list[Part]:
    """Return the end of a Parquet file, with all of its footer. Raises InvalidRepository."""
    size = _size(file)
    if size < 12:
        raise InvalidRepository(f"{file.path} is no readable Parquet file.", file=file.path)
    start = max(0, size - TAIL_BYTES)
    tail = Part(start, client.read_range(repo_id, commit, file.path, start, size))
    footer = int.from_bytes(tail.content[-8:-4], "little") + 8
    if tail.content[-4:] != b"PAR1" or footer > min(size, MAX_FOOTER_BYTES):
        raise InvalidRepository(f"{file.path} is no readable Parquet file.", file=file.path)
    if footer <= len(tail.content):
        return [tail]
    return [Part(size - footer, client.read_range(repo_id, commit, file.path, size - footer, start)), tail]


def _json_lines(client: DatasetClient, repo_id: str, commit: str, split: Split) -> Preview:
    lines, whole = _lines(client, repo_id, commit, split)
    records = [_record(line, split.files[0].path) for line in lines if line.strip()]
    kinds: dict[str, str] = {}
    for record in records:
        for name, value in record.items():
            if len(kinds) < MAX_COLUMNS and kinds.get(name, "null") == "null":
                kinds[name] = _kind(value)
    first = [short_row(record) for record in records[:FIRST_ROWS]]
    columns = tuple((name[:MAX_NAME_CHARACTERS], kind) for name, kind in kinds.items())
    return Preview(columns, len(records) if whole else None, tuple(first))


def _record(line: str, path: str) -> dict[str, Any]:
    try:
        record = clean_json(json.loads(line))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise InvalidRepository(f"{path} is no file of JSON lines.", file=path)
    return record


def _kind(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "double", list: "list", dict: "struct"}
    return names.get(type(value), "null")


def _text(client: DatasetClient, repo_id: str, commit: str, split: Split) -> Preview:
    lines, whole = _lines(client, repo_id, commit, split)
    paragraphs = list(_paragraphs(lines))
    first = tuple({TEXT_COLUMN: short_cell(clean_json(text))} for text in paragraphs[:FIRST_ROWS])
    return Preview(((TEXT_COLUMN, "string"),), len(paragraphs) if whole else None, first)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    found: list[str] = []
    for line in [*lines, ""]:
        if line.strip():
            found.append(line)
        elif found:
            yield "\n".join(found)
            found = []


def _lines(client: DatasetClient, repo_id: str, commit: str, split: Split) -> tuple[list[str], bool]:
    """Return the first whole lines of the first file, and whether they are all lines of the split."""
    file = split.files[0]
    stop = min(_size(file), TEXT_BYTES)
    content = client.read_range(repo_id, commit, file.path, 0, stop) if stop else b""
    whole = stop == _size(file)
    if not whole:
        content = content[: content.rfind(b"\n") + 1]
    try:
        return content.decode("utf-8-sig").split("\n"), whole and len(split.files) == 1
    except UnicodeDecodeError as error:
        raise InvalidRepository(f"{file.path} is not UTF-8 text.", file=file.path) from error


def _size(file: HubFile) -> int:
    if file.size_bytes is None:
        raise InvalidRepository(f"The Hub does not say how large {file.path} is.", file=file.path)
    return file.size_bytes
