"""Which files of a repository are its checkpoint: what transformers opens, in its order of preference.

The order is that of transformers' `_get_resolved_checkpoint_files`: safetensors before pickle, one file before shards.
Shards are the values of the index's `weight_map`, whatever other files lie beside them.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from modelyard.core.errors import InvalidRepository
from modelyard.core.repository_json import kind_of, parse_object

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SINGLE_PICKLE, INDEX_PICKLE = "pytorch_model.bin", "pytorch_model.bin.index.json"
MAX_INDEX_BYTES = 64_000_000
"""The index of a model of a trillion parameters takes about 20 MB."""

MODULES = "modules.json"
"""Lists what a sentence-transformers model does with its transformer's output; each module has a folder of its own."""

_MODULE_FILE = re.compile(r"\d+_[A-Za-z0-9]+/([^/]+)")
_FORMS = (SINGLE, INDEX, SINGLE_PICKLE, INDEX_PICKLE)
_SUFFIXES = {INDEX: ".safetensors", INDEX_PICKLE: ".bin"}
_MAX_NAME = 512
# Beside the files of an index: Mistral's own format, adapters, and variants such as model.fp16.safetensors.
_NOT_OF_THE_INDEX = re.compile(r"consolidated.*|adapter_model.*|model\.(?!safetensors).*")
_MAIN_PICKLE = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_SHARD = re.compile(r".*-\d+-of-\d+\.safetensors")
_VARIANT = re.compile(r"model\.([^./]+)(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.([^./]+)\.json")


def module_files(names: Collection[str]) -> dict[str, str]:
    """Return the names of files of sentence-transformers modules, each with its name in the module's folder.

    Their weights are no part of the model that transformers loads.
    """
    found = map(_MODULE_FILE.fullmatch, names if MODULES in names else ())
    return {match[0]: match[1] for match in found if match is not None}


@dataclass(frozen=True)
class Index:
    """What an index says: the shards it names, or why it is of no use."""

    shards: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class WeightFiles:
    """The files of a checkpoint. `problem` is a sentence: why transformers cannot open all of them, or None."""

    files: tuple[str, ...] = ()
    problem: str | None = None


def weights_form(names: Collection[str]) -> str | None:
    """Return the file transformers would open first: one file of weights, or an index of several.

    None without weights.
    """
    return next((form for form in _FORMS if form in names), None)


def index_to_read(names: Collection[str]) -> str | None:
    """Return the index that transformers would follow, if it would follow one."""
    form = weights_form(names)
    return form if form in _SUFFIXES else None


def find_weights(names: Iterable[str], index: Index | None = None) -> WeightFiles:
    """Return the checkpoint among a repository's files.

    `index` is the content of the file that `index_to_read` names. Without it, as for a repository that may not be read
    yet, the shards are guessed by their names.
    """
    there = set(names)
    form = weights_form(there)
    if form is None:
        return WeightFiles(problem=missing_weights(there))
    if form not in _SUFFIXES:
        return WeightFiles((form,))
    if index is None:
        return WeightFiles(tuple(sorted(_guessed_shards(there, form))))
    if index.problem is not None:
        return WeightFiles(problem=index.problem)
    missing = [name for name in index.shards if name not in there]
    if missing:
        return WeightFiles(problem=_missing_shard(form, missing, there))
    return WeightFiles(index.shards)


def parse_index(content: bytes, name: str, repository: str) -> Index:
    """Return what the bytes of an index say; nothing in them is trusted."""
    try:
        return read_index(parse_object(content, name, repository, limit_bytes=MAX_INDEX_BYTES), name)
    except InvalidRepository as error:
        return Index(problem=error.message)


def read_index(content: Mapping[str, Any], name: str) -> Index:
    """Return the shards of a parsed index, sorted; each is the name of a file inside the repository."""
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        found = "is empty" if weight_map == {} else f"is {kind_of(weight_map)}, not an object"
        return Index(problem=f"The weight_map of {name} {found}, so nothing says where the weights are.")
    if not isinstance(content.get("metadata"), dict):
        return Index(problem=f"{name} has no metadata object, without which transformers does not read it.")
    for shard in weight_map.values():
        if not isinstance(shard, str):
            return Index(problem=f"{name} names {kind_of(shard)} as a weight file.")
        if not is_inside(shard):
            return Index(problem=f"{name} names {_shown(shard)}, which is not a file inside the repository.")
        if not shard.endswith(_SUFFIXES[name]):
            return Index(problem=f"{name} names {_shown(shard)}, which is not a {_SUFFIXES[name]} file.")
    return Index(tuple(sorted(set(weight_map.values()))))


def is_inside(name: str) -> bool:
    """Return whether a name can only be that of a file below the folder it is joined to, on any system."""
    if not name or len(name) > _MAX_NAME or not name.isprintable() or "\\" in name or ":" in name:
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def missing_weights(names: Collection[str]) -> str:
    """Return a sentence on the weights a repository has where transformers does not look for them."""
    if any(name.startswith("adapter_model.") for name in names):
        return "The repository holds the weights of an adapter, but no adapter_config.json."
    folders = sorted(
        str(PurePosixPath(name).parent) for name in names if PurePosixPath(name).name in _FORMS and "/" in name
    )
    top = sorted(name for name in names if "/" not in name)
    shards = [name for name in top if _SHARD.fullmatch(name)]
    variants = [(name, match) for name in top if (match := _VARIANT.fullmatch(name))]
    others = [name for name in top if name.endswith(".safetensors")]
    misspelt = [name for name in top if name.lower() in _FORMS]
    if misspelt:
        right = misspelt[0].lower()
        return f"{misspelt[0]} is not spelt as transformers looks for it: {right}."
    if variants:
        name, match = variants[0]
        return f"{name} is a variant ({match[1] or match[3]}); there is no {SINGLE} or {INDEX} beside it."
    if shards:
        return f"{len(shards)} shards ({shards[0]} and so on) without an index: there is no {INDEX}."
    if others:
        return f"{others[0]} is not a name transformers looks for: there is no {SINGLE} or {INDEX}."
    if folders:
        return f"The weights are in {folders[0]}/, and transformers looks for them only at the top of the repository."
    return "The repository holds no weights that transformers can load."


def _guessed_shards(names: set[str], form: str) -> set[str]:
    if form == INDEX_PICKLE:
        return {name for name in names if _MAIN_PICKLE.fullmatch(name)}
    shards = {name for name in names if name.endswith(".safetensors") and "/" not in name}
    return {name for name in shards if not _NOT_OF_THE_INDEX.fullmatch(name)}


def _missing_shard(index: str, missing: list[str], names: set[str]) -> str:
    count = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    sentence = f"{index} names {_shown(missing[0])}{count}, which the repository does not have"
    alike = next((name for name in sorted(names) if name.lower() == missing[0].lower()), None)
    return f"{sentence}; there is {alike}." if alike else f"{sentence}."


def _shown(name: str) -> str:
    return ascii(name)[:100]
