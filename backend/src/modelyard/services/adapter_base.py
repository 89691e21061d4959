"""The base of an adapter that is asked for: whether it is here, and what a Hub says of it where it is not."""

from modelyard.core.database import Database
from modelyard.core.errors import HubError, ModelyardError, UnsupportedAdapter
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.models import Model
from modelyard.schemas.download import AdapterBase
from modelyard.schemas.model import AdapterFacts
from modelyard.services.adapters import base_missing, coming_base
from modelyard.services.inspection.hub_repository import HubRepository, remote_files
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.model_files import bytes_to_fetch


class AdapterBases:
    """Looks up bases on this machine, and on a Hub. No database transaction is open while a Hub is asked."""

    def __init__(self, database: Database, client: HubClient, cache: HubCache) -> None:
        self.database, self.client, self.cache = database, client, cache

    def preview(self, facts: AdapterFacts) -> AdapterBase:
        """Return the row that an adapter will work with, or what a download of its base would fetch."""
        row = self._here(facts)
        try:
            repository = None if row else self.on_hub(facts)
            row = row or self._here(_named(facts, repository))
            if row is None and repository is not None:
                return self._of_repository(repository)
        except ModelyardError as error:
            return _base(problem=error.message)
        return _base(row)

    def to_fetch(self, name: str, facts: AdapterFacts, *, with_base: bool) -> tuple[HubRepository | None, AdapterFacts]:
        """Return the base's repository where it must be fetched, and the facts with the name the Hub gives the base.

        Raises BaseMissing where it is not here and nobody wants it fetched, UnsupportedAdapter, HubError.
        """
        if self._here(facts) is not None:
            return None, facts
        try:
            repository = self.on_hub(facts)
        except HubError as error:
            if with_base:
                raise
            raise base_missing(name, facts) from error
        facts = _named(facts, repository)
        if self._here(facts) is not None:
            return None, facts
        if not with_base:
            raise base_missing(name, facts)
        return repository, facts

    def on_hub(self, facts: AdapterFacts) -> HubRepository:
        """Return the base's repository. Raises UnsupportedAdapter for another adapter, HubError."""
        model = self.client.model_info(facts.base_model, facts.base_revision)
        repository = HubRepository(self.client, model, InspectionService(self.database))
        if repository.offered(readable=False).is_adapter:
            raise UnsupportedAdapter(f"The base {facts.base_model} is an adapter itself.")
        return repository

    def _here(self, facts: AdapterFacts) -> Model | None:
        with self.database.reading() as session:
            return coming_base(session, facts)

    def _of_repository(self, repository: HubRepository) -> AdapterBase:
        repository.require_access()
        plan = repository.plan(allow_pickle=False)
        plan.require_weights(repository.model.model_id, allow_pickle=False)
        missing = bytes_to_fetch(self.cache, repository.model.model_id, repository.model.commit, remote_files(plan))
        return _base(size_bytes=plan.size_bytes, missing_bytes=missing)


def _named(facts: AdapterFacts, repository: HubRepository | None) -> AdapterFacts:
    """Return the facts with the name that the Hub gives the base: many adapters name it by an earlier one."""
    return facts if repository is None else facts.model_copy(update={"base_model": repository.model.canonical_id})


def _base(
    row: Model | None = None,
    *,
    size_bytes: int | None = None,
    missing_bytes: int | None = None,
    problem: str | None = None,
) -> AdapterBase:
    if row is None:
        return AdapterBase(
            id=None, status=None, quantization=None, size_bytes=size_bytes, missing_bytes=missing_bytes, problem=problem
        )
    return AdapterBase(
        id=row.id,
        status=row.status.value,
        quantization=row.quantization.value,
        size_bytes=row.size_bytes,
        missing_bytes=0,
        problem=None,
    )
