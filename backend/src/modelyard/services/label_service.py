"""Tags, notes, favourites and pins: they belong to a repository, and so to each of its rows."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session, defer

from modelyard.core.database import insert, utc_now
from modelyard.core.errors import Conflict
from modelyard.models import Label, Model
from modelyard.schemas.label import LabelChange

_OF_REPOSITORIES = select(Label).where(Label.model_id.in_(bindparam("model_ids", expanding=True)))


class LabelService:
    """Reads and writes the `labels` table; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def of(self, models: Iterable[Model]) -> dict[str, Label]:
        """Return what is noted about the repositories of these rows, by their model id."""
        found = self.session.scalars(_OF_REPOSITORIES, {"model_ids": list({model.model_id for model in models})})
        return {label.model_id: label for label in found}

    def pinned_commit(self, model_id: str, revision: str | None) -> str | None:
        """Return the commit that a repository is pinned to where a revision, or none, would follow a branch."""
        label = self.session.get(Label, model_id)
        if label is None or label.pinned_commit is None:
            return None
        rows = self.session.scalars(select(Model).options(defer(Model.files)).where(Model.model_id == model_id))
        branches = {row.revision for row in rows if row.follows_branch and row.hub_commit == label.pinned_commit}
        return label.pinned_commit if revision is None or revision in branches else None

    def change(self, model: Model, change: LabelChange) -> None:
        """Change what is noted about a row's repository; fields that were not sent stay as they are.

        Raises Conflict for a commit to pin that is not the row's.
        """
        fields = change.model_dump(exclude_unset=True)
        if not fields:
            return
        pinned = change.pinned_commit
        if pinned in (model.commit, model.hub_commit):
            fields["pinned_commit"] = model.hub_commit
        elif pinned is not None:
            raise Conflict(
                f"{model.model_id} is at {model.hub_commit[:12]}, not at {pinned[:12]}.",
                hint="Only the version in use can be pinned; roll back to another one first.",
            )
        row = insert(self.session, Label).values(
            **{"model_id": model.model_id, "tags": [], "note": "", "favourite": False} | fields
        )
        self.session.execute(row.on_conflict_do_update(index_elements=["model_id"], set_=fields))
        # So that clients hear of it: of each of the rows.
        self.session.execute(update(Model).where(Model.model_id == model.model_id).values(updated_at=utc_now()))

    def condition(self, *, tags: Collection[str] = (), favourite: bool | None = None) -> list[ColumnElement[bool]]:
        """SQL: rows whose repository has all of these tags, and is or is not a favourite."""
        conditions: list[ColumnElement[bool]] = []
        if tags:
            conditions.append(Model.model_id.in_(self._tagged(tags)))
        if favourite is not None:
            favourites = Model.model_id.in_(select(Label.model_id).where(Label.favourite))
            conditions.append(favourites if favourite else ~favourites)
        return conditions

    def _tagged(self, tags: Collection[str]) -> Sequence[str]:
        # Databases look into JSON each in its own way, and only what people have labelled is read.
        rows = self.session.execute(select(Label.model_id, Label.tags))
        return [model_id for model_id, theirs in rows if set(tags) <= set(theirs)]
