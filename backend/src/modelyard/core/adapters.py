"""PEFT adapters: a small change to another model, which their configuration names."""

from collections.abc import Collection
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from modelyard.core.errors import InvalidRepository, PathNotAllowed
from modelyard.core.paths import open_inside
from modelyard.core.repository_json import MAX_BYTES, parse_object

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(names: Collection[str]) -> bool:
    """Return whether files are those of an adapter; there may be a whole model beside it."""
    return ADAPTER_CONFIG in names or any(name.startswith("adapter_model.") for name in names)


def read_base_model(content: bytes | None, repository: str) -> str | None:
    """The repository id that `adapter_config.json` names as its base; None for no such file, or anything else in it."""
    if content is None:
        return None
    try:
        base = parse_object(content, ADAPTER_CONFIG, repository).get("base_model_name_or_path")
        if not isinstance(base, str):
            return None
        validate_repo_id(base)
    except (InvalidRepository, HFValidationError):
        return None
    return base


def find_base_model(folder: Path) -> str | None:
    """The same of a folder on this machine."""
    try:
        with open_inside(folder, ADAPTER_CONFIG) as file:
            return read_base_model(file.read(MAX_BYTES + 1), str(folder))
    except (OSError, PathNotAllowed):
        return None


def adapter_message(base: str | None) -> str:
    of = f"to {base}" if base else "to another model"
    return f"This is a PEFT adapter: a small change {of}, not a model."


def adapter_hint(base: str | None) -> str:
    return f"Download {base}, the model it was made for." if base else "Download the model it was made for."
