"""Searching the Hub in use: which models there are, what is here of them, and whether they fit this machine."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from modelyard.core.database import Database
from modelyard.core.model_ids import COLLECTION_SCHEME, parse_collection
from modelyard.core.statuses import QuantizationName
from modelyard.hub.client import Access, HubClient
from modelyard.hub.model_info import HubSearchHit
from modelyard.hub.parameter_range import ParameterRange
from modelyard.hub.search import HubQuery, HubSearchPage
from modelyard.schemas.download import CollectionInfo, SearchItem, SearchPage
from modelyard.schemas.system import Device
from modelyard.services import system_service
from modelyard.services.facts.header_estimate import stored_bytes
from modelyard.services.inspection.memory_option import rough_verdict
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService

PAGES_ASKED = 4
"""For one answer at most: a Hub's page may be empty, or hold nothing that fits, with more to come."""


BYTES_PER_PARAMETER: dict[QuantizationName, float] = {"8bit": 1.1, "4bit": 0.65}
"""Of a quantized copy, with what it keeps unquantized and its state; roughly, as only parameters are counted."""
QUANTIZABLE_DTYPES = {"F64", "F32", "F16", "BF16"}


class HubSearchService:
    """Searches the Hub. No database transaction is open while it is asked."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def collection(self, text: str) -> CollectionInfo:
        """Return the models of the collection that a slug or an address names. Raises InvalidRequest, HubError."""
        slug = parse_collection(text if "/collections/" in text else COLLECTION_SCHEME + text)
        assert slug is not None  # noqa: S101 - by the scheme
        with self.database.reading() as session:
            client = SettingsService(session).hub_client()
        with client.within_patience():
            found = client.collection(slug)
        return CollectionInfo(
            slug=found.slug, title=found.title, model_ids=list(found.model_ids), left_out=found.left_out
        )

    def search(
        self, query: HubQuery, limit: int, *, cursor: str | None = None, fits: bool = False,
        precision: QuantizationName = "none",
    ) -> SearchPage:  # fmt: skip
        """Return a page of models; with `fits`, only those whose weights are known to fit in `precision`.

        Raises HubError.
        """
        with self.database.reading() as session:
            client = SettingsService(session).hub_client()
            devices = system_service.devices(system_service.local_pids(session))
        if fits:
            query = replace(query, num_parameters=_at_most(query.num_parameters, devices, precision))
        with client.within_patience():
            found = _first_page(
                client, query, limit, cursor,
                lambda hit: not fits or rough_verdict(_weights(hit, precision), devices) in ("fits", "tight"),
            )  # fmt: skip
        with self.database.reading() as session:
            installed = ModelService(session).ready_among([hit.model_id for hit in found.hits])
        gated: Access = "unknown" if client.has_token() else "no_token"
        return SearchPage(
            items=[_item(hit, gated, installed, devices, precision) for hit in found.hits],
            next_cursor=found.next_cursor,
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


def _at_most(bounds: ParameterRange, devices: Sequence[Device], precision: QuantizationName) -> ParameterRange:
    """Leave out what is too large in every dtype: as stored, a parameter takes one byte at least."""
    most = int(max(device.free_bytes for device in devices) / BYTES_PER_PARAMETER.get(precision, 1))
    return replace(bounds, most=most if bounds.most is None else min(bounds.most, most))


def _weights(hit: HubSearchHit, precision: QuantizationName) -> int | None:
    """Return about how many bytes the weights take; None where the Hub has not counted them, or they are packed."""
    counts = hit.parameters_by_dtype
    if precision == "none":
        return stored_bytes(counts)
    if not counts or not QUANTIZABLE_DTYPES.issuperset(counts):
        return None
    return round(sum(counts.values()) * BYTES_PER_PARAMETER[precision])


def _item(
    hit: HubSearchHit, gated: Access, installed: Collection[str], devices: Sequence[Device], precision: QuantizationName
) -> SearchItem:
    weights = _weights(hit, precision)
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
        weights_bytes=weights,
        fits=rough_verdict(weights, devices),
        installed=hit.model_id in installed,
        is_sample=hit.is_sample,
    )
