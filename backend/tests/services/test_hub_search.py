"""Searching the Hub in use, over HTTP: what fits this machine, and what is here."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from hub.test_client import Answer, Script, as_json, scripted_hub
from modelyard.core.database import Database
from modelyard.core.statuses import QuantizationName
from modelyard.hub.client import HubClient
from modelyard.hub.parameter_range import ParameterRange
from modelyard.hub.search import HubQuery
from modelyard.schemas.system import Device
from modelyard.services import system_service
from modelyard.services.hub_search import PAGES_ASKED, HubSearchService
from modelyard.services.inspection.memory_option import rough_verdict
from modelyard.services.settings_service import SettingsService

PAGE = 2


def device(name: str, free_bytes: int) -> Device:
    return Device(id=name, name=name, total_bytes=10**12, free_bytes=free_bytes, used_by_us_bytes=0)


def hit(name: str, **counts: int) -> dict[str, object]:
    parameters = {"safetensors": {"parameters": counts, "total": sum(counts.values())}} if counts else {}
    return {"id": name, "config": {"model_type": "llama"}, "tags": ["license:mit"], **parameters}


SMALL = hit("a/small", BF16=4000)
HALF = hit("a/half", F32=2500)
TIGHT = hit("a/tight", BF16=4500, F8_E4M3=1000)
LARGE = hit("a/large", BF16=5001)
UNKNOWN = hit("a/unknown")
HITS = [LARGE, UNKNOWN, LARGE, UNKNOWN, SMALL, TIGHT, HALF, UNKNOWN, LARGE]


@pytest.fixture
def hits() -> list[dict[str, object]]:
    return list(HITS)


@pytest.fixture
def hub(hits: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    def answer(path: str) -> Answer:
        start = int(parse_qs(urlsplit(path).query).get("cursor", ["0"])[0])
        end = start + PAGE
        link = f'<{script.endpoint}/api/models?cursor={end}>; rel="next"'
        return as_json(hits[start:end], headers={"Link": link} if end < len(hits) else {})

    with scripted_hub(answer) as script:
        monkeypatch.setattr(SettingsService, "hub_client", lambda _: HubClient(script.endpoint, False))
        monkeypatch.setattr(system_service, "devices", lambda _: [device("cpu", 10_000), device("cuda:0", 8_000)])
        yield script


@pytest.fixture
def service(database: Database, hub: Script) -> HubSearchService:
    return HubSearchService(database)


def test_a_hit_is_judged_by_its_weights_as_stored(service: HubSearchService, hub: Script) -> None:
    page = service.search(HubQuery("a"), PAGE, cursor="4")
    assert [(each.weights_bytes, each.fits, each.licence, each.model_type) for each in page.items] == [
        (8000, "tight", "mit", "llama"),
        (10_000, "tight", "mit", "llama"),
    ]
    assert page.next_cursor == "6"
    (half, unknown) = service.search(HubQuery("a"), PAGE, cursor="6").items
    assert (half.weights_bytes, half.num_parameters) == (10_000, 2500)
    assert (unknown.weights_bytes, unknown.fits) == (None, "unknown")
    assert len(hub.asked) == 2


def test_pages_on_which_nothing_fits_are_passed_over(service: HubSearchService, hub: Script) -> None:
    page = service.search(HubQuery("a"), PAGE, fits=True)
    assert [each.model_id for each in page.items] == ["a/small", "a/tight"]
    assert (page.next_cursor, len(hub.asked)) == ("6", 3)
    page = service.search(HubQuery("a"), PAGE, fits=True, cursor=page.next_cursor)
    assert [each.model_id for each in page.items] == ["a/half"]
    page = service.search(HubQuery("a"), PAGE, fits=True, cursor=page.next_cursor)
    assert (page.items, page.next_cursor) == ([], None)


def test_the_hub_is_not_asked_for_ever(service: HubSearchService, hub: Script, hits: list[dict[str, object]]) -> None:
    hits[:] = [UNKNOWN] * 100
    page = service.search(HubQuery("a"), PAGE, fits=True)
    assert (page.items, page.next_cursor, len(hub.asked)) == ([], str(PAGES_ASKED * PAGE), PAGES_ASKED)


@pytest.mark.parametrize(
    ("precision", "found", "weights"),
    [
        ("8bit", ["a/small", "a/large", "a/half"], [4400, 5501, 2750]),
        ("4bit", ["a/small", "a/large", "a/half"], [2600, 3251, 1625]),
    ],
)
def test_it_tells_what_fits_as_a_quantized_copy(
    service: HubSearchService,
    hits: list[dict[str, object]],
    precision: QuantizationName,
    found: list[str],
    weights: list[int],
) -> None:
    hits[:] = [SMALL, LARGE, TIGHT, HALF, UNKNOWN]  # of TIGHT, a part is quantized already
    page = service.search(HubQuery("a"), PAGE, fits=True, precision=precision)
    rest = service.search(HubQuery("a"), PAGE, fits=True, precision=precision, cursor=page.next_cursor)
    items = [*page.items, *rest.items]
    assert [(each.model_id, each.weights_bytes, each.fits) for each in items] == [
        (name, size, "fits") for name, size in zip(found, weights, strict=True)
    ]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (ParameterRange(), "max:10000"),
        (ParameterRange(5, 7), "min:5,max:7"),
        (ParameterRange(most=20_000), "max:10000"),
    ],
)
def test_the_hub_leaves_out_what_cannot_fit(
    service: HubSearchService, hub: Script, asked: ParameterRange, sent: str
) -> None:
    service.search(HubQuery("a", num_parameters=asked), PAGE, fits=True)
    assert parse_qs(urlsplit(hub.asked[0][0]).query)["num_parameters"] == [sent]


@pytest.mark.parametrize(
    ("weights", "verdict"),
    [(None, "unknown"), (850, "fits"), (1000, "tight"), (1001, "fits"), (2000, "tight"), (2001, "does_not_fit")],
)
def test_the_roomiest_accelerator_comes_before_the_machine_s_memory(weights: int | None, verdict: str) -> None:
    devices = [device("cpu", 2000), device("cuda:0", 500), device("cuda:1", 1000)]
    assert rough_verdict(weights, devices) == verdict
