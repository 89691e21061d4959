"""Which rows were deleted lately. A row that came and went between two looks at the database shows nowhere else."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from modelyard.core.database import database_now, insert
from modelyard.models import Deletion, Model, Training

KEPT = timedelta(days=7)
"""Longer than a page stays connected to an API process that cannot read the database."""


class DeletionLog:
    """Reads and writes the `deletions` table; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, table: type[Model] | type[Training], row_id: str) -> None:
        """Note that a row is deleted, also where another process does at the same time.

        To be called last in a transaction: readers look back by a fixed time, and see the note once it is committed.
        """
        values = {"id": row_id, "table": table.__tablename__, "at": database_now(self.session)}
        self.session.execute(insert(self.session, Deletion).values(values).on_conflict_do_nothing())

    def after(self, at: datetime | None) -> Sequence[Deletion]:
        """Return the deletions that were noted after `at`, or all that are kept; the oldest first."""
        notes = select(Deletion).order_by(Deletion.at)
        return self.session.scalars(notes if at is None else notes.where(Deletion.at > at)).all()

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many deletions were noted after a moment, and until another one inclusive."""
        noted = select(func.count()).select_from(Deletion).where(Deletion.at > after, Deletion.at <= until)
        return self.session.scalars(noted).one()

    def forget_old(self) -> None:
        """Remove the notes that are older than KEPT."""
        self.session.execute(delete(Deletion).where(Deletion.at < database_now(self.session) - KEPT))
