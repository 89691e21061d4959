"""Models as a Hub describes them, read from its answers, none of which is trusted."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from huggingface_hub import ModelInfo
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import TensorInfo

from modelyard.core.errors import HubMisbehaved, InvalidRequest, TooManyFiles
from modelyard.hub.licence import LICENCE_TAG, licence_name
from modelyard.hub.names import validate_repo_id
from modelyard.hub.server.samples import SAMPLE_TAG

MAX_FILES = 10_000
"""Of one repository. Every one of them is looked at, linked, stored and listed, and no model has so many."""
# What fits a database's integer and a JSON number in a browser.
_MAX_NUMBER = 2**53


@dataclass(frozen=True)
class HubFile:
    """A file of a repository at one commit; large files carry a sha256, small ones git's blob hash."""

    path: str
    size_bytes: int | None
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class HubModel:
    """A repository at one commit, as a Hub describes it."""

    model_id: str
    canonical_id: str
    commit: str
    files: tuple[HubFile, ...]
    gated: bool
    tags: tuple[str, ...]
    licence: str | None
    pipeline_tag: str | None
    downloads: int | None
    likes: int | None
    last_modified: datetime | None
    parameters_by_dtype: dict[str, int]
    private: bool = False

    @property
    def num_parameters(self) -> int | None:
        """Return how many elements of weights the Hub counted; None where it did not, or where they are packed."""
        return number_of(sum(self.parameters_by_dtype.values())) or None


@dataclass(frozen=True)
class HubCollection:
    """The models that somebody has put together on a Hub; `left_out` counts what is no model."""

    slug: str
    title: str
    model_ids: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class BranchState:
    """The current commit of a branch, and whether its repository is private."""

    commit: str
    private: bool


@dataclass(frozen=True)
class HubSearchHit:
    """One model of a search on a Hub."""

    model_id: str
    downloads: int | None
    likes: int | None
    num_parameters: int | None
    parameters_by_dtype: dict[str, int]
    size_bytes: int | None
    gated: bool
    pipeline_tag: str | None
    licence: str | None
    model_type: str | None
    is_sample: bool


def commit_of(model_id: str, sha: object) -> str:
    """Return the commit that a Hub named. Raises HubMisbehaved if it is not a hash."""
    commit = sha if isinstance(sha, str) else ""
    if not (7 <= len(commit) <= 64 and all(c in "0123456789abcdef" for c in commit)):
        raise HubMisbehaved(f"The Hub named no commit for {model_id}.")
    return commit


def as_hub_model(model_id: str, info: ModelInfo, licence: str | None) -> HubModel:
    """Read an answer about one model. Raises HubMisbehaved, TooManyFiles."""
    commit = commit_of(model_id, info.sha)
    _require_repo_id(info.id)
    if len(info.siblings or ()) > MAX_FILES:
        raise TooManyFiles(f"{model_id} has {len(info.siblings or ())} files; at most {MAX_FILES} are managed.")
    return HubModel(
        model_id=model_id,
        canonical_id=info.id,
        commit=commit,
        files=tuple(_as_hub_file(sibling) for sibling in info.siblings or ()),
        gated=bool(info.gated),
        private=bool(info.private),
        tags=tuple(tag for tag in info.tags or () if isinstance(tag, str)),
        licence=licence,
        pipeline_tag=text_of(info.pipeline_tag),
        downloads=number_of(info.downloads),
        likes=number_of(info.likes),
        last_modified=info.last_modified,
        parameters_by_dtype=_parameters_by_dtype(info),
    )


def _parameters_by_dtype(info: ModelInfo) -> dict[str, int]:
    parameters = info.safetensors.parameters if info.safetensors and not _is_quantized(info) else {}
    return {str(name): count for name, count in parameters.items() if number_of(count) is not None}


def _is_quantized(info: ModelInfo) -> bool:
    """Return whether the tensors a Hub counts are packed: their elements are not the model's parameters."""
    config = info.config if isinstance(info.config, dict) else {}
    return bool(config.get("quantization_config") or config.get("compression_config"))


def _as_hub_file(sibling: RepoSibling) -> HubFile:
    lfs = sibling.lfs
    size = lfs.size if lfs else sibling.size
    if not isinstance(sibling.rfilename, str) or (size is not None and number_of(size) is None):
        raise HubMisbehaved(f"The Hub lists a file without a proper name or size: {ascii(sibling.rfilename)[:100]}.")
    return HubFile(
        path=sibling.rfilename,
        size_bytes=size,
        sha256=text_of(lfs.sha256) if lfs else None,
        git_sha1=None if lfs else text_of(sibling.blob_id),
    )


def as_search_hit(info: ModelInfo) -> HubSearchHit:
    """Read one model of a list. Raises HubMisbehaved."""
    _require_repo_id(info.id)
    return HubSearchHit(
        model_id=info.id,
        downloads=number_of(info.downloads),
        likes=number_of(info.likes),
        num_parameters=number_of(info.safetensors.total) if info.safetensors and not _is_quantized(info) else None,
        parameters_by_dtype=_parameters_by_dtype(info),
        size_bytes=number_of(info.used_storage),
        gated=bool(info.gated),
        pipeline_tag=text_of(info.pipeline_tag),
        licence=_licence_among(info.tags or ()),
        model_type=text_of(info.config.get("model_type")) if isinstance(info.config, dict) else None,
        is_sample=SAMPLE_TAG in (info.tags or ()),
    )


def _licence_among(tags: Iterable[object]) -> str | None:
    """Return the licence that a Hub lists among the tags of a model."""
    named = (tag.removeprefix(LICENCE_TAG) for tag in tags if isinstance(tag, str) and tag.startswith(LICENCE_TAG))
    return licence_name(next(named, None))


def is_plausible(tensor: TensorInfo) -> bool:
    """Return whether a header's description of a tensor is plausible."""
    sizes = [number_of(size) for size in tensor.shape]
    return isinstance(tensor.dtype, str) and None not in sizes and number_of(math.prod(tensor.shape)) is not None


def _require_repo_id(name: object) -> None:
    try:
        validate_repo_id(name if isinstance(name, str) else "")
    except InvalidRequest as error:
        raise HubMisbehaved(f"The Hub calls a model {ascii(name)[:100]}.") from error


def text_of(value: object) -> str | None:
    """Return `value` if it is a string."""
    return value if isinstance(value, str) else None


def number_of(value: object) -> int | None:
    """Return `value` if it is a number from 0 on that others can store and read."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER else None
