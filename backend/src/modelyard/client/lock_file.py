"""The lock file: which models a project uses, at which commits and in which precisions, with the hash of every file.

It is TOML: `[[model]]` for each row, `[libraries]` for the versions that load them.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from huggingface_hub.utils import validate_repo_id
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from modelyard.core.errors import ModelyardError
from modelyard.core.storage import storage_errors

VERSION = 1
MAX_BYTES = 50_000_000
LIBRARIES = ("torch", "transformers", "bitsandbytes", "tokenizers", "safetensors")
"""Those whose versions change what a model answers."""

_HEAD = "# Written by `modelyard lock`; `modelyard sync` fetches what it names, `modelyard lock --check` compares.\n"


class InvalidLockFile(ModelyardError):
    code = "invalid_lock_file"
    default_hint = "Write it again with `modelyard lock -o FILE`."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LockedFile(_Strict):
    """A file and its hash: small files of a Hub have Git's instead of a sha256."""

    path: str = Field(max_length=1024)
    size: int = Field(ge=0)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    git_sha1: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")

    @property
    def hash(self) -> str | None:
        return self.sha256 or self.git_sha1


class LockedModel(_Strict):
    """A model in one precision. `endpoint` is the Hub it came from, or `local`."""

    model_id: str
    endpoint: str
    commit: str = Field(pattern="^[0-9a-f]{40}([0-9a-f]{24})?$")
    quantization: str = Field(pattern="^(none|8bit|4bit)$")
    files: tuple[LockedFile, ...]

    @field_validator("model_id")
    @classmethod
    def _name_of_a_repository(cls, model_id: str) -> str:
        validate_repo_id(model_id)  # raises a ValueError
        return model_id

    @property
    def name(self) -> str:
        """Qwen/Qwen3-0.6B (4bit)."""
        return self.model_id if self.quantization == "none" else f"{self.model_id} ({self.quantization})"


class Lock(_Strict):
    version: int = VERSION
    model: tuple[LockedModel, ...] = ()
    libraries: dict[str, str] = {}

    def find(self, model_id: str, quantization: str) -> LockedModel | None:
        return next(
            (each for each in self.model if (each.model_id, each.quantization) == (model_id, quantization)), None
        )


@dataclass(frozen=True)
class Difference:
    """What is not as the lock file says. `kind` is missing, commit, not_ready, file or library."""

    kind: str
    subject: str
    message: str


def write_lock(lock: Lock) -> str:
    """Return the text of a lock file, the same for the same content."""
    models = sorted(lock.model, key=lambda each: (each.model_id, each.quantization, each.commit))
    content: dict[str, Any] = {"version": lock.version, "libraries": dict(sorted(lock.libraries.items()))}
    content["model"] = [_without_none(each.model_dump()) for each in models]
    return _HEAD + tomli_w.dumps(content, multiline_strings=False)


def read_lock(path: Path) -> Lock:
    """Read a lock file. Raises InvalidLockFile, and StorageError where the disk is the reason."""
    try:
        with storage_errors(), path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidLockFile(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise InvalidLockFile(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        values = tomllib.loads(content.decode("utf-8"))
        if values.get("version", VERSION) != VERSION:
            raise InvalidLockFile(
                f"{path} is of version {values['version']}; this Modelyard reads {VERSION}.", hint="Update Modelyard."
            )
        lock = Lock.model_validate(values)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidLockFile(f"{path} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidLockFile(f"{path}: {place}: {first['msg']}.") from error
    return lock


def locked_files(files: Iterable[Mapping[str, Any]]) -> tuple[LockedFile, ...]:
    """Return the files of a row's manifest as a lock file names them."""
    found = [
        LockedFile(path=file["path"], size=file["size_bytes"], sha256=file["sha256"], git_sha1=file.get("git_sha1"))
        for file in files
    ]
    return tuple(sorted(found, key=lambda file: file.path))


def file_differences(locked: LockedModel, files: Sequence[LockedFile]) -> list[Difference]:
    """Compare the files of a lock file with those that are here."""
    here = {file.path: file for file in files}
    differences = []
    for file in locked.files:
        found = here.pop(file.path, None)
        if found is None:
            differences.append(Difference("file", locked.name, f"{file.path} is not here"))
        elif found.size != file.size or found.hash != file.hash:
            differences.append(Difference("file", locked.name, f"{file.path} has another content"))
    return differences + [Difference("file", locked.name, f"{path} is not in the lock file") for path in here]


def library_differences(locked: Mapping[str, str], here: Mapping[str, str | None]) -> list[Difference]:
    """Compare the versions of libraries with those that are installed."""
    return [
        Difference("library", name, f"{here.get(name) or 'not installed'}, locked is {version}")
        for name, version in sorted(locked.items())
        if here.get(name) != version
    ]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value]
    return value
