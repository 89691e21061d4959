"""What a user is told about a Hub: one that is slow, away, gated, or that lies."""

import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import _http
from starlette.types import ASGIApp

from modelyard.core.errors import (
    GatedNotAccepted,
    GatedNoToken,
    HubError,
    HubMisbehaved,
    HubModelNotFound,
    HubRateLimited,
    HubUnreachable,
    InvalidRepository,
    InvalidRequest,
    ModelyardError,
    RevisionNotFound,
    TokenInvalid,
    TooManyFiles,
)
from modelyard.hub import answer_limits
from modelyard.hub import client as client_module
from modelyard.hub.answer_limits import MAX_ANSWER_BYTES
from modelyard.hub.client import HEADER_READERS, HubClient
from modelyard.hub.deadlines import within
from modelyard.hub.download import transport as transport_module
from modelyard.hub.download.transport import Transport
from modelyard.hub.model_info import MAX_FILES
from modelyard.hub.retry import HUB_IN_TROUBLE, Transient
from modelyard.hub.search import HubQuery
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.trickling_hub import trickling

from .fault_hub import FaultHub
from .hub_faults import HubFaults, serve

GPT2 = "modelyard-samples/tiny-gpt2"
COMMIT = "c0ffee" + "0" * 34
NAME = "owner/name"
GOOD = {"id": NAME, "sha": COMMIT, "siblings": [{"rfilename": "config.json", "size": 2, "blobId": "a" * 40}]}


@dataclass
class Answer:
    """`body` is sent as it is, piece by piece where it is an iterator."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Script:
    """What a scripted Hub says, and what it was asked: (path, authorization)."""

    endpoint: str
    answer: Callable[[str], Answer]
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def scripted_hub(answer: Callable[[str], Answer], host: str = "127.0.0.1") -> Iterator[Script]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script.asked.append((self.path, self.headers.get("Authorization")))
            answer = script.answer(self.path)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in [answer.body] if isinstance(answer.body, bytes) else answer.body:
                try:
                    self.wfile.write(piece)
                except OSError:
                    return  # the client has heard enough

        do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    script = Script(f"http://{host}:{server.server_address[1]}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def as_json(content: object, **fields: Any) -> Answer:
    return Answer(body=json.dumps(content).encode(), **fields)


@pytest.fixture
def hub(samples_folder: Path) -> Iterator[tuple[HubFaults, str]]:
    """A well-behaved Hub to be spoiled, and its address."""
    app: ASGIApp = create_hub_app([SampleSource(samples_folder)], api_key=None)
    faults = HubFaults(app, tokens={"good", "stranger"})
    with serve(faults) as endpoint:
        yield faults, endpoint


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy, none of these answers may come too late."""
    monkeypatch.setattr(client_module, "PATIENCE_SECONDS", 60.0)


# What a healthy Hub says


def test_a_model_with_its_files(hub: tuple[HubFaults, str]) -> None:
    model = HubClient(hub[1], False).model_info(GPT2)
    assert (model.model_id, model.canonical_id, model.gated) == (GPT2, GPT2, False)
    files = {file.path: file for file in model.files}
    assert files["model.safetensors"].sha256
    assert files["config.json"].git_sha1
    assert all(file.size_bytes for file in model.files)
    assert model.num_parameters == sum(model.parameters_by_dtype.values()) > 0


def test_configuration_headers_and_search(hub: tuple[HubFaults, str]) -> None:
    client = HubClient(hub[1], False)
    commit = client.model_info(GPT2).commit
    config = client.read_small_file(GPT2, commit, "config.json")
    assert config is not None
    assert json.loads(config)["model_type"] == "gpt2"
    assert client.read_small_file(GPT2, commit, "no-such.json") is None
    (header,) = client.safetensors_headers(GPT2, commit, ["model.safetensors"])
    assert header.tensors
    hits = client.search(HubQuery("tiny"), 3).hits
    assert len(hits) == 3
    assert all("tiny" in hit.model_id for hit in hits)
    client.check(60)


# Failures that pass


@pytest.mark.parametrize("ask", ["info", "config", "search", "headers", "access"])
def test_a_short_outage_is_not_noticed(hub: tuple[HubFaults, str], ask: str) -> None:
    faults, endpoint = hub
    client = HubClient(endpoint, "good")
    faults.gate(GPT2, accepted={"good"})
    model = client.model_info(GPT2)
    faults.fail("/", 503, times=2)
    asked = len(faults.requests)
    {
        "info": lambda: client.model_info(GPT2),
        "config": lambda: client.read_small_file(GPT2, model.commit, "config.json"),
        "search": lambda: client.search(HubQuery("tiny"), 3),
        "headers": lambda: client.safetensors_headers(GPT2, model.commit, ["model.safetensors"]),
        "access": lambda: client.access(model),
    }[ask]()
    assert len(faults.requests) - asked >= 3


@pytest.mark.parametrize(("status", "error"), [(503, HubUnreachable), (500, HubUnreachable), (429, HubRateLimited)])
def test_a_long_one_is(hub: tuple[HubFaults, str], status: int, error: type[HubError]) -> None:
    faults, endpoint = hub
    faults.fail("/api/models/", status, times=-1)
    with pytest.raises(error):
        HubClient(endpoint, False).model_info(GPT2)
    assert len(faults.requests) == 3


def test_a_hub_in_trouble_is_not_called_unreachable(hub: tuple[HubFaults, str]) -> None:
    faults, endpoint = hub
    faults.fail("/api/models", 503, times=-1)
    for ask in (lambda: HubClient(endpoint, False).model_info(GPT2), lambda: HubClient(endpoint, False).check(60)):
        with pytest.raises(HubUnreachable, match=r"answers, but with an error \(HTTP 503\)") as caught:
            ask()
        assert caught.value.hint == HUB_IN_TROUBLE
    with pytest.raises(HubUnreachable, match=r"built-in sample Hub could not answer: Injected failure") as caught:
        HubClient(endpoint, False, is_builtin=True).model_info(GPT2)
    assert "log of the API" in (caught.value.hint or "")


def test_the_built_in_hub_names_what_it_has(hub: tuple[HubFaults, str]) -> None:
    with pytest.raises(HubModelNotFound, match="on the built-in sample Hub") as caught:
        HubClient(hub[1], False, is_builtin=True).model_info("no/such")
    assert GPT2 in (caught.value.hint or "")
    assert "modelyard hub default" in (caught.value.hint or "")
    with pytest.raises(HubModelNotFound) as caught:
        HubClient(hub[1], False).model_info("no/such")
    assert caught.value.hint == HubModelNotFound.default_hint


def test_samples_are_told_from_other_models(hub: tuple[HubFaults, str]) -> None:
    assert all(hit.is_sample for hit in HubClient(hub[1], False).search(HubQuery("tiny"), 3).hits)
    other = json.dumps([{"id": NAME, "tags": ["gguf"]}, {"id": "a/b"}]).encode()
    with scripted_hub(lambda _: Answer(body=other)) as script:
        hits = HubClient(script.endpoint, False).search(HubQuery(), 3).hits
        assert [hit.is_sample for hit in hits] == [False, False]


def test_nobody_waits_as_long_as_a_rate_limit_asks(hub: tuple[HubFaults, str]) -> None:
    faults, endpoint = hub
    faults.fail("/api/models/", 429, times=-1, headers={"Retry-After": "600"})
    begun = time.monotonic()
    with pytest.raises(HubRateLimited):
        HubClient(endpoint, False).model_info(GPT2)
    assert len(faults.requests) == 1
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
def test_a_refusal_is_not_asked_for_again(hub: tuple[HubFaults, str], status: int) -> None:
    faults, endpoint = hub
    faults.fail("/api/models/", status, times=-1)
    with pytest.raises(HubError):
        HubClient(endpoint, False).model_info(GPT2)
    assert len(faults.requests) == 1


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(HubUnreachable, match="connection refused") as caught:
            HubClient(endpoint, False).model_info(GPT2)
        assert time.monotonic() - begun < 30
        assert endpoint in caught.value.message
        with pytest.raises(HubUnreachable):
            HubClient(endpoint, False).check(60)


def test_a_listener_that_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(HubUnreachable):
            HubClient(endpoint, False, timeout_seconds=0.5).model_info(GPT2)
        with pytest.raises(HubUnreachable, match="in time"):
            HubClient(endpoint, False).check(0.5)
        assert time.monotonic() - begun < 30


@pytest.mark.parametrize("endpoint", ["http://no-such-host.invalid", "http://10.0.0.1", "ftp://x", "http://[x", "x"])
def test_an_address_that_is_none(endpoint: str) -> None:
    with pytest.raises(HubUnreachable):
        HubClient(endpoint, False).model_info(GPT2)


def test_offline(hub: tuple[HubFaults, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        HubClient(hub[1], False).model_info(GPT2)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
        HubClient(hub[1], False).check(60)
    assert hub[0].requests == []


# Access


def test_missing(hub: tuple[HubFaults, str]) -> None:
    for token in (False, "good"):
        client = HubClient(hub[1], token)
        with pytest.raises(HubModelNotFound, match="no/such"):
            client.model_info("no/such")
        with pytest.raises(RevisionNotFound, match="nowhere"):
            client.model_info(GPT2, "nowhere")
    with pytest.raises(InvalidRequest):
        HubClient(hub[1], False).model_info("a/b/c")


@pytest.mark.parametrize("revision", ["..", "../../other/name", "a//b", "", "a\nb"])
def test_a_revision_that_leads_elsewhere(hub: tuple[HubFaults, str], revision: str) -> None:
    with pytest.raises(InvalidRequest):
        HubClient(hub[1], False).model_info(GPT2, revision)
    assert hub[0].requests == []


def test_private_is_missing_to_strangers(hub: tuple[HubFaults, str]) -> None:
    faults, endpoint = hub
    faults.hide(GPT2, readers={"good"})
    for token in (False, "stranger"):
        with pytest.raises(HubModelNotFound):
            HubClient(endpoint, token).model_info(GPT2)
    assert HubClient(endpoint, "good").model_info(GPT2).files


def test_gated(hub: tuple[HubFaults, str]) -> None:
    faults, endpoint = hub
    faults.gate(GPT2, accepted={"good"})
    cases: tuple[tuple[str | Literal[False], str, type[ModelyardError] | None], ...] = (
        (False, "no_token", GatedNoToken),
        ("stranger", "needs_acceptance", GatedNotAccepted),
        ("good", "accepted", None),
    )
    for token, access, error in cases:
        client = HubClient(endpoint, token)
        model = client.model_info(GPT2)
        assert model.gated
        assert client.access(model) == access
        if error is None:
            assert client.read_small_file(GPT2, model.commit, "config.json")
            continue
        with pytest.raises(error) as caught:
            client.read_small_file(GPT2, model.commit, "config.json")
        assert caught.value.extra["url"] == f"{endpoint}/{GPT2}"
        with pytest.raises(error):
            client.safetensors_headers(GPT2, model.commit, ["model.safetensors"] * 20)


def test_a_wrong_token(hub: tuple[HubFaults, str]) -> None:
    client = HubClient(hub[1], "expired")
    with pytest.raises(TokenInvalid):
        client.model_info(GPT2)
    with pytest.raises(TokenInvalid):
        client.search(HubQuery("x"), 1)
    assert client.user() == ("invalid", None)


def test_whose_token(hub: tuple[HubFaults, str]) -> None:
    assert HubClient(hub[1], False).user() == ("none", None)
    with scripted_hub(lambda _path: as_json({"name": "somebody", "type": "user"})) as script:
        assert HubClient(script.endpoint, "good").user() == ("valid", "somebody")
        assert HubClient(script.endpoint).user() == ("none", None)
    with scripted_hub(lambda _path: Answer(404)) as script:
        assert HubClient(script.endpoint, "good").user() == ("unknown", None)


@pytest.mark.parametrize("token", ["se\ncret", "secrét", "sec\x00ret", "secret\r\nX-Evil: 1"])
def test_a_token_that_is_none_is_never_shown(hub: tuple[HubFaults, str], token: str) -> None:
    with pytest.raises(TokenInvalid) as caught:
        HubClient(hub[1], token).model_info(GPT2)
    shown = f"{caught.value} {caught.value.message} {caught.value.__cause__}"
    assert "secr" not in shown
    assert "se\\ncret" not in shown
    assert hub[0].requests == []


def test_no_token_goes_to_another_host() -> None:
    with scripted_hub(lambda _path: as_json(GOOD)) as other:
        for place in (f"{other.endpoint}/elsewhere", other.endpoint.replace("127.0.0.1", "localhost") + "/elsewhere"):
            with scripted_hub(lambda _path, to=place: Answer(302, headers={"Location": to})) as first:  # type: ignore[misc]
                client = HubClient(first.endpoint, "secret-token")
                assert client.model_info(NAME).commit == COMMIT
                with pytest.raises(HubMisbehaved):
                    client.search(HubQuery("x"), 1)
                assert {token for _path, token in first.asked} == {"Bearer secret-token"}
        assert len(other.asked) == 4
        assert {token for _path, token in other.asked} == {None}


def test_no_token_goes_from_a_mirror_to_what_huggingface_hub_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub follows a HEAD from any Hub to huggingface.co with the headers of the first."""
    with FaultHub() as public, FaultHub() as mirror:
        monkeypatch.setattr(_http, "_HUB_ORIGINS", {_http._url_origin(public.endpoint)})
        content = b"x" * 10
        public.add("config.json", content)
        mirror.add("config.json", content, redirect_to=public.endpoint)
        transport = Transport(
            endpoint=mirror.endpoint, repo_id=NAME, commit=COMMIT, token="mirror-token", connect_timeout_seconds=5,
            stall_seconds=5,
        )  # fmt: skip
        location = transport.resolve("config.json").location
        with transport.open(location, start=0, stop=10, size_bytes=10) as body:
            assert bytes(body.read(10)) == content
        transport.close()
        assert {seen.authorization for seen in mirror.requests} == {"Bearer mirror-token"}
        assert len(public.requests) >= 2
        assert {seen.authorization for seen in public.requests} == {None}


def test_the_client_for_a_hub_sends_what_is_stored_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-the-environment")
    with scripted_hub(lambda _path: as_json([])) as home, scripted_hub(lambda _path: as_json([])) as other:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", home.endpoint)
        for script in (home, other):
            client = HubClient(script.endpoint)
            client.search(HubQuery("x"), 1)
            client.check(5)
        assert {token for _path, token in home.asked} == {"Bearer of-the-environment"}
        assert {token for _path, token in other.asked} == {None}


def test_a_renamed_model_is_followed_with_the_token() -> None:
    def answer(path: str) -> Answer:
        if "/old" in path:
            return Answer(307, headers={"Location": path.replace("owner/old", NAME)})
        return as_json(GOOD)

    with scripted_hub(answer) as script:
        model = HubClient(script.endpoint, "t").model_info("owner/old")
        assert (model.model_id, model.canonical_id) == ("owner/old", NAME)
        assert [token for _path, token in script.asked] == ["Bearer t"] * 2


# Hubs that lie


def refused(answer: Answer | Callable[[str], Answer], ask: Callable[[HubClient], Any] | None = None) -> ModelyardError:
    """The error a client raises about this answer."""
    with scripted_hub(answer if callable(answer) else lambda _path: answer) as script:
        client = HubClient(script.endpoint, False)
        with pytest.raises((HubError, InvalidRepository)) as caught:
            (ask or (lambda client: client.model_info(NAME)))(client)
        return caught.value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Sign in to the hotel's network</html>",
        b"{",
        b"\xff\xfe\x00",
        b'{"id": "' + b"\xed\xa0\x80" + b'"}',
        b"[" * 100_000,
        b'{"likes": ' + b"9" * 5_000 + b"}",
        b"null",
        b"[]",
        b'"text"',
        b"17",
        b"{}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_model(body: bytes) -> None:
    assert isinstance(refused(Answer(body=body)), HubMisbehaved)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 5},
        {"id": None},
        {"id": "../../etc"},
        {"id": "x" * 300},
        {"sha": None},
        {"sha": "main"},
        {"sha": ["c0ffee"]},
        {"sha": "../../../etc/passwd"},
        {"siblings": {"a": 1}},
        {"siblings": ["config.json"]},
        {"siblings": 7},
        {"siblings": [{"rfilename": 5}]},
        {"siblings": [{"rfilename": None, "size": 1}]},
        {"siblings": [{"rfilename": "a", "size": "12"}]},
        {"siblings": [{"rfilename": "a", "size": -1}]},
        {"siblings": [{"rfilename": "a", "size": 1e300}]},
        {"siblings": [{"rfilename": "a", "size": 10**40}]},
        {"siblings": [{"rfilename": "a", "size": True}]},
        {"siblings": [{"rfilename": "a", "size": 1, "lfs": {"size": "x", "sha256": 1, "pointerSize": 1}}]},
        {"siblings": [{"rfilename": "a", "size": 1, "lfs": "yes"}]},
        {"lastModified": "yesterday"},
        {"lastModified": 5},
        {"safetensors": "many"},
        {"safetensors": {"parameters": [1, 2], "total": 3}},
    ],
    ids=str,
)
def test_a_model_of_the_wrong_shape(wrong: dict[str, Any]) -> None:
    assert isinstance(refused(as_json(GOOD | wrong)), HubMisbehaved)


@pytest.mark.parametrize("half", [b"\\ud800", b"\\uDFff", b"\xed\xa0\x80"])
def test_half_a_surrogate_pair_is_replaced(half: bytes) -> None:
    """No answer could repeat it; a whole pair is a character like others."""
    texts = GOOD | {"tags": ["HALF", "\N{GRINNING FACE}"], "siblings": [{"rfilename": "HALF.txt", "size": 1}]}
    body = json.dumps(texts).encode().replace(b"HALF", half)
    with scripted_hub(lambda _path: Answer(body=body)) as script:
        model = HubClient(script.endpoint, False).model_info(NAME)
    assert [tag.strip("\N{REPLACEMENT CHARACTER}") for tag in model.tags] == ["", "\N{GRINNING FACE}"]
    (file,) = model.files
    assert file.path.strip("\N{REPLACEMENT CHARACTER}") == ".txt"
    "".join([*model.tags, file.path]).encode()


def test_what_only_decorates_may_be_nonsense() -> None:
    nonsense = {
        "tags": ["fine", 5, None],
        "likes": "many",
        "downloads": -3,
        "pipeline_tag": {"a": 1},
        "cardData": {"license": ["mit"]},
        "safetensors": {"parameters": {"F32": "x", "BF16": 10**40, "F16": 7}, "total": "x"},
    }
    with scripted_hub(lambda _path: as_json(GOOD | nonsense)) as script:
        model = HubClient(script.endpoint, False).model_info(NAME)
    assert model.tags == ("fine",)
    assert (model.likes, model.downloads, model.pipeline_tag, model.licence) == (None, None, None, None)
    assert model.num_parameters == 7


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, None),
        (["mit"], None),
        ("mit", None),
        ({"license": 5, "tags": 5}, None),
        ({"license": "mit", "tags": {"a": 1}, "model-index": "text", "ignore_metadata_errors": True}, "mit"),
        ({"license": "mit", "model-index": [{"results": 5}], "eval_results": 3, "self": 1}, "mit"),
        ({"license": "x" * 201}, "x" * 199 + "…"),
        ({"license": "a\nb"}, None),
    ],
)
def test_a_card_is_the_authors_and_never_the_hubs_fault(card: object, licence: str | None) -> None:
    with scripted_hub(lambda _path: as_json(GOOD | {"cardData": card})) as script:
        assert HubClient(script.endpoint, False).model_info(NAME).licence == licence


def test_a_large_file_is_taken_where_it_may_be_large() -> None:
    with scripted_hub(lambda _path: Answer(body=b" " * (MAX_ANSWER_BYTES + 1))) as script:
        client = HubClient(script.endpoint, False)
        with pytest.raises(HubMisbehaved, match="more than 20000000 bytes"):
            client.read_small_file(NAME, COMMIT, "config.json")
        content = client.read_small_file(NAME, COMMIT, "index.json", limit_bytes=MAX_ANSWER_BYTES + 1)
        assert len(content or b"") == MAX_ANSWER_BYTES + 1
        with pytest.raises(HubMisbehaved, match="more than 20000000 bytes"):
            client.model_info(NAME)


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"error": "x"}', b"[5]", b'[{"id": 5}]', b'[{"nothing": 1}]'])
def test_a_search_of_the_wrong_shape(body: bytes) -> None:
    assert isinstance(refused(Answer(body=body), lambda client: client.search(HubQuery("x"), 5)), HubMisbehaved)


def test_another_kind_of_server_is_named_so() -> None:
    assert isinstance(refused(Answer(404), lambda client: client.check(60)), HubMisbehaved)
    assert isinstance(refused(Answer(404), lambda client: client.search(HubQuery("x"), 5)), HubMisbehaved)


def test_pages_without_end() -> None:
    def answer(_path: str) -> Answer:
        return as_json([], headers={"Link": f'<{script.endpoint}/api/models?cursor=x>; rel="next"'})

    with scripted_hub(answer) as script:
        assert HubClient(script.endpoint, False).search(HubQuery("x"), 5).hits == ()
        assert len(script.asked) == 1


def test_more_hits_than_asked_for() -> None:
    with scripted_hub(lambda _path: as_json([{"id": f"owner/m{n}"} for n in range(1000)])) as script:
        assert len(HubClient(script.endpoint, False).search(HubQuery("x"), 5).hits) == 5


def test_packed_elements_are_not_counted_as_parameters() -> None:
    packed = {
        "id": NAME,
        "sha": COMMIT,
        "config": {"quantization_config": {"quant_method": "gptq"}},
        "safetensors": {"parameters": {"I32": 5, "F16": 7}, "total": 12},
    }
    with scripted_hub(lambda path: as_json([packed] if "search" in path else packed)) as script:
        client = HubClient(script.endpoint, False)
        (hit,) = client.search(HubQuery("x"), 5).hits
        assert (hit.num_parameters, hit.parameters_by_dtype) == (None, {})
        assert "expand=config" in script.asked[0][0]
        assert client.model_info(NAME).num_parameters is None


def header(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0" * 100,
        b"\xff" * 8 + b"{}",
        (10**9).to_bytes(8, "little") + b"{}",
        header(b"not json"),
        header([]),
        header({"w": 5}),
        header({"w": {"dtype": "F32", "shape": "wide", "data_offsets": [0, 4]}}),
        header({"w": {"dtype": "F32", "shape": ["a"], "data_offsets": [0, 4]}}),
        header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        header({"w": {"dtype": "F32", "shape": [10**30, 10**30], "data_offsets": [0, 4]}}),
        header({"w": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}),
        header({"w": {"dtype": "F32", "shape": [1]}}),
    ],
    ids=lambda body: repr(body[8:50]),
)
def test_weight_headers_that_are_none(body: bytes) -> None:
    ask = lambda client: client.safetensors_headers(NAME, COMMIT, ["model.safetensors"])  # noqa: E731
    assert isinstance(refused(Answer(body=body), ask), InvalidRepository), "the author's fault"


def test_redirects_in_circles() -> None:
    error = refused(lambda path: Answer(302, headers={"Location": path}))
    assert isinstance(error, HubMisbehaved)
    assert "circles" in error.message


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/x", "http://[", "//", "http://10.1.2.3/x"])
def test_redirects_to_nowhere(location: str) -> None:
    refused(Answer(302, headers={"Location": location}))


def test_an_endless_answer_fills_no_memory() -> None:
    def flood() -> Iterator[bytes]:
        for _ in range(3200):
            yield b" " * 65536

    tracemalloc.start()
    begun = time.monotonic()
    error = refused(lambda _path: Answer(body=flood()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, HubMisbehaved)
    assert peak < 4 * MAX_ANSWER_BYTES
    assert time.monotonic() - begun < 60


def test_a_repository_of_99_000_files_is_refused_in_words() -> None:
    siblings = [
        {"rfilename": f"model-{n:05}-of-99000.safetensors", "size": 9, "blobId": f"{n:040x}"} for n in range(99_000)
    ]
    begun = time.monotonic()
    error = refused(as_json(GOOD | {"siblings": siblings}))
    assert isinstance(error, TooManyFiles)
    assert "99000 files" in error.message
    assert time.monotonic() - begun < 60
    with scripted_hub(lambda _path: as_json(GOOD | {"siblings": siblings[:MAX_FILES]})) as script:
        assert len(HubClient(script.endpoint, False).model_info(NAME).files) == MAX_FILES


def test_a_million_files() -> None:
    siblings = b",".join(b'{"rfilename":"f%d"}' % number for number in range(1_000_000))
    body = b'{"id": "owner/name", "sha": "%s", "siblings": [%s]}' % (COMMIT.encode(), siblings)
    begun = time.monotonic()
    assert isinstance(refused(Answer(body=body)), HubMisbehaved)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_an_answer_that_unfolds_is_refused(encoding: str) -> None:
    squeezer = zlib.compressobj(wbits=31)
    bomb = b"".join([*(squeezer.compress(b" " * 1_000_000) for _ in range(300)), squeezer.flush()])
    tracemalloc.start()
    error = refused(Answer(body=bomb, headers={"Content-Encoding": encoding}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, HubMisbehaved)
    assert peak < MAX_ANSWER_BYTES


def test_an_answer_that_trickles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_limits, "MAX_ANSWER_SECONDS", 1.0)

    def trickle() -> Iterator[bytes]:
        for _ in range(600):
            yield b" "
            time.sleep(0.1)

    begun = time.monotonic()
    error = refused(lambda _path: Answer(body=trickle()))
    assert isinstance(error, HubUnreachable)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("in_body", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_a_whole_call_ends_however_little_keeps_arriving(in_body: bool) -> None:
    with trickling(in_body=in_body) as (hub, endpoint):
        client = HubClient(endpoint, False)
        for ask in (
            lambda: client.check(2),
            lambda: _within(2, lambda: client.model_info(NAME)),
            lambda: _within(2, lambda: client.safetensors_headers(NAME, COMMIT, ["a", "b", "c"] * 10)),
        ):
            began = time.monotonic()
            with pytest.raises(HubUnreachable, match="in time"):
                ask()
            assert time.monotonic() - began < 30
        assert hub.most >= HEADER_READERS


def _within(seconds: float, ask: Callable[[], object]) -> None:
    with within(seconds):
        ask()


def test_resolving_a_file_ends_however_little_keeps_arriving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "RESOLVE_SECONDS", 2.0)
    with trickling() as (_hub, endpoint):
        transport = Transport(
            endpoint=endpoint, repo_id=NAME, commit=COMMIT, token=False, connect_timeout_seconds=5, stall_seconds=5
        )
        began = time.monotonic()
        with pytest.raises(Transient, match="in time"):
            transport.resolve("a.bin")
        assert time.monotonic() - began < 30
        transport.close()
