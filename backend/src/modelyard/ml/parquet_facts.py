"""Reads parts of strangers' Parquet files in a child process with limits: nobody knows what they unpack to.

The parent writes the parts that it has at their places in a sparse file, and `python -m modelyard.ml.parquet_facts
FILE ROWS` answers with JSON.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from modelyard.core.child_environment import child_environment
from modelyard.core.errors import InvalidRepository
from modelyard.core.process_limits import MEGABYTE, Limits, data_bytes, limit_this_process

LIMITS = Limits(memory_bytes=512 * MEGABYTE, cpu_seconds=10, seconds=30.0)
MAX_COLUMNS = 200
MAX_CELL_CHARACTERS = 1000
MAX_NAME_CHARACTERS = 200
MAX_FILE_BYTES = 10**12


@dataclass(frozen=True)
class Part:
    """Bytes of a file, from `start` on."""

    start: int
    content: bytes


@dataclass(frozen=True)
class ParquetFacts:
    """What the footer of a file says; `first_group` is where the bytes of the first rows are."""

    rows: int
    columns: tuple[tuple[str, str], ...]
    first_group: tuple[int, int] | None
    first_rows: tuple[dict[str, Any], ...]


def read_parts(name: str, size_bytes: int, parts: Sequence[Part], rows: int = 0) -> ParquetFacts:
    """Return what a file's footer says and, with `rows`, its first rows. Raises InvalidRepository."""
    if size_bytes > MAX_FILE_BYTES:
        raise InvalidRepository(f"{name} is larger than {MAX_FILE_BYTES:,} bytes.", file=name)
    with tempfile.TemporaryDirectory(prefix="modelyard-parquet-") as folder:
        path = Path(folder) / "part.parquet"
        with path.open("wb") as file:
            file.truncate(size_bytes)
            for part in parts:
                file.seek(part.start)
                file.write(part.content)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "modelyard.ml.parquet_facts", str(path), str(rows)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                timeout=LIMITS.seconds,
                check=True,
            )
            answer = json.loads(done.stdout)
            first = answer["first_group"]
            return ParquetFacts(
                rows=answer["rows"],
                columns=tuple((name, kind) for name, kind in answer["columns"]),
                first_group=None if first is None else (first[0], first[1]),
                first_rows=tuple(answer["first_rows"]),
            )
        except (subprocess.SubprocessError, ValueError) as error:
            raise InvalidRepository(f"{name} is no readable Parquet file.", file=name) from error


def short_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a preview shows it, of MAX_COLUMNS columns at most."""
    return {name[:MAX_NAME_CHARACTERS]: short_cell(value) for name, value in islice(row.items(), MAX_COLUMNS)}


def short_cell(value: Any) -> str | int | float | bool | None:
    """Return a value as a preview shows it: texts cut, and whatever else has parts as text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if not isinstance(value, str):
        value = f"{len(value):,} bytes" if isinstance(value, bytes) else json.dumps(value, default=_other)
    return str(value)[:MAX_CELL_CHARACTERS]


def _other(value: object) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)


def _read(path: str, rows: int) -> dict[str, Any]:
    """The child's part."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.set_cpu_count(1)
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    limit_this_process(LIMITS, data_bytes() + LIMITS.memory_bytes)
    file = pyarrow.parquet.ParquetFile(path)
    fields = list(file.schema_arrow)[:MAX_COLUMNS]
    found: list[dict[str, Any]] = []
    if rows and file.metadata.num_rows:
        batch = next(
            file.iter_batches(rows, row_groups=[0], columns=[field.name for field in fields], use_threads=False)
        )
        found = [short_row(row) for row in batch.to_pylist()]
    return {
        "rows": file.metadata.num_rows,
        "columns": [(field.name[:MAX_NAME_CHARACTERS], str(field.type)[:200]) for field in fields],
        "first_group": _extent(file.metadata.row_group(0)) if file.metadata.num_row_groups else None,
        "first_rows": found,
    }


def _extent(group: Any) -> tuple[int, int] | None:
    if not group.num_columns:
        return None
    chunks = [group.column(number) for number in range(group.num_columns)]
    starts = [
        min(offset for offset in (chunk.dictionary_page_offset, chunk.data_page_offset) if offset is not None)
        for chunk in chunks
    ]
    return min(starts), max(start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True))


if __name__ == "__main__":
    json.dump(_read(sys.argv[1], int(sys.argv[2])), sys.stdout)
