"""A repository's metadata besides its files, read from its configuration, card and weight headers."""

import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import yaml  # type: ignore[import-untyped]
from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from modelyard.core.adapters import ADAPTER_CONFIG, is_adapter
from modelyard.core.errors import InvalidRepository, PathNotAllowed
from modelyard.core.paths import open_inside, resolve_inside
from modelyard.core.repository_json import parse_object
from modelyard.hub.licence import LICENCE_TAG, licence_name
from modelyard.hub.server.repositories import StoredFile, StoredRepo

MAX_JSON_BYTES = 20_000_000
MAX_CARD_BYTES = 2_000_000
MAX_PARAMETERS = 2**53
"""Authors write the headers that are counted; a database's integer ends not far beyond."""

_WEIGHTS = "model.safetensors"
_CARD = "README.md"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_CONFIG_KEYS = ("architectures", "model_type", "quantization_config", "auto_map")
_TOKENIZER_KEYS = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")

# Values that are not of the type their tag says (`!!bool maybe`, `!!timestamp x`) make PyYAML raise whatever comes.
_UNREADABLE = (
    OSError, PathNotAllowed, ValueError, RecursionError, yaml.YAMLError, LookupError, TypeError, AttributeError,
    ArithmeticError,
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RepoFacts:
    """A repository's metadata. `config` is the Hub's short form; `parameters_by_dtype` needs safetensors."""

    config: Mapping[str, Any] | None
    card: Mapping[str, Any] | None
    tags: tuple[str, ...]
    pipeline_tag: str | None
    library_name: str | None
    auto_model: str | None
    parameters_by_dtype: Mapping[str, int]

    @property
    def num_parameters(self) -> int | None:
        """Return the number of stored elements, None where it is not known or no model has so many."""
        count = sum(self.parameters_by_dtype.values())
        return count if 0 < count <= MAX_PARAMETERS else None


NO_FACTS = RepoFacts(
    config=None, card=None, tags=(), pipeline_tag=None, library_name=None, auto_model=None, parameters_by_dtype={}
)


def read_facts(repo: StoredRepo) -> RepoFacts:
    """Read the metadata from the repository's files. Blocks on the disk; a damaged file counts as missing."""
    config = _read_json(repo, "config.json")
    readme = repo.files.get(_CARD)
    card = _read_card(readme) if readme else None
    adapter = _read_json(repo, ADAPTER_CONFIG) if is_adapter(repo.files) else None
    generates = _generates_text(config)
    changes_one_that_does = _text(adapter, "task_type") == "CAUSAL_LM"
    pipeline_tag = _text(card, "pipeline_tag") or ("text-generation" if generates or changes_one_that_does else None)
    library_name = _text(card, "library_name") or ("peft" if adapter else "transformers" if config else None)
    parameters = _count_parameters(repo)
    return RepoFacts(
        config=_short_config(repo, config),
        card=card,
        tags=repo.tags or _tags(library_name, pipeline_tag, config, card, adapter, has_safetensors=bool(parameters)),
        pipeline_tag=pipeline_tag,
        library_name=library_name,
        auto_model="AutoModelForCausalLM" if generates else None,
        parameters_by_dtype=parameters,
    )


def _generates_text(config: Mapping[str, Any] | None) -> bool:
    names = (config or {}).get("architectures")
    return isinstance(names, list) and any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def _short_config(repo: StoredRepo, config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if config is None:
        return None
    short = {key: config[key] for key in _CONFIG_KEYS if key in config}
    tokenizer = _read_json(repo, "tokenizer_config.json") or {}
    short["tokenizer_config"] = {key: tokenizer[key] for key in _TOKENIZER_KEYS if key in tokenizer}
    return short


def _tags(
    library_name: str | None,
    pipeline_tag: str | None,
    config: Mapping[str, Any] | None,
    card: Mapping[str, Any] | None,
    adapter: Mapping[str, Any] | None,
    *,
    has_safetensors: bool,
) -> tuple[str, ...]:
    tags = [library_name, "safetensors" if has_safetensors else None, _text(config, "model_type"), pipeline_tag]
    own = (card or {}).get("tags")
    tags += [tag for tag in own if isinstance(tag, str) and tag.isprintable()] if isinstance(own, list) else []
    base = _text(adapter, "base_model_name_or_path")
    tags += [f"base_model:{base}", f"base_model:adapter:{base}"] if base else []
    licence = licence_name((card or {}).get("license"))
    tags.append(f"{LICENCE_TAG}{licence}" if licence else None)
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def _text(mapping: Mapping[str, Any] | None, key: str) -> str | None:
    value = (mapping or {}).get(key)
    return value if isinstance(value, str) and value.isprintable() else None


def _read_json(repo: StoredRepo, path: str) -> dict[str, Any] | None:
    file = repo.files.get(path)
    if file is None or file.size_bytes > MAX_JSON_BYTES:
        return None
    try:
        with file.open() as content:
            read = content.read(MAX_JSON_BYTES + 1)
        return _plain_json(parse_object(read, path, repo.repo_id, limit_bytes=MAX_JSON_BYTES))
    except (OSError, PathNotAllowed, InvalidRepository) as error:
        logger.warning("%s of %s cannot be read: %s", path, repo.repo_id, error)
        return None


class _CardLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A YAML loader that refuses aliases: a few of them can expand to more text than fits in memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def licence_of(folder: Path) -> str | None:
    """Return the licence of the model card in a snapshot, None if there is no card or it names none."""
    try:
        with open_inside(folder, _CARD) as content:
            return licence_name((_parse_card(content) or {}).get("license"))
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        logger.warning("the card of %s cannot be read: %s", folder, error)
        return None


def _read_card(file: StoredFile) -> dict[str, Any] | None:
    try:
        with file.open() as content:
            return _parse_card(content)
    except _UNREADABLE as error:
        logger.warning("the card of %s cannot be read: %s", file.folder, error)
        return None


def _parse_card(content: BinaryIO) -> dict[str, Any] | None:
    """Parse the front matter of a card. Raises one of _UNREADABLE."""
    text = content.read(MAX_CARD_BYTES + 1)
    if len(text) > MAX_CARD_BYTES:
        return None
    # As a text file: the pattern knows no line ends of Windows.
    match = REGEX_YAML_BLOCK.search(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8-sig").read())
    return _plain_json(yaml.load(match[2], _CardLoader)) if match else None  # noqa: S506 (derived from SafeLoader)


def _plain_json(content: Any) -> dict[str, Any] | None:
    """Convert a value to plain JSON: no dates, no NaN, no halves of surrogate pairs."""
    if not isinstance(content, dict):
        return None
    text = json.dumps(content, default=str, skipkeys=True, ensure_ascii=False)
    plain: dict[str, Any] = json.loads(text.encode("utf-8", "replace"), parse_constant=str)
    return plain


def _count_parameters(repo: StoredRepo) -> dict[str, int]:
    """Count parameters by dtype, as the Hub does: of model.safetensors, or of the shards that its index names."""
    index = _read_json(repo, _WEIGHTS_INDEX)
    weight_map = (index or {}).get("weight_map")
    paths = [_WEIGHTS]
    if isinstance(weight_map, dict):
        paths = sorted({path for path in weight_map.values() if isinstance(path, str)})
    counts: dict[str, int] = {}
    for path in paths:
        file = repo.files.get(path)
        if file is None:
            return {}
        try:
            with file.open():
                header = parse_local_safetensors_file_metadata(resolve_inside(file.folder, file.path))
            for dtype, count in header.parameter_count.items():
                counts[dtype] = counts.get(dtype, 0) + count
        except (OSError, PathNotAllowed, SafetensorsParsingError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the header of %s in %s cannot be read: %s", path, repo.repo_id, error)
            return {}
    return counts
