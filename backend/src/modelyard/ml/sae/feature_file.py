"""The pages of an SAE's features in one SQLite file, which a child process writes once. Needs no torch.

A passage keeps only the tokens on which its feature is active, so a file takes about two kilobytes per feature.
"""

import json
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.core.errors import InvalidRequest, NotReady
from modelyard.core.storage import disk_full

NAME = "features.sqlite"
SORTS = {
    "-density": "density DESC",
    # Features that are never active come last either way.
    "density": "density = 0, density",
    "-max": "max DESC",
    "max": "density = 0, max",
    "index": "id",
}
_TABLES = """
CREATE TABLE tokens (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE contexts (id INTEGER PRIMARY KEY, tokens BLOB NOT NULL);
CREATE TABLE features (
    id INTEGER PRIMARY KEY, density REAL NOT NULL, max REAL NOT NULL, top_token INTEGER,
    histogram_end REAL NOT NULL, histogram BLOB NOT NULL, promoted TEXT, suppressed TEXT
);
CREATE TABLE passages (
    feature INTEGER NOT NULL, rank INTEGER NOT NULL, context INTEGER NOT NULL, position INTEGER NOT NULL,
    begin INTEGER NOT NULL, length INTEGER NOT NULL, offsets BLOB NOT NULL, activations BLOB NOT NULL,
    PRIMARY KEY (feature, rank)
) WITHOUT ROWID;
"""
_INDEXES = "CREATE INDEX by_density ON features (density); CREATE INDEX by_max ON features (max);"

Effects = list[tuple[int, float]]
"""Ids of tokens, and how much one unit of a feature adds to their logits."""


@dataclass(frozen=True)
class Passage:
    """A part of a context: `length` tokens from `begin` on, `position` being the one that is most active."""

    context: int
    position: int
    begin: int
    length: int
    offsets: Sequence[int]
    """Of the active tokens, counted from `begin`, and their activations."""
    activations: Sequence[float]


@dataclass(frozen=True)
class Feature:
    """What is known of one feature; the histogram's bins are equally wide, from 0 to `histogram_end`."""

    index: int
    density: float
    maximum: float
    top_token: int | None
    histogram_end: float
    histogram: Sequence[int]
    promoted: Effects | None
    suppressed: Effects | None
    passages: Sequence[Passage]


def write(
    path: Path, features: Iterable[Feature], contexts: Iterable[tuple[int, Sequence[int]]], tokens: dict[int, str]
) -> int:
    """Write a file, which is there whole or not at all; returns its bytes. Raises DiskFull."""
    partial = partial_of(path)
    partial.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(partial)) as file:
            file.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES}")
            file.execute("BEGIN")
            file.executemany("INSERT INTO tokens VALUES (?, ?)", tokens.items())
            file.executemany(
                "INSERT INTO contexts VALUES (?, ?)", ((each, array("i", ids).tobytes()) for each, ids in contexts)
            )
            for feature in features:
                file.execute("INSERT INTO features VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _feature_row(feature))
                file.executemany(
                    "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (_passage_row(feature.index, rank, each) for rank, each in enumerate(feature.passages)),
                )
            file.commit()
            file.executescript(_INDEXES)
    except sqlite3.Error as error:
        partial.unlink(missing_ok=True)
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise disk_full(path) from error
        raise
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    size = partial.stat().st_size
    partial.rename(path)
    return size


def partial_of(path: Path) -> Path:
    """Return where a file is while it is being written."""
    return path.with_name(f"{path.name}.partial")


class FeatureFile:
    """Reads a file; a new one in its place does not disturb who reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def page(self, *, sort: str, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return some features without their passages, and how many there are. `sort` is a key of SORTS.

        Raises NotReady where there is no file.
        """
        with self._open() as file:
            rows = file.execute(
                "SELECT id, density, max, top_token, promoted FROM features"  # noqa: S608 - one of SORTS
                f" ORDER BY {SORTS[sort]}, id LIMIT ? OFFSET ?",
                (limit, offset),
            ).fetchall()
            found = [
                {
                    "index": index,
                    "density": density,
                    "max": maximum,
                    "top_token": _token(file, top_token),
                    "promoted": [token["text"] for token in _effects(file, promoted) or []][:5],
                }
                for index, density, maximum, top_token, promoted in rows
            ]
            return found, file.execute("SELECT count(*) FROM features").fetchone()[0]

    def feature(self, index: int) -> dict[str, Any]:
        """Return everything about a feature. Raises NotReady, InvalidRequest for one that there is not."""
        with self._open() as file:
            row = file.execute(
                "SELECT density, max, histogram_end, histogram, promoted, suppressed FROM features WHERE id = ?",
                (index,),
            ).fetchone()
            if row is None:
                number = file.execute("SELECT count(*) FROM features").fetchone()[0]
                raise InvalidRequest(f"There is no feature {index}.", hint=f"The features are 0 to {number - 1}.")
            density, maximum, end, histogram, promoted, suppressed = row
            counts = array("I", histogram).tolist()
            return {
                "index": index,
                "density": density,
                "max": maximum,
                "histogram": {
                    "edges": [end * number / max(1, len(counts)) for number in range(len(counts) + 1)],
                    "counts": counts,
                },
                "passages": list(_passages(file, index)),
                "promoted": _effects(file, promoted),
                "suppressed": _effects(file, suppressed),
            }

    def densities(self, indexes: Sequence[int]) -> dict[int, float]:
        """Return the densities of some features; none where there is no file."""
        if not self.path.is_file():
            return {}
        with self._open() as file:
            marks = ", ".join("?" * len(indexes))
            return dict(file.execute(f"SELECT id, density FROM features WHERE id IN ({marks})", indexes))  # noqa: S608

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():
            raise NotReady("The features were not looked for yet.", hint="Build the feature pages first.")
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)) as file:
            yield file


def _feature_row(feature: Feature) -> tuple[Any, ...]:
    def listed(effects: Effects | None) -> str | None:
        return None if effects is None else json.dumps([[token, float(f"{value:.5g}")] for token, value in effects])

    return (
        feature.index, feature.density, feature.maximum, feature.top_token, feature.histogram_end,
        array("I", feature.histogram).tobytes(), listed(feature.promoted), listed(feature.suppressed),
    )  # fmt: skip


def _passage_row(feature: int, rank: int, passage: Passage) -> tuple[Any, ...]:
    return (
        feature, rank, passage.context, passage.position, passage.begin, passage.length,
        array("H", passage.offsets).tobytes(), array("f", passage.activations).tobytes(),
    )  # fmt: skip


def _passages(file: sqlite3.Connection, feature: int) -> Iterator[dict[str, Any]]:
    rows = file.execute(
        "SELECT tokens, position, begin, length, offsets, activations FROM passages"
        " JOIN contexts ON contexts.id = context WHERE feature = ? ORDER BY rank",
        (feature,),
    ).fetchall()
    for content, position, begin, length, offsets, activations in rows:
        ids = array("i", content)[begin : begin + length]
        texts = _texts(file, set(ids))
        values = dict(zip(array("H", offsets), array("f", activations), strict=True))
        yield {
            "position": position - begin,
            "activation": values[position - begin],
            "tokens": [
                {"id": token, "text": texts[token], "activation": values.get(place, 0.0)}
                for place, token in enumerate(ids)
            ],
        }


def _texts(file: sqlite3.Connection, ids: Iterable[int]) -> dict[int, str]:
    wanted = list(ids)
    marks = ", ".join("?" * len(wanted))
    return dict(file.execute(f"SELECT id, text FROM tokens WHERE id IN ({marks})", wanted))  # noqa: S608


def _token(file: sqlite3.Connection, token: int | None) -> str | None:
    return None if token is None else _texts(file, [token]).get(token)


def _effects(file: sqlite3.Connection, stored: str | None) -> list[dict[str, Any]] | None:
    if stored is None:
        return None
    effects: list[list[float]] = json.loads(stored)
    texts = _texts(file, {int(token) for token, _ in effects})
    return [{"id": int(token), "text": texts[int(token)], "effect": value} for token, value in effects]
