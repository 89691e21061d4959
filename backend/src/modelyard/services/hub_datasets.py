"""Data sets on the Hub in use: which there are, and what one of them holds."""

from collections.abc import Sequence

from modelyard.core.database import Database
from modelyard.core.errors import InvalidRepository, InvalidRequest, SaeEngineMissing
from modelyard.hub.client import Access
from modelyard.hub.dataset_layout import Config, Split, configs_of
from modelyard.hub.datasets import DatasetClient
from modelyard.schemas.common import ErrorDetail
from modelyard.schemas.dataset import (
    DatasetColumn,
    DatasetConfig,
    DatasetInfo,
    DatasetSearchItem,
    DatasetSearchPage,
    DatasetSplit,
)
from modelyard.services.dataset_preview import Preview, preview
from modelyard.services.settings_service import SettingsService


class HubDatasetService:
    """Asks the Hub in use about data sets. No database transaction is open while it is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def search(self, text: str, sort: str, limit: int, cursor: str | None = None) -> DatasetSearchPage:
        """Return a page of the data sets whose name contains `text`. Raises InvalidRequest, HubError."""
        client = self._client()
        with client.within_patience():
            found = client.find(text, sort, limit, cursor)
        gated: Access = "unknown" if client.has_token() else "no_token"
        items = [
            DatasetSearchItem(
                repo_id=hit.repo_id,
                downloads=hit.downloads,
                likes=hit.likes,
                access=gated if hit.gated else "open",
                licence=hit.licence,
                rows=hit.rows,
                last_modified=hit.last_modified,
            )
            for hit in found.hits
        ]
        return DatasetSearchPage(items=items, next_cursor=found.next_cursor)

    def info(
        self, repo_id: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
    ) -> DatasetInfo:
        """Return what a data set holds, with a look into one split.

        Raises InvalidRequest, DatasetNotFound, HubError.
        """
        client = self._client()
        with client.within_patience():
            found = client.dataset(repo_id, revision)
            repository = found.repository
            access = client.access(repository)
            configs = configs_of(repository.files, found.card)
            chosen = _chosen(configs, config, split)
            seen: Preview | None = None
            problem: ErrorDetail | None = None
            if chosen is not None and access in ("open", "accepted"):
                try:
                    seen = preview(client, repo_id, repository.commit, chosen[1])
                except (InvalidRepository, InvalidRequest, SaeEngineMissing) as error:
                    problem = ErrorDetail(code=error.code, message=error.message, hint=error.hint)
        return DatasetInfo(
            repo_id=repository.canonical_id,
            commit=repository.commit,
            access=access,
            licence=repository.licence,
            downloads=repository.downloads,
            likes=repository.likes,
            last_modified=repository.last_modified,
            configs=[_config(one, chosen, seen) for one in configs],
            config=chosen[0].name if chosen else None,
            split=chosen[1].name if chosen else None,
            columns=[DatasetColumn(name=name, type=kind) for name, kind in seen.columns] if seen else None,
            first_rows=list(seen.first_rows) if seen and seen.first_rows is not None else None,
            problem=problem,
        )

    def _client(self) -> DatasetClient:
        with self.database.reading() as session:
            return DatasetClient.of(SettingsService(session).hub_client())


def _chosen(configs: Sequence[Config], config: str | None, split: str | None) -> tuple[Config, Split] | None:
    """Return the split that is meant, the first unless named; None without any. Raises InvalidRequest."""
    named = [one for one in configs if config in (None, one.name)]
    splits = [(one, each) for one in named for each in one.splits if split in (None, each.name)]
    if splits:
        return splits[0]
    if config is None and split is None:
        return None
    known = sorted({each.name for one in named for each in one.splits} if named else {one.name for one in configs})
    what = f"split {split!r}" if named else f"configuration {config!r}"
    raise InvalidRequest(f"The data set has no {what}.", hint=f"It has {', '.join(known[:20]) or 'none that is read'}.")


def _config(config: Config, chosen: tuple[Config, Split] | None, seen: Preview | None) -> DatasetConfig:
    splits = []
    for split in config.splits:
        counted = seen.rows if seen and chosen and split is chosen[1] else None
        splits.append(
            DatasetSplit(
                name=split.name,
                format=split.format,
                files=len(split.files),
                size_bytes=split.size_bytes,
                rows=split.stated_rows if counted is None else counted,
                rows_counted=counted is not None,
            )
        )
    return DatasetConfig(name=config.name, splits=splits)
