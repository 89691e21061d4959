"""Data sets on a Hub: the client that asks for them, and what a list and a repository tell."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from huggingface_hub import ModelInfo
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from modelyard.core.errors import DatasetNotFound, HubMisbehaved, HubModelNotFound, InvalidRequest
from modelyard.hub.client import HubClient
from modelyard.hub.licence import LICENCE_TAG, licence_name
from modelyard.hub.model_info import HubModel, as_hub_model, number_of
from modelyard.hub.names import validate_revision

_EXPANDED = ("downloads", "likes", "gated", "tags", "lastModified")
_SIZE_TAG = "size_categories:"


@dataclass(frozen=True)
class DatasetHit:
    """A data set of a list. `rows` is the range that its author gave, such as `10K<n<100K`."""

    repo_id: str
    downloads: int | None
    likes: int | None
    gated: bool
    licence: str | None
    rows: str | None
    last_modified: datetime | None


@dataclass(frozen=True)
class DatasetPage:
    """Some of the data sets found. `next_cursor` asks for those after them; None at the end."""

    hits: tuple[DatasetHit, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class HubDataset:
    """A data set at one commit, and its card's metadata, which anybody may have written."""

    repository: HubModel
    card: Mapping[str, Any]


class DatasetClient(HubClient):
    """A client of a Hub for its data sets."""

    repo_type: ClassVar[Literal["model", "dataset"]] = "dataset"

    @classmethod
    def of(cls, client: HubClient) -> Self:
        """Return a client for the data sets of the same Hub, with the same token."""
        return cls(client.endpoint, client.token, timeout_seconds=client.timeout_seconds, is_builtin=client.is_builtin)

    def find(self, text: str, sort: str, limit: int, cursor: str | None = None) -> DatasetPage:
        """Return at most `limit` data sets whose name contains `text`. Raises InvalidRequest, HubError."""
        params = {"search": text, "sort": sort, "limit": limit, "expand": list(_EXPANDED), "cursor": cursor}
        given = {name: value for name, value in params.items() if value}
        return DatasetPage(*self._list(given, limit, _as_hit))

    def dataset(self, repo_id: str, revision: str | None = None) -> HubDataset:
        """Resolve a revision to a commit and list its files. Raises InvalidRequest, DatasetNotFound, HubError."""
        if revision is not None:
            validate_revision(revision)
        try:
            validate_repo_id(repo_id)
        except HFValidationError as error:
            raise InvalidRequest(
                f"{ascii(repo_id)[:100]} is not a data set's name.", hint="Give owner/name."
            ) from error

        def ask() -> HubDataset:
            answer = self._get_model(repo_id, revision, blobs=True)
            card = answer.pop("cardData", None)
            card = card if isinstance(card, dict) else {}
            info = ModelInfo(**answer)  # type: ignore[no-untyped-call]
            return HubDataset(as_hub_model(repo_id, info, licence_name(card.get("license"))), card)

        return self._ask(ask, repo_id, revision)

    @contextmanager
    def _translated(self, model_id: str, revision: str | None) -> Iterator[None]:
        try:
            with super()._translated(model_id, revision):
                yield
        except HubModelNotFound as error:
            raise DatasetNotFound(
                f"There is no data set {model_id!r} on {self.endpoint}.",
                hint="Check the name, or search for it. A private one needs a token that may read it.",
            ) from error


def _as_hit(info: ModelInfo) -> DatasetHit:
    try:
        validate_repo_id(info.id)
    except HFValidationError as error:
        raise HubMisbehaved(f"The Hub calls a data set {ascii(info.id)[:100]}.") from error
    tags = [tag for tag in info.tags or () if isinstance(tag, str)]
    return DatasetHit(
        repo_id=info.id,
        downloads=number_of(info.downloads),
        likes=number_of(info.likes),
        gated=bool(info.gated),
        licence=licence_name(_after(LICENCE_TAG, tags)),
        rows=_after(_SIZE_TAG, tags),
        last_modified=info.last_modified,
    )


def _after(prefix: str, tags: list[str]) -> str | None:
    """Return the rest of the first tag that begins with `prefix`."""
    return next((tag.removeprefix(prefix)[:100] for tag in tags if tag.startswith(prefix)), None)
