"""The manifest of a bundle: which models it carries, with the hash of every file. Read from strangers."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelyard.core.bundle_tar import MAX_MANIFEST_BYTES, Member
from modelyard.core.errors import InvalidBundle, ModelyardError
from modelyard.core.statuses import CopyQuantizationName, KindName
from modelyard.hub.model_info import HubFile
from modelyard.hub.names import (
    MAX_FILE_BYTES,
    RemoteFile,
    validate_files,
    validate_repo_id,
    validate_revision,
)
from modelyard.models import Quantization
from modelyard.services.facts.file_plan import plan_files
from modelyard.services.model_files import ARTIFACT_MANIFEST, remote_files
from modelyard.services.settings_service import LOCAL, checked_endpoint

VERSION = 1
MAX_MODELS = 1000
MAX_VALUES = 500_000
"""Of JSON, about: a file has five. Parsed, even an empty list of three bytes takes hundreds."""
UNKNOWN_SHA256 = "0" * 64


def _valid(check: Any) -> AfterValidator:
    """Have a check of the cache's names, which raises ModelyardError, be one of a field."""

    def checked(value: str) -> str:
        try:
            check(value)
        except ModelyardError as error:
            raise ValueError(error.message) from error
        return value

    return AfterValidator(checked)


def _check_endpoint(endpoint: str) -> None:
    if endpoint != LOCAL:
        checked_endpoint(endpoint)


RepoId = Annotated[str, Field(max_length=200), _valid(validate_repo_id)]
Revision = Annotated[str, Field(max_length=200), _valid(validate_revision)]
Endpoint = Annotated[str, Field(max_length=500), _valid(_check_endpoint)]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Sha1 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class _Strict(BaseModel):
    """Lists are checked up to their first mistake: all errors take far more memory than what they are about."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BundledFile(_Strict):
    """A file. Where a cache names its content by Git's hash, that is there besides."""

    path: str = Field(max_length=1024)
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    sha256: Sha256
    git_sha1: Sha1 | None = None

    @property
    def member(self) -> Member:
        return Member(self.git_sha1 or self.sha256, self.size)

    @property
    def remote(self) -> RemoteFile:
        """The file as the cache's manifests have it: under the hash that names its content."""
        return RemoteFile(self.path, self.size, None if self.git_sha1 else self.sha256, self.git_sha1)


class BundledCopy(_Strict):
    """A quantized copy of a model."""

    quantization: CopyQuantizationName
    files: tuple[BundledFile, ...] = Field(min_length=1, fail_fast=True)


class BundledGguf(_Strict):
    """The GGUF file that a model was converted from; the file itself is not carried."""

    path: str = Field(max_length=1024)
    commit: Commit | None
    quantization_type: str | None = Field(max_length=100)
    size_bytes: int = Field(ge=0)
    sha256: list[Sha256] = Field(max_length=1000, fail_fast=True)


class BundledMerge(_Strict):
    adapter_model: RepoId
    adapter_commit: Commit
    base_model: RepoId
    base_commit: Commit


class BundledModel(_Strict):
    """A commit of a repository: its files, unless only quantized copies are carried, and those copies."""

    model_id: RepoId
    canonical_id: RepoId
    endpoint: Endpoint
    commit: Commit
    revision: Revision
    refs: tuple[Revision, ...] = Field(max_length=100, fail_fast=True)
    kind: KindName
    private: bool
    gated: bool
    allow_pickle: bool
    licence: str | None = Field(max_length=200)
    num_parameters: int | None = Field(ge=0, le=2**60)
    converted_from: BundledGguf | None
    merged_from: BundledMerge | None
    files: tuple[BundledFile, ...] | None = Field(fail_fast=True)
    quantized: tuple[BundledCopy, ...] = Field(fail_fast=True)

    @model_validator(mode="after")
    def _carries_something(self) -> Self:
        if self.files is None and not self.quantized:
            raise ValueError("a model carries neither its files nor a quantized copy")
        if len({copy.quantization for copy in self.quantized}) < len(self.quantized):
            raise ValueError("a precision is there twice")
        return self

    @property
    def precisions(self) -> list[Quantization]:
        full = [] if self.files is None else [Quantization.NONE]
        return [*full, *(Quantization(copy.quantization) for copy in self.quantized)]

    def all_files(self) -> Iterator[BundledFile]:
        yield from self.files or ()
        for copy in self.quantized:
            yield from copy.files


class BundleManifest(_Strict):
    format: Literal["modelyard-bundle"] = "modelyard-bundle"
    version: Literal[1] = 1
    split_bytes: int | None = Field(default=None, ge=1)
    models: tuple[BundledModel, ...] = Field(min_length=1, max_length=MAX_MODELS, fail_fast=True)

    def dump(self) -> bytes:
        """Return the bytes of the manifest, always the same for the same content."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1).encode()

    def members(self) -> list[Member]:
        """Return each content once, in the order of the files."""
        return list(dict.fromkeys(file.member for model in self.models for file in model.all_files()))

    def names(self) -> dict[str, str]:
        """Return for each content the first file that has it, as people call it."""
        found: dict[str, str] = {}
        for model in self.models:
            for file in model.all_files():
                found.setdefault(file.member.blob, f"{file.path} of {model.model_id}")
        return found


def parse_manifest(content: bytes) -> BundleManifest:
    """Read a manifest and check all that it says. Raises InvalidBundle."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidBundle(f"The bundle's manifest is larger than {MAX_MANIFEST_BYTES // 1_000_000} MB.")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise InvalidBundle(f"The bundle's manifest has more than {MAX_VALUES:,} values.", hint="Export fewer models.")
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle("The bundle's manifest is not JSON.") from error
    if isinstance(values, dict) and isinstance(values.get("version"), int) and values["version"] > VERSION:
        raise InvalidBundle(
            f"The bundle is of version {values['version']}; this Modelyard reads {VERSION}.", hint="Update Modelyard."
        )
    try:
        # Of JSON, not of Python: a list of JSON becomes a tuple.
        manifest = BundleManifest.model_validate_json(content)
    except (ValidationError, RecursionError) as error:
        raise InvalidBundle(f"The bundle's manifest is not valid: {_first(error)}.") from error
    _check_models(manifest.models)
    return manifest


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "it is nested too deeply"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]


def _check_models(models: Sequence[BundledModel]) -> None:
    """Raise InvalidBundle for a model that is there twice, files no snapshot may hold, or one hash for two contents."""
    if len({(model.model_id.casefold(), model.commit) for model in models}) < len(models):
        raise InvalidBundle("The bundle names a commit of a model twice.")
    contents: dict[str, BundledFile] = {}
    for model in models:
        for file in model.all_files():
            other = contents.setdefault(file.member.blob, file)
            if (other.size, other.sha256) != (file.size, file.sha256):
                raise InvalidBundle(f"The bundle has two contents for the hash of {file.path!a} of {model.model_id}.")
        if model.files is not None:
            _check_files(model, model.files, allow_pickle=model.allow_pickle)
        for copy in model.quantized:
            _check_files(model, copy.files, allow_pickle=False)
            if ARTIFACT_MANIFEST not in {file.path for file in copy.files}:
                raise InvalidBundle(f"A quantized copy of {model.model_id} is without its {ARTIFACT_MANIFEST}.")


def _check_files(model: BundledModel, files: Sequence[BundledFile], *, allow_pickle: bool) -> None:
    """Raise InvalidBundle for a path that leads out of its folder, or a file that a download would not have fetched."""
    try:
        validate_files([file.remote for file in files])
    except ModelyardError as error:
        message = error.message.replace("The Hub lists", "The bundle lists").replace("The Hub", "The bundle")
        raise InvalidBundle(f"{model.model_id}: {message}") from error
    for planned in plan_files([HubFile(f.path, f.size, None, None) for f in files], allow_pickle=allow_pickle).files:
        if not planned.fetch:
            raise InvalidBundle(
                f"{planned.file.path!a} is no file that a model's snapshot holds here: {planned.reason}.",
                hint="Export the model again with Modelyard, which leaves such files out.",
            )


def is_pickle(path: str) -> bool:
    """Return whether a file that a snapshot may hold is read as a pickle."""
    return path.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))


def carried_files(entries: Sequence[dict[str, Any]], *, allow_pickle: bool) -> list[RemoteFile]:
    """Return those files of a stored manifest that a bundle carries: what a download of the model would fetch."""
    files = remote_files(entries)
    plan = plan_files([HubFile(file.path, file.size_bytes, None, None) for file in files], allow_pickle=allow_pickle)
    fetched = {file.path for file in plan.fetched}
    return [file for file in files if file.path in fetched]
