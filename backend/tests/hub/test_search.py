"""Searching a Hub: what is asked of it, and pages whose addresses nobody follows."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from modelyard.core.errors import HubMisbehaved, InvalidRequest
from modelyard.hub.client import HubClient
from modelyard.hub.parameter_range import ParameterRange
from modelyard.hub.search import MAX_CURSOR_CHARACTERS, HubQuery
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import CATALOGUE, SampleSource

from .hub_faults import serve
from .test_client import Answer, Script, as_json, scripted_hub

NAMES = sorted(sample.repo_id for sample in CATALOGUE)


@pytest.fixture
def hub(samples_folder: Path) -> Iterator[HubClient]:
    with serve(create_hub_app([SampleSource(samples_folder)], api_key=None)) as endpoint:
        yield HubClient(endpoint, False)


def asked(script: Script) -> dict[str, list[str]]:
    return parse_qs(urlsplit(script.asked[-1][0]).query)


def linked(address: str) -> Answer:
    return as_json([{"id": "a/b"}], headers={"Link": f'<{address}>; rel="next"'})


def test_filters_are_the_hub_s_own_parameters() -> None:
    with scripted_hub(lambda _: as_json([])) as script:
        client = HubClient(script.endpoint, False)
        query = HubQuery("qwen", "likes", "fill-mask", "apache-2.0", "qwen3", ParameterRange(5 * 10**8, 8 * 10**9))
        client.search(query, 7, "on=&from")
        sent = asked(script)
        assert sent.pop("expand")
        assert sent == {
            "sort": ["likes"],
            "limit": ["7"],
            "search": ["qwen"],
            "pipeline_tag": ["fill-mask"],
            "filter": ["license:apache-2.0", "qwen3"],
            "num_parameters": ["min:500000000,max:8000000000"],
            "cursor": ["on=&from"],
        }
        client.search(HubQuery("qwen"), 7)
        assert {"pipeline_tag", "filter", "num_parameters", "cursor"}.isdisjoint(asked(script))
        client.search(HubQuery(architecture="llama"), 7)
        assert asked(script)["pipeline_tag"] == ["text-generation"]


def test_our_own_hub_understands_them(hub: HubClient) -> None:
    def found(**filters: object) -> list[str]:
        return [hit.model_id for hit in hub.search(HubQuery("tiny", **filters), 10).hits]  # type: ignore[arg-type]

    assert found() == NAMES
    assert found(architecture="gpt2") == ["modelyard-samples/tiny-gpt2"]
    assert found(licence="apache-2.0") == NAMES
    assert found(licence="mit") == []
    assert found(task="text-generation", num_parameters=ParameterRange(10**7)) == [NAMES[1], NAMES[2]]
    assert found(num_parameters=ParameterRange(10**7, 2 * 10**7)) == ["modelyard-samples/tiny-llama"]
    assert found(task="fill-mask") == []


def test_what_a_hit_tells(hub: HubClient) -> None:
    (hit,) = hub.search(HubQuery("gpt2"), 1).hits
    assert (hit.licence, hit.model_type, hit.pipeline_tag) == ("apache-2.0", "gpt2", "text-generation")
    assert hit.parameters_by_dtype == {"F32": hit.num_parameters}


def test_page_after_page(hub: HubClient) -> None:
    first = hub.search(HubQuery("tiny"), 2)
    assert [hit.model_id for hit in first.hits] == NAMES[:2]
    second = hub.search(HubQuery("tiny"), 2, first.next_cursor)
    assert [hit.model_id for hit in second.hits] == NAMES[2:]
    assert second.next_cursor is None


@pytest.mark.parametrize("cursor", ["\ufffd", "x"])
def test_a_cursor_that_the_hub_did_not_give_is_the_callers_mistake(hub: HubClient, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="does not take this search"):
        hub.search(HubQuery("tiny"), 2, cursor)


@pytest.mark.parametrize("path", ["/api/models?cursor=further&limit=1", "/elsewhere?x=1&cursor=further"])
def test_no_page_is_fetched_from_another_host(path: str) -> None:
    with (
        scripted_hub(lambda _: as_json([])) as other,
        scripted_hub(lambda _: linked(other.endpoint + path)) as script,
    ):
        client = HubClient(script.endpoint, "secret")
        found = client.search(HubQuery("x"), 5)
        assert found.next_cursor == "further"
        client.search(HubQuery("x"), 5, found.next_cursor)
        assert asked(script)["cursor"] == ["further"]
        assert urlsplit(script.asked[-1][0]).path == "/api/models"
        assert other.asked == []


@pytest.mark.parametrize("cursor", ["http://169.254.169.254/", "x&limit=1000", "../../secret", "a b\r\nHost: evil"])
def test_a_cursor_is_a_value_and_nothing_else(cursor: str) -> None:
    with scripted_hub(lambda _: as_json([])) as script:
        HubClient(script.endpoint, False).search(HubQuery("x"), 5, cursor)
        assert asked(script)["cursor"] == [cursor]
        assert asked(script)["limit"] == ["5"]
        assert urlsplit(script.asked[-1][0]).path == "/api/models"


@pytest.mark.parametrize("link", ['<http://hub/api/models>; rel="next"', '<?cursor=x>; rel="prev"', "<;;>", ""])
def test_no_next_page(link: str) -> None:
    with scripted_hub(lambda _: as_json([], headers={"Link": link})) as script:
        assert HubClient(script.endpoint, False).search(HubQuery("x"), 5).next_cursor is None


@pytest.mark.parametrize("address", ["http://[half?cursor=x", f"/?cursor={'x' * (MAX_CURSOR_CHARACTERS + 1)}"])
def test_an_address_that_makes_no_sense(address: str) -> None:
    with scripted_hub(lambda _: linked(address)) as script, pytest.raises(HubMisbehaved):
        HubClient(script.endpoint, False).search(HubQuery("x"), 5)


@pytest.mark.parametrize(
    ("tags", "licence"),
    [
        (["transformers", "license:mit"], "mit"),
        (["license:other", "license:mit"], "other"),
        (["license:a\nb"], None),
        ([5, "licence:mit"], None),
        (None, None),
    ],
)
def test_the_licence_among_the_tags(tags: list[object] | None, licence: str | None) -> None:
    with scripted_hub(lambda _: as_json([{"id": "a/b", "tags": tags}])) as script:
        (hit,) = HubClient(script.endpoint, False).search(HubQuery("x"), 5).hits
        assert hit.licence == licence
