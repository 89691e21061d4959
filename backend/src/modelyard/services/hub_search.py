"""Searching the Hub in use: which models there are, what is here of them, and whether they fit this machine."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from modelyard.core.database import Database
from modelyard.hub.client import Access, HubClient
from modelyard.hub.model_info import HubSearchHit
from modelyard.hub.parameter_range import ParameterRange
from modelyard.hub.search import HubQuery, HubSearchPage
from modelyard.schemas.download import SearchItem, SearchPage
from modelyard.schemas.memory import VerdictName
from modelyard.schemas.system import Device
from modelyard.services import system_service
from modelyard.services.facts.header_estimate import stored_bytes
from modelyard.services.inspection.memory_option import rough_verdict
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService

PAGES_ASKED = 4
"""For one answer at most: a Hub's page may be empty, or hold nothing that fits, with more to come."""


class HubSearchService:
    """Searches the Hub. No database transaction is open while it is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def search(self, query: HubQuery, limit: int, *, cursor: str | None = None, fits: bool = False) -> SearchPage:
        """Return a page of models; with `fits`, only those whose weights are known to fit. Raises HubError."""
        with self.database.reading() as session:
            client = SettingsService(session).hub_client()
            devices = system_service.devices(system_service.local_pids(session))
        if fits:
            query = replace(query, num_parameters=_at_most(query.num_parameters, devices))
        with client.within_patience():
            found = _first_page(
                client, query, limit, cursor, lambda hit: not fits or _verdict(hit, devices) in ("fits", "tight")
            )
        with self.database.reading() as session:
            installed = ModelService(session).ready_among([hit.model_id for hit in found.hits])
        gated: Access = "unknown" if client.has_token() else "no_token"
        return SearchPage(
            items=[_item(hit, gated, installed, devices) for hit in found.hits], next_cursor=found.next_cursor
        )


def _first_page(
    client: HubClient, query: HubQuery, limit: int, cursor: str | None, wanted: Callable[[HubSearchHit], bool]
) -> HubSearchPage:
    """Return what is wanted of the first page that has any of it, out of PAGES_ASKED."""
    for _ in range(PAGES_ASKED):
        found = client.search(query, limit, cursor)
        cursor = found.next_cursor
        hits = tuple(hit for hit in found.hits if wanted(hit))
        if hits or cursor is None:
            break
    return HubSearchPage(hits, cursor)


def _at_most(bounds: ParameterRange, devices: Sequence[Device]) -> ParameterRange:
    """Leave out what is too large in every dtype: a parameter is stored in one byte at least."""
    free_bytes = max(device.free_bytes for device in devices)
    return replace(bounds, most=free_bytes if bounds.most is None else min(bounds.most, free_bytes))


def _verdict(hit: HubSearchHit, devices: Sequence[Device]) -> VerdictName:
    return rough_verdict(stored_bytes(hit.parameters_by_dtype), devices)


def _item(hit: HubSearchHit, gated: Access, installed: Collection[str], devices: Sequence[Device]) -> SearchItem:
    return SearchItem(
        model_id=hit.model_id,
        downloads=hit.downloads,
        likes=hit.likes,
        num_parameters=hit.num_parameters,
        size_bytes=hit.size_bytes,
        access=gated if hit.gated else "open",
        pipeline_tag=hit.pipeline_tag,
        licence=hit.licence,
        model_type=hit.model_type,
        weights_bytes=stored_bytes(hit.parameters_by_dtype),
        fits=_verdict(hit, devices),
        installed=hit.model_id in installed,
        is_sample=hit.is_sample,
    )
