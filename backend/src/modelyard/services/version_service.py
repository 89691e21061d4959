"""Updates of installed models, and the way back.

Another version is a row of its own, which shares with the one before whatever files are the same. It takes over when
it is ready (`services.versions`), so that an update that fails or is cancelled leaves everything as it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from modelyard.core.database import Database
from modelyard.core.errors import Conflict
from modelyard.core.model_ids import SHORTEST_COMMIT
from modelyard.core.paths import open_inside
from modelyard.core.storage import storage_errors
from modelyard.hub.answer_limits import MAX_ANSWER_BYTES
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import BranchState
from modelyard.hub.names import RemoteFile
from modelyard.models import ACTIVE_STATUSES, Model, ModelStatus, Quantization
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.version import UpdatePlan
from modelyard.services.download_order import Order, add_row
from modelyard.services.facts.file_changes import TOKENIZER_CONFIG, changed_kinds
from modelyard.services.huggingface_model_service import HuggingFaceModelService
from modelyard.services.inspection.hub_repository import remote_file
from modelyard.services.label_service import LabelService
from modelyard.services.model_actions import resume_model
from modelyard.services.model_files import bytes_to_fetch, manifest
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import LOCAL
from modelyard.services.update_service import Branch, UpdateService, require_branch
from modelyard.services.versions import Versions, name_in_cache


@dataclass(frozen=True)
class _Target:
    """Another version of a row: the row that holds it, ready or not, and how it is to be fetched otherwise."""

    commit: str
    row: Model | None = None
    client: HubClient | None = None
    orders: Sequence[Order] = ()

    @property
    def ready(self) -> Model | None:
        return self.row if self.row is not None and self.row.status is ModelStatus.READY else None


class VersionService:
    """Plans updates and carries them out. No database transaction is open while a Hub is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.hub = HuggingFaceModelService(database)
        self.cache = self.hub.cache

    def update_plan(self, row_id: str) -> UpdatePlan:
        """Return what an update would change and fetch, asking the row's Hub.

        Raises ModelNotFound, Conflict where nothing newer can come, and what a download raises.
        """
        row = self._row(row_id)
        return self._plan(row, self._newest(row))

    def update(self, row_id: str) -> str:
        """Use the newest version of a row's branch, or the one that is pinned, once it is here.

        Returns the id of its row, which is the given one where there is nothing newer. Raises as `update_plan` does.
        """
        row = self._row(row_id)
        return self._use(row, self._newest(row))

    def rollback_plan(self, row_id: str, commit: str | None = None) -> UpdatePlan:
        """Return what going back would change and fetch; a version that is here needs no Hub. Raises as `rollback`."""
        row = self._row(row_id)
        return self._plan(row, self._earlier(row, commit))

    def rollback(self, row_id: str, commit: str | None = None) -> str:
        """Use another version, by default the one before, once it is here. Returns the id of its row.

        Raises ModelNotFound, Conflict where no earlier version is known or another is pinned, and what a download
        raises where it has to be fetched again.
        """
        row = self._row(row_id)
        target = self._earlier(row, commit)
        with self.database.reading() as session:
            pinned = LabelService(session).pinned_commit(row.model_id, row.revision)
        if pinned not in (None, target.commit):
            raise Conflict(f"{row.model_id} is pinned to {pinned[:12]}.", hint="Unpin it first: `modelyard unpin`.")
        return self._use(row, target)

    def _row(self, row_id: str) -> Model:
        with self.database.reading() as session:
            return ModelService(session).get_by_id(row_id)

    def _newest(self, row: Model) -> _Target:
        require_branch(row)
        with self.database.reading() as session:
            pinned = LabelService(session).pinned_commit(row.model_id, row.revision)
        target = self._on_hub(row, pinned)
        if pinned is None:
            state = BranchState(target.commit, target.orders[-1].model.private)
            UpdateService(self.database).note(Branch(row.endpoint, row.model_id, row.revision), state)
        return target

    def _earlier(self, row: Model, commit: str | None) -> _Target:
        commit = commit or row.previous_commit
        if commit is None:
            raise Conflict(
                f"No earlier version of {row.model_id} is known.", hint="Name a commit to go back to: --to COMMIT."
            )
        known = self._known(row, commit)
        if known is not None and known.status is ModelStatus.READY:
            return _Target(known.hub_commit, known)
        if row.endpoint == LOCAL:
            raise Conflict(
                f"{row.model_id} at {commit[:12]} is not here any more, and no Hub has it.",
                hint="Import its folder again.",
            )
        return self._on_hub(row, known.hub_commit if known is not None else commit)

    def _known(self, row: Model, commit: str) -> Model | None:
        """Return the version that a commit, or the beginning of one, names."""
        with self.database.reading() as session:
            versions = Versions(session).of(row)
        exact = next((each for each in versions if commit in (each.hub_commit, each.commit)), None)
        if exact is not None or len(commit) < SHORTEST_COMMIT:
            return exact
        return next((each for each in versions if each.hub_commit.startswith(commit)), None)

    def _on_hub(self, row: Model, commit: str | None) -> _Target:
        """Find a commit on the row's Hub, or without one the newest of its branch."""
        request = ModelDownloadRequest(
            model_id=row.model_id,
            revision=row.revision,
            quantization=row.quantization.value,
            keep_original=row.keep_original,
            allow_pickle=row.allow_pickle,
            gguf_file=(row.converted_from or {}).get("path"),
        )
        client = self.hub.client(row.endpoint)
        orders = self.hub.orders(client, row.model_id, request, row.revision, commit=commit)
        found = orders[-1].model.commit
        return _Target(found, self._known(row, found), client, orders)

    def _plan(self, row: Model, target: _Target) -> UpdatePlan:
        changed = [] if target.commit == row.hub_commit else changed_kinds(*self._differing(row, target))
        fetched = 0
        if target.ready is None:
            fetched = sum(
                bytes_to_fetch(self.cache, order.model.model_id, order.wanted.commit, order.wanted.files)
                for order in target.orders
            )
        return UpdatePlan(
            commit=target.commit,
            changed=changed,
            fetch_bytes=fetched,
            id=target.ready.id if target.ready is not None else None,
            makes_copy=target.ready is None and row.quantization is not Quantization.NONE,
        )

    def _differing(
        self, row: Model, target: _Target
    ) -> tuple[Sequence[RemoteFile], Sequence[RemoteFile], Callable[[], tuple[bytes | None, bytes | None]]]:
        """Return the files of both versions, and what reads their tokenizer_config.json."""
        old = manifest(row)
        if target.ready is not None:
            other = self._row(target.ready.id)
            new, newer = manifest(other), partial(self._local, other)
        else:
            order, client = target.orders[-1], target.client
            assert client is not None  # noqa: S101 - orders came from it
            new, newer = _files(order, old), partial(_remote, client, order)
            if row.converted_from is not None:
                # The rest was made here of the GGUF file.
                paths = {file.path for file in new}
                old = [file for file in old if file.path in paths or file.path.endswith(".gguf")]
        return old, new, lambda: (self._local(row), newer())

    def _local(self, row: Model) -> bytes | None:
        try:
            with (
                storage_errors(),
                open_inside(self.cache.snapshot_path(row.model_id, row.commit), TOKENIZER_CONFIG) as file,
            ):
                return file.read(MAX_ANSWER_BYTES) or b""
        except FileNotFoundError:
            return None

    def _use(self, row: Model, target: _Target) -> str:
        if target.ready is not None:
            self._switch(target.ready)
            return target.ready.id
        known = target.row
        if known is not None and (known.status in ACTIVE_STATUSES or known.status is ModelStatus.PAUSED):
            self._take_over_when_ready(known.id)
            if known.status is ModelStatus.PAUSED:
                resume_model(self.database, known.id)
            return known.id
        assert target.client is not None  # noqa: S101 - a version without a row was found on a Hub
        self.hub.require_possible(target.client, target.orders)
        with self.database.session() as session:
            new = [add_row(session, self.cache, row.endpoint, order) for order in target.orders][-1]
            new.chosen_at = None
            if not target.orders[-1].is_latest:
                new.latest_commit, new.checked_at = row.latest_commit, row.checked_at
            return new.id

    def _switch(self, ready: Model) -> None:
        """Use a version that is here, also under its name in the Hugging Face cache."""
        with self.database.session() as session:
            row, versions = ModelService(session).get_by_id(ready.id), Versions(session)
            if row.status is not ModelStatus.READY:
                raise Conflict(f"{row.model_id} is {row.status} now.", hint="Ask again in a moment.")
            current = versions.current(row)
            if current is None or current.id != row.id:
                versions.choose(row)
        name_in_cache(self.cache, row)

    def _take_over_when_ready(self, row_id: str) -> None:
        with self.database.session() as session:
            ModelService(session).get_by_id(row_id).chosen_at = None


def _files(order: Order, old: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return the files of a version: those that are fetched, and of the rest those that the row before has."""
    fetched = {file.path: file for file in order.wanted.files}
    before = {file.path for file in old} - fetched.keys()
    return [*fetched.values(), *(remote_file(file) for file in order.model.files if file.path in before)]


def _remote(client: HubClient, order: Order) -> bytes | None:
    with client.within_patience():
        return client.read_small_file(order.model.model_id, order.model.commit, TOKENIZER_CONFIG)
