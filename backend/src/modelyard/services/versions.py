"""Which version of a model its name means: of the ready rows of one branch and precision, the one chosen last.

Every version is a row of its own. An update makes a row for the newer commit, which takes over in the transaction that
makes it ready; until then, and if it never gets there, nothing changes for the row before.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, select, update
from sqlalchemy.orm import Session, defer

from modelyard.core.database import database_now, utc_now
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import EventKind, EventName, Model, ModelStatus
from modelyard.services.jobs.history_service import HistoryService

Group = tuple[str, str, str, str | None]

_READY = select(
    Model.id,
    Model.model_id,
    Model.revision,
    Model.quantization,
    Model.converted_from,
    Model.chosen_at,
    Model.created_at,
).where(Model.status == ModelStatus.READY, Model.model_id.in_(bindparam("model_ids", expanding=True)))


def choice_time(model: Any = Model) -> ColumnElement[Any]:
    """SQL: when a row was chosen; rows of earlier versions of Modelyard may not say."""
    return func.coalesce(model.chosen_at, model.created_at)


class Versions:
    """Reads and writes which rows are in use; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def replaced_by(self, models: Iterable[Model]) -> dict[str, str]:
        """Return, for ready rows that are not in use any more, the id of the row that is."""
        wanted = {model.model_id for model in models}
        rows = self.session.execute(_READY, {"model_ids": list(wanted)}).all()
        groups: dict[Group, list[Row[Any]]] = {}
        for row in rows:
            groups.setdefault(_group(row), []).append(row)
        return {
            row.id: current.id
            for group in groups.values()
            if len(group) > 1
            for current in [max(group, key=_chosen)]
            for row in group
            if row.id != current.id
        }

    def of(self, model: Model) -> Sequence[Model]:
        """Return every version of a row's branch and precision, that row included, the one chosen last first."""
        rows = self.session.scalars(
            select(Model)
            .options(defer(Model.files))
            .where(
                Model.model_id == model.model_id,
                Model.revision == model.revision,
                Model.quantization == model.quantization,
            )
        )
        return sorted((row for row in rows if _group(row) == _group(model)), key=_chosen, reverse=True)

    def current(self, model: Model) -> Model | None:
        """Return the version that is in use; None where none is ready."""
        return next((row for row in self.of(model) if row.status is ModelStatus.READY), None)

    def choose(self, model: Model) -> None:
        """Use this version from now on in place of the one that is in use, and remember that one."""
        others = [row for row in self.of(model) if row.id != model.id]
        model.chosen_at = database_now(self.session)
        before = next((row for row in others if row.status is ModelStatus.READY), None)
        if before is not None:
            model.previous_commit = before.hub_commit
            HistoryService(self.session).note(model.id, EventKind.VERSION, EventName.DONE)
        # So that clients hear of it.
        self._touch(row.id for row in others)

    def _touch(self, row_ids: Iterable[str]) -> None:
        ids: Collection[str] = list(row_ids)
        self.session.execute(update(Model).where(Model.id.in_(ids)).values(updated_at=utc_now()))


def name_in_cache(cache: HubCache, row: Model) -> None:
    """Have a row's branch mean its version for others that read the Hugging Face cache, too. Raises StorageError."""
    here = cache.snapshot_path(row.model_id, row.commit).is_dir()
    if here and row.converted_from is None and row.follows_branch:
        cache.write_ref(row.model_id, row.revision, row.commit)


def _group(row: Any) -> Group:
    """Return what versions have in common; each GGUF file of a repository has versions of its own."""
    return row.model_id, row.revision, row.quantization, (row.converted_from or {}).get("path")


def _chosen(row: Any) -> tuple[Any, str]:
    return row.chosen_at or row.created_at, row.id
