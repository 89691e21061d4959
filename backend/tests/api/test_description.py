"""The API's description: complete, and kept by the server whatever it is sent."""

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from modelyard.main import create_app
from support.instance import Instance

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(create_app().openapi())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server of its own, because it is sent anything at all; its Hub is its own sample Hub."""
    instance = Instance(tmp_path_factory.mktemp("described"), arguments=("--no-workers",)).start()
    instance.use_builtin_hub()
    instance.wait_until(
        lambda: instance.api.get("/models/info/modelyard-samples/tiny-gpt2").is_success, 60, "the samples are made"
    )
    yield instance
    instance.stop()


@schema.exclude(path_regex="/(settings|session)$").parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: schemathesis.Case, served: Instance) -> None:
    answer = case.call(base_url=served.url)
    assert answer.status_code != 500, answer.text
    case.validate_response(answer, checks=CHECKS)


def test_every_call_is_described_with_an_example(served: Instance) -> None:
    described = httpx.get(f"{served.url}/openapi.json").json()
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            assert call["summary"], (method, path)
            assert call["description"], (method, path)
            success = next(answer for status, answer in call["responses"].items() if status.startswith("2"))
            for content in success.get("content", {}).values():
                name = content.get("schema", {}).get("$ref", "").rsplit("/", 1)[-1]
                schema = described["components"]["schemas"].get(name, {})
                assert "example" in content or schema.get("examples"), f"{method} {path} shows no example answer"


def test_the_documentation_page_needs_no_other_host(served: Instance) -> None:
    page = httpx.get(f"{served.url}/docs").text
    assert "openapi" in page.lower()
    assert "https://" not in page
