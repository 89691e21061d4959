"""What a model's branch has become on its Hub since the download: whether it moved, whether it is private."""

import logging
from dataclasses import dataclass
from datetime import timedelta

from huggingface_hub import constants
from sqlalchemy import or_, select, update
from sqlalchemy.orm import load_only

from modelyard.core.database import Database, utc_now
from modelyard.core.errors import Conflict, HubError, HubRateLimited, HubUnreachable
from modelyard.hub.model_info import BranchState
from modelyard.models import Model, ModelStatus
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL, SettingsService

logger = logging.getLogger(__name__)

CHECK_SECONDS = 6 * 3600.0
"""A branch is looked at this often at most."""


@dataclass(frozen=True)
class Branch:
    """What rows of one repository follow, whatever their commits and precisions."""

    endpoint: str
    model_id: str
    revision: str


def require_branch(row: Model) -> None:
    """Raise Conflict for a row of which nothing newer can come."""
    if row.endpoint == LOCAL:
        raise Conflict(
            f"{row.model_id} came from a folder, so no Hub has a newer version.", hint="Import the folder again."
        )
    if not row.follows_branch:
        raise Conflict(
            f"{row.model_id} was asked for at the commit {row.revision}, which never changes.",
            hint="Download it with a branch as revision to follow that.",
        )


class UpdateService:
    """Asks Hubs where branches stand. No database transaction is open while a Hub is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def check(self, row_id: str) -> None:
        """Ask now about one model. Raises ModelNotFound, HubError, Conflict where nothing newer can come."""
        with self.database.reading() as session:
            row = ModelService(session).get_by_id(row_id)
        require_branch(row)
        branch = Branch(row.endpoint, row.model_id, row.revision)
        self.note(branch, self._state(branch))

    def due(self, older_than_seconds: float = CHECK_SECONDS) -> list[Branch]:
        """Return the branches of ready models that were not checked for so long, the longest first."""
        if constants.is_offline_mode():
            return []
        with self.database.reading() as session:
            rows = session.scalars(
                select(Model)
                .options(load_only(Model.endpoint, Model.model_id, Model.revision, Model.commit, Model.converted_from))
                .where(
                    Model.status == ModelStatus.READY,
                    Model.endpoint == SettingsService(session).endpoint_reference(),
                    or_(
                        Model.checked_at.is_(None),
                        Model.checked_at <= utc_now() - timedelta(seconds=older_than_seconds),
                    ),
                )
                .order_by(Model.checked_at.asc().nulls_first())
            ).all()
        branches = [Branch(row.endpoint, row.model_id, row.revision) for row in rows if row.follows_branch]
        return list(dict.fromkeys(branches))

    def refresh(self, branch: Branch) -> None:
        """Ask and write down; nothing is known of a branch that is gone, or hidden from this token.

        Raises HubUnreachable, HubRateLimited.
        """
        try:
            state = self._state(branch)
        except (HubUnreachable, HubRateLimited):
            raise
        except HubError as error:
            logger.info("Whether there is a newer %s is not known: %s", branch.model_id, error.message)
            state = None
        self.note(branch, state)

    def _state(self, branch: Branch) -> BranchState:
        with self.database.reading() as session:
            client = SettingsService(session).hub_client(branch.endpoint)
        with client.within_patience():
            return client.branch_state(branch.model_id, branch.revision)

    def note(self, branch: Branch, state: BranchState | None) -> None:
        """Write down where a branch stands in every row that follows it."""
        found = {} if state is None else {"private": state.private}
        with self.database.session() as session:
            session.execute(
                update(Model)
                .where(
                    Model.endpoint == branch.endpoint,
                    Model.model_id == branch.model_id,
                    Model.revision == branch.revision,
                )
                .values(latest_commit=state and state.commit, checked_at=utc_now(), **found)
                .execution_options(synchronize_session=False)
            )
