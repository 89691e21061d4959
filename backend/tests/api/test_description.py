"""The API's description: complete, and kept by the server whatever it is sent."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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

from modelyard.client import answers
from modelyard.main import create_app
from modelyard.openapi import answer_types
from modelyard.schemas.cache import ModelImportRequest
from modelyard.schemas.common import Problem
from modelyard.schemas.compare import CompareRequest
from modelyard.schemas.deletion import DeletionPlanRequest
from modelyard.schemas.download import ModelDownloadRequest
from modelyard.schemas.inference import GenerateRequest, LoadRequest, QuantizeRequest
from modelyard.schemas.openai import OpenAIError
from modelyard.schemas.openai_requests import ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from modelyard.schemas.system import HubTestRequest, SessionRequest, SettingsUpdate
from modelyard.schemas.training import TrainingCreate
from support.instance import Instance

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
DESCRIBED = create_app().openapi()
CALLS = [(f"{method} {path}", call) for path, calls in DESCRIBED["paths"].items() for method, call in calls.items()]
schema = schemathesis.openapi.from_dict(DESCRIBED)


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


def test_the_types_of_the_command_line_are_those_of_the_api() -> None:
    """`make types` writes them."""
    assert Path(answers.__file__).read_text(encoding="utf-8") == answer_types(DESCRIBED)


@schema.exclude(path_regex="/(settings|session)$").parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_described(case: schemathesis.Case, served: Instance) -> None:
    answer = case.call(base_url=served.url)
    assert answer.status_code != 500, answer.text
    case.validate_response(answer, checks=CHECKS)


def _schema(described: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    name = described.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = DESCRIBED["components"]["schemas"][name] if name else described
    return found


def _shows_example(content: dict[str, Any]) -> bool:
    return "example" in content or "examples" in content or "examples" in _schema(content.get("schema", {}))


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_every_call_is_described_with_an_example(name: str, call: dict[str, Any]) -> None:
    assert call["summary"]
    assert call["description"]
    for parameter in call.get("parameters", ()):
        assert parameter["description"], parameter["name"]
        assert _shows_example(parameter), f"{parameter['name']} has no example"
    for content in call.get("requestBody", {}).get("content", {}).values():
        assert _shows_example(content), "the body has no example"
        undescribed = [
            field
            for field, property_ in _schema(content["schema"])["properties"].items()
            if not (property_.get("description") or _schema(property_).get("description"))
        ]
        assert undescribed == []
    for status, answer in call["responses"].items():
        assert answer["description"], status
        for content in answer.get("content", {}).values():
            assert _shows_example(content), f"the answer {status} shows no example"


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_every_error_is_shown_whole_with_what_to_do_next(name: str, call: dict[str, Any]) -> None:
    for status, answer in call["responses"].items():
        content = answer.get("content", {}).get("application/problem+json")
        if content is None:
            continue
        codes = re.findall(r"`(\w+)`", answer["description"])
        assert list(content["examples"]) == codes
        for code, example in content["examples"].items():
            problem = Problem.model_validate(example["value"])
            assert (problem.status, problem.code) == (int(status), code)
            assert problem.hint, code


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_every_error_of_openai_is_shown_whole(name: str, call: dict[str, Any]) -> None:
    if not name.partition(" ")[2].startswith("/v1/"):
        return
    for status, answer in call["responses"].items():
        content = answer.get("content", {})
        assert "application/problem+json" not in content
        if status == "200":
            continue
        examples = content["application/json"]["examples"]
        assert list(examples) == re.findall(r"`(\w+)`", answer["description"])
        for code, example in examples.items():
            error = OpenAIError.model_validate(example["value"]).error
            assert error.code == code
            assert error.message.count(".") > 1, "it does not say what to do next"


def test_the_examples_of_bodies_are_requests_that_are_understood() -> None:
    for model in (
        ModelDownloadRequest,
        ModelImportRequest,
        QuantizeRequest,
        LoadRequest,
        GenerateRequest,
        CompareRequest,
        ChatCompletionRequest,
        CompletionRequest,
        EmbeddingRequest,
        DeletionPlanRequest,
        TrainingCreate,
        SettingsUpdate,
        HubTestRequest,
        SessionRequest,
    ):
        for example in model.model_json_schema()["examples"]:
            model.model_validate(example)


def test_a_call_that_is_sent_nothing_refuses_nothing() -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert "422" not in DESCRIBED["paths"][path]["get"]["responses"]


def test_the_events_are_described() -> None:
    for word in ("/api/v1/events", "snapshot", "epoch", "seq", "model.deleted", "training.progress"):
        assert word in DESCRIBED["info"]["description"]


def test_the_documentation_page_needs_no_other_host(served: Instance) -> None:
    page = httpx.get(f"{served.url}/docs").text
    assert "openapi" in page.lower()
    assert "https://" not in page
