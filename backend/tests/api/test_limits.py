"""Attacks on a server that listens: bodies, headers and wrong keys, by clients that may not even have the key."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from modelyard.schemas.openai import OpenAIError
from support.instance import Instance

KEY = "correct horse battery staple"
HUGE = 300_000_000
MOST_GROWTH = 50_000_000
PROXY = "127.0.0.9"
AUTHORIZED = f"Authorization: Bearer {KEY}\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server with a key and no workers, behind a proxy of its own."""
    instance = Instance(
        tmp_path_factory.mktemp("limits"),
        {
            "MODELYARD_API_KEY": f"{KEY}\n",
            "MODELYARD_TRUSTED_PROXIES": f"{PROXY}, 10.0.0.0/8",
            "MODELYARD_MAX_UPLOAD_BYTES": "3000000",
        },
        arguments=("--no-workers", "--host", "0.0.0.0"),
    )
    instance.api.headers["Authorization"] = f"Bearer {KEY}"
    yield instance.start()
    instance.stop()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server without a key."""
    instance = Instance(tmp_path_factory.mktemp("open"), arguments=("--no-workers",))
    yield instance.start()
    instance.stop()


def memory(instance: Instance) -> int:
    return int(instance.children()["api"].memory_info().rss)


def sender(
    server: Instance, path: str, length: int, headers: str = "", kind: str = "application/json"
) -> socket.socket:
    """A connection over which the head of a POST was sent, with this `Content-Length`; -1 is a chunked body."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    framing = f"Content-Length: {length}" if length >= 0 else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n{framing}\r\n{headers}\r\n"
    raw.sendall(head.encode())
    return raw


def answer_of(raw: socket.socket) -> tuple[int, dict[str, object]]:
    """The status and the JSON of the next answer."""
    with raw.makefile("rb") as reader:
        status = int(reader.readline().split()[1])
        length = 0
        while (line := reader.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, json.loads(reader.read(length))


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/v1/models/download", "", 401, "unauthorized"),
        ("/api/v1/models/download", AUTHORIZED, 413, "payload_too_large"),
        ("/api/v1/models/any/generate", AUTHORIZED, 413, "payload_too_large"),
        ("/api/v1/session", "", 413, "payload_too_large"),
        ("/api/v1/datasets", "", 401, "unauthorized"),
        ("/hub/api/models/a/b/paths-info/main", "", 401, None),
        ("/hub/api/models/a/b/paths-info/main", AUTHORIZED, 413, None),
        ("/", "", 405, "method_not_allowed"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_300_mb_are_not_kept(
    server: Instance, path: str, headers: str, status: int, code: str | None, chunked: bool
) -> None:
    """All of it is sent before the answer is read, as simple clients do, and the answer is still there to be read."""
    before = memory(server)
    piece = b" " * 1_000_000
    if chunked:
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    most = 0
    with closing(sender(server, path, -1 if chunked else HUGE, headers)) as raw:
        for number in range(HUGE // 1_000_000):
            raw.sendall(piece)
            if number % 20 == 0:
                most = max(most, memory(server))
        if chunked:
            raw.sendall(b"0\r\n\r\n")
        found, problem = answer_of(raw)
    assert (found, problem.get("code")) == (status, code)
    assert max(most, memory(server)) - before < MOST_GROWTH


def test_a_length_that_is_too_large_is_refused_unread(server: Instance) -> None:
    for path, limit in (("/api/v1/models/download", 1_000_000), ("/api/v1/models/any/generate", 16_000_000)):
        with closing(sender(server, path, limit + 1, f"{AUTHORIZED}Expect: 100-continue\r\n")) as raw:
            status, problem = answer_of(raw)
        assert (status, problem["code"], problem["limit_bytes"]) == (413, "payload_too_large", limit)
        assert problem["hint"]
    with closing(sender(server, "/v1/completions", 16_000_001, AUTHORIZED)) as raw:
        status, answer = answer_of(raw)
    assert status == 413
    assert OpenAIError.model_validate(answer).error.code == "payload_too_large"


def test_what_an_endpoint_takes_gets_through(server: Instance) -> None:
    at_limit = json.dumps({"model_id": "no/such", "revision": "x" * 999_900}).encode()
    assert 999_000 < len(at_limit) <= 1_000_000
    headers = {"Content-Type": "application/json"}
    assert server.api.post("/models/download", content=at_limit, headers=headers).status_code == 422
    text = json.dumps({"messages": [{"role": "user", "content": "x" * 100_000}] * 150}).encode()
    assert len(text) > 15_000_000
    assert server.api.post("/models/none/generate", content=text, headers=headers).json()["code"] != "payload_too_large"


@pytest.mark.parametrize("text", ["[" * 400_000, '{"a":' * 100_000, '{"model_id": "\\ud800"}', '{"model_id": 1e999}'])
def test_json_that_breaks_parsers(server: Instance, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/models/download", "/api/v1/session", "/hub/api/models/a/b/paths-info/main"):
        answer = server.api.post(f"{server.url}{path}", content=text[:3_900], headers=headers)
        assert 400 <= answer.status_code < 500, (path, answer.text)
    assert server.api.post("/models/download", content=text, headers=headers).status_code == 422
    assert "Traceback" not in (server.home / "logs" / "api.log").read_text()


def test_a_compressed_body_is_not_unpacked(server: Instance) -> None:
    import gzip

    bomb = gzip.compress(b" " * 500_000_000)
    before = memory(server)
    answer = server.api.post(
        "/models/download", content=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    assert answer.status_code == 422
    assert memory(server) - before < MOST_GROWTH


@pytest.mark.parametrize("part", ["header", "many headers", "query", "trailer"])
def test_endless_heads(server: Instance, part: str) -> None:
    get, end = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    start = {
        "header": get + b"X-Long: ",
        "many headers": get,
        "query": b"GET /healthz?q=",
        "trailer": b"POST /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\n" + end + b"X-Long: ",
    }[part]
    piece = b"X-Many: 1\r\n" * 10_000 if part == "many headers" else b"x" * 110_000
    before, sent = memory(server), 0
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as raw, suppress(ConnectionError):
        raw.sendall(start)
        while sent < HUGE:
            raw.sendall(piece)
            sent += len(piece)
    assert sent < 30_000_000, "the server went on reading"
    assert memory(server) - before < MOST_GROWTH


def test_a_socket_that_talks(server: Instance) -> None:
    address = f"ws://127.0.0.1:{server.port}/api/v1/events"
    before = memory(server)
    with connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket_:
        socket_.recv(5)
        socket_.send(b"\0binary")
        socket_.send("text")
        with pytest.raises(ConnectionClosed) as closed:
            _say_too_much(socket_)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    assert memory(server) - before < MOST_GROWTH
    assert "Traceback" not in (server.home / "logs" / "api.log").read_text()


def _say_too_much(socket_: ClientConnection) -> None:
    socket_.send("x" * 50_000_000)
    while True:
        socket_.recv(10)


# Uploads


def files_of(server: Instance) -> list[str]:
    return sorted(path.name for path in (server.home / "datasets").iterdir())


def form(size: int, *, name: str = "corpus.txt", field: str = "file") -> bytes:
    head = f'--frontier\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + b"All work and no play. \n\n" * (size // 24) + b"\r\n--frontier--\r\n"


def send_form(server: Instance, body: bytes, *, chunked: bool = False) -> httpx.Response:
    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    content = iter([body[start : start + 50_000] for start in range(0, len(body), 50_000)]) if chunked else body
    return server.api.post("/datasets", content=content, headers=headers)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_arrives_and_one_that_is_too_large_leaves_nothing(server: Instance, chunked: bool) -> None:
    kept = send_form(server, form(2_900_000), chunked=chunked)
    assert kept.status_code == 201, kept.text
    content = form(2_900_000).split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n--frontier--\r\n")
    assert Path(kept.json()["path"]).read_bytes() == content
    refused = send_form(server, form(4_000_000, name="large.txt"), chunked=chunked)
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert refused.json()["limit_bytes"] == 3_000_000
    assert files_of(server) == [Path(kept.json()["path"]).name]
    assert server.api.delete(f"/datasets/{files_of(server)[0]}").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        form(100, field="other"),
        form(100, name="code.py"),
        form(100).removesuffix(b"--frontier--\r\n"),
        form(100).replace(b"--frontier--", b"--frontier") + form(100),
        b'--frontier\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--frontier--\r\n',
        b"--frontier\r\n" + b"X: 1\r\n" * 10_000,
        b"--frontier\r\nX: " + b"1" * 500_000,
        b"no form",
        b"",
    ],
    ids=["field", "kind", "cut", "two files", "no file", "many headers", "long header", "no form", "nothing"],
)
def test_forms_that_are_refused(server: Instance, body: bytes) -> None:
    answer = send_form(server, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text
    assert answer.json()["hint"]
    assert files_of(server) == []


def test_an_upload_whose_client_vanishes_leaves_nothing(server: Instance) -> None:
    head = f"{AUTHORIZED}X-Ignored: 1\r\n"
    with closing(sender(server, "/api/v1/datasets", 2_000_000, head, "multipart/form-data; boundary=frontier")) as raw:
        raw.sendall(form(1_500_000).removesuffix(b"\r\n--frontier--\r\n"))
        server.wait_until(lambda: files_of(server), 10, "the file has begun to arrive")
        assert files_of(server)[0].startswith(".")
    server.wait_until(lambda: files_of(server) == [], 10, "nothing is left")


def test_an_upload_is_not_kept_in_memory(open_server: Instance) -> None:
    before, most = memory(open_server), 0

    def pieces() -> Iterator[bytes]:
        nonlocal most
        yield form(0).removesuffix(b"\r\n--frontier--\r\n")
        for number in range(HUGE // 1_000_000):
            yield b"x" * 1_000_000 + b"\n\n"
            if number % 20 == 0:
                most = max(most, memory(open_server))
        yield b"\r\n--frontier--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=frontier"}
    answer = open_server.api.post("/datasets", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["size_bytes"]) == (201, HUGE + 600)
    assert most - before < MOST_GROWTH


# Wrong keys


def client_at(server: Instance, address: str, **headers: str) -> httpx.Client:
    """A client whose connections come from this address of the loopback network."""
    return httpx.Client(base_url=server.url, transport=httpx.HTTPTransport(local_address=address), headers=headers)


def log_of(server: Instance) -> str:
    return (server.home / "logs" / "api.log").read_text()


def test_wrong_keys_are_slowed_and_the_right_one_is_not(server: Instance) -> None:
    wrong, right = {"Authorization": "Bearer wrong-wrong-wrong"}, {"Authorization": f"Bearer {KEY}"}
    with client_at(server, "127.0.0.3") as client:
        answers = [client.get("/api/v1/models", headers=wrong) for _ in range(30)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:10] == [401] * 10
        assert statuses.count(429) >= 15
        last = answers[-1]
        assert last.json()["code"] == "too_many_attempts"
        assert int(last.headers["Retry-After"]) == last.json()["retry_after_seconds"] >= 1
        assert last.json()["hint"]
        for path in ("/metrics", "/openapi.json", "/hub/api/models"):
            assert client.get(path, headers=wrong).status_code == 429
            assert client.get(path, headers=right).status_code == 200
        refused = client.get("/v1/models", headers=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_attempts")
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["Retry-After"]) >= 1
        refused = client.get("/hub/api/models", headers=wrong)
        assert refused.headers["X-Error-Message"]
        assert refused.headers["Retry-After"]
        assert client.post("/api/v1/session", json={"api_key": "guess"}).status_code == 429
        assert client.post("/api/v1/session", json={"api_key": KEY}).status_code == 204
        assert client.get("/api/v1/models").status_code == 200  # by its cookie
    for headers, status in ((wrong, 429), (right, None)):
        raw = socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.3", 0))
        address = f"ws://127.0.0.1:{server.port}/api/v1/events"
        if status is None:
            with connect(address, sock=raw, additional_headers=headers) as socket_:
                assert "snapshot" in str(socket_.recv(5))
        else:
            with pytest.raises(InvalidStatus) as refusal:
                connect(address, sock=raw, additional_headers=headers)
            assert refusal.value.response.status_code == status
    with client_at(server, "127.0.0.4") as other:
        assert other.get("/api/v1/models", headers=wrong).status_code == 401
    log = log_of(server)
    assert log.count("A wrong key came from 127.0.0.3") == 1
    assert "wrong-wrong" not in log
    assert "guess" not in log


def test_requests_without_a_key_are_no_attempts(server: Instance) -> None:
    with client_at(server, "127.0.0.5") as client:
        assert {client.get("/api/v1/models").status_code for _ in range(30)} == {401}
        assert {client.get("/api/v1/models", cookies={"modelyard_session": "old"}).status_code for _ in range(5)} == {
            401
        }


def test_forwarded_addresses_are_believed_from_listed_proxies_only(server: Instance) -> None:
    def statuses(source: str, forwarded: str, times: int) -> list[int]:
        with client_at(server, source, **{"Authorization": "Bearer nope", "X-Forwarded-For": forwarded}) as client:
            return [client.get("/api/v1/models").status_code for _ in range(times)]

    # Behind the proxy each client has its own allowance; what a client itself put to the left is not believed.
    assert 429 in statuses(PROXY, "203.0.113.7", 15)
    assert statuses(PROXY, "203.0.113.8", 1) == [401]
    assert statuses(PROXY, "203.0.113.8, 203.0.113.7, 10.1.2.3", 1) == [429]
    assert 429 in statuses(PROXY, "2001:db8::1", 15)
    assert statuses(PROXY, "2001:db8::ffff:1", 1) == [429]
    assert statuses(PROXY, "2001:db8:0:1::1", 1) == [401]
    # Somebody else's header is nothing, whatever it says.
    assert 429 in [statuses("127.0.0.1", f"198.51.100.{number}", 1)[0] for number in range(15)]
    log = log_of(server)
    assert "from 203.0.113.7" in log
    assert "from 2001:db8::/64" in log
    assert "198.51.100." not in log


def test_without_a_key_nobody_looks_at_a_bearer(open_server: Instance) -> None:
    with httpx.Client(base_url=open_server.url, headers={"Authorization": "Bearer anything"}) as client:
        for _ in range(20):
            assert client.get("/api/v1/models").status_code == 200
        assert client.get("/hub/api/models").status_code == 200
        assert client.post("/api/v1/session", json={"api_key": "anything"}).status_code == 401
