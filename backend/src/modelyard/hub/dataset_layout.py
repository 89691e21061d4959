"""Which files of a data set are which configuration and split: as its card says, or by their names.

The rules are those of the `datasets` library, for the kinds of file that are read here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeGuard

from modelyard.hub.model_info import HubFile, number_of
from modelyard.hub.names import path_problem

Format = Literal["parquet", "jsonl", "text"]
FORMATS: dict[str, Format] = {".parquet": "parquet", ".jsonl": "jsonl", ".txt": "text"}
DEFAULT = "default"
MAX_CONFIGS = 500
MAX_NAME_CHARACTERS = 200
MAX_COMPARISONS = 300_000
"""Of patterns with files: authors write both."""
MAX_DEPTH = 20
_MAX_WILD_FOLDERS = 2
_WILD_COST = 50

_SHARD = re.compile(r"(?:^|/)data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*$")
_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_KEYWORD = re.compile(rf"(?:^|[-._ 0-9/])({'|'.join(_SPLITS)})(?=[-._ 0-9/])")


@dataclass(frozen=True)
class Split:
    """The files of a split, in order. `stated_rows` is what the card says; nobody has counted it."""

    name: str
    files: tuple[HubFile, ...]
    stated_rows: int | None

    @property
    def format(self) -> Format | None:
        """Return the kind of all files; None where they differ or are not read here."""
        kinds = {format_of(file.path) for file in self.files}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def size_bytes(self) -> int | None:
        """Return the bytes of all files; None where the Hub does not say."""
        sizes = [file.size_bytes for file in self.files]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


@dataclass(frozen=True)
class Config:
    name: str
    splits: tuple[Split, ...]


def format_of(path: str) -> Format | None:
    """Return the kind of a file by its name, None if it is not read here."""
    return next((kind for suffix, kind in FORMATS.items() if path.lower().endswith(suffix)), None)


def configs_of(files: Sequence[HubFile], card: Mapping[str, Any]) -> tuple[Config, ...]:
    """Return the configurations of a data set, at most MAX_CONFIGS, each with at least one split that has files."""
    usable = sorted(
        (file for file in files if path_problem(file.path) is None and file.path.count("/") < MAX_DEPTH),
        key=lambda file: file.path,
    )
    stated = _stated_rows(card)
    found = list(_by_card(usable, card, stated)) or _by_names(usable, stated)
    return tuple(config for config in found if config.splits)


def _by_card(
    files: Sequence[HubFile], card: Mapping[str, Any], stated: Mapping[tuple[str, str], int]
) -> Iterator[Config]:
    configs = card.get("configs")
    comparisons = MAX_COMPARISONS
    for config in configs[:MAX_CONFIGS] if isinstance(configs, list) else ():
        name = config.get("config_name") if isinstance(config, dict) else None
        if not isinstance(config, dict) or not _is_name(name):
            continue
        splits: dict[str, dict[str, HubFile]] = {}
        folder = config.get("data_dir")
        prefix = f"{folder.strip('/')}/" if isinstance(folder, str) and folder.strip("/.") else ""
        for split, pattern in _patterns(config.get("data_files")):
            parts = (prefix + pattern.removeprefix("./")).split("/")
            comparisons -= len(files) * (_WILD_COST if "**" in parts else 1)
            if comparisons < 0:
                return
            if parts.count("**") <= _MAX_WILD_FOLDERS:
                matching = {file.path: file for file in files if _matches(parts, file.path.split("/"))}
                splits.setdefault(split, {}).update(matching)
        yield Config(name, _splits(name, {split: list(found.values()) for split, found in splits.items()}, stated))


def _patterns(data_files: Any) -> Iterator[tuple[str, str]]:
    """Yield the split and the pattern of all forms in which a card names files."""
    if isinstance(data_files, dict):
        data_files = [{"split": split, "path": path} for split, path in data_files.items()]
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        split, path = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("train", entry)
        for pattern in path if isinstance(path, list) else [path]:
            if _is_name(split) and _is_name(pattern):
                yield split, pattern


def _matches(pattern: list[str], path: list[str]) -> bool:
    """Compare part by part, so that no pattern takes long; `**` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches(pattern[1:], path[skipped:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches(pattern[1:], path[1:])


def _by_names(files: Sequence[HubFile], stated: Mapping[tuple[str, str], int]) -> list[Config]:
    """Return one configuration of the first kind of file that there is."""
    for kind in FORMATS.values():
        data = [file for file in files if format_of(file.path) == kind]
        if not data:
            continue
        splits: dict[str, list[HubFile]] = {}
        for file in data:
            if name := _split_by_name(file.path):
                splits.setdefault(name, []).append(file)
        return [Config(DEFAULT, _splits(DEFAULT, splits or {"train": data}, stated))]
    return []


def _split_by_name(path: str) -> str | None:
    if shard := _SHARD.search(path):
        return shard[1]
    found = _KEYWORD.search(path.lower())
    return _SPLITS[found[1]] if found else None


def _splits(
    config: str, files: Mapping[str, Sequence[HubFile]], stated: Mapping[tuple[str, str], int]
) -> tuple[Split, ...]:
    found = [Split(name, tuple(of), stated.get((config, name))) for name, of in files.items() if of]
    return tuple(sorted(found, key=lambda split: split.name != "train"))


def _stated_rows(card: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    info = card.get("dataset_info")
    rows: dict[tuple[str, str], int] = {}
    for config in info[:MAX_CONFIGS] if isinstance(info, list) else [info]:
        if not isinstance(config, dict):
            continue
        splits = config.get("splits")
        for split in splits if isinstance(splits, list) else ():
            if isinstance(split, dict) and (count := number_of(split.get("num_examples"))) is not None:
                rows[str(config.get("config_name", DEFAULT)), str(split.get("name"))] = count
    return rows


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARACTERS
