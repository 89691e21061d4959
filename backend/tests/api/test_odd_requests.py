"""No route answers 500 to text that no database stores, or to numbers that JSON does not have."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.core import repeated_lines
from support.databases import new_postgres_database
from support.instance import Instance

METHODS = ("get", "post", "put", "patch", "delete")
ESCAPES = ("a%00b", "%00", "%ED%A0%80", "%FF%FE", "a%0Ab", "%F0%9F%98%80")
LONG = ("9" * 19, "9" * 300, "9" * 5000, "-1", "NaN", "Infinity", "1e999")
REFUSED = {
    "NUL": r'"a\u0000b"',
    "surrogate": r'"a\ud800b"',
    "surrogate in a list": r'[["\udfff"]]',
    "surrogate as a key": r'{"\ud800": 1}',
    "NUL as a key": r'{"a\u0000": 1}',
    "NaN": "NaN",
    "infinite": "Infinity",
    "infinite number": "-1e999",
    "infinite in a list": "[1e999]",
    "huge integer": "9" * 5000,
    "huge integer in a list": "[" + "9" * 500 + "]",
    "nested": "[" * 100_000,
    "nested and closed": "[" * 5_000 + "]" * 5_000,
    "raw NUL": '"a\0b"',
}
ODD = REFUSED | {
    "large integer": "9" * 300,
    "more than 64 bits": str(2**64),
    "beyond the first plane": r'"\ud83d\ude00"',
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    environment = {}
    with ExitStack() as databases:
        if request.param == "postgres":
            postgres = request.getfixturevalue("postgres_url")
            environment["MODELYARD_DATABASE_URL"] = databases.enter_context(new_postgres_database(postgres))
        instance = Instance(tmp_path_factory.mktemp("odd") / "server", environment)
        instance.start()
        instance.use_builtin_hub()  # which answers at once, where one that is away is asked three times
        yield instance
        instance.stop()


@pytest.fixture(scope="module")
def client(server: Instance) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def _operations(client: httpx.Client) -> list[tuple[str, str, dict[str, Any]]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [
        (method, path, operation)
        for path, item in paths.items()
        for method, operation in item.items()
        if method in METHODS
    ]


def _parameters(operation: dict[str, Any], place: str) -> list[str]:
    return [parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == place]


def _filled(path: str, operation: dict[str, Any], values: dict[str, str]) -> str:
    for name in _parameters(operation, "path"):
        path = path.replace(f"{{{name}}}", values.get(name, "0" * 32))
    return path


def _check(answer: httpx.Response, what: str, *, refused: bool) -> None:
    assert answer.status_code < 500 or answer.status_code == 503, f"{what}: {answer.status_code} {answer.text}"
    answer.content.decode()
    if refused:
        assert answer.status_code in (400, 401, 404, 413, 422), f"{what}: {answer.status_code} {answer.text}"


def test_addresses(client: httpx.Client) -> None:
    asked = 0
    for method, path, operation in _operations(client):
        required = {p["name"]: "x/y" for p in operation.get("parameters", []) if p["in"] == "query" and p["required"]}
        for value in (*ESCAPES, *LONG):
            for name in _parameters(operation, "path"):
                address = _filled(path, operation, {name: value})
                _check(client.request(method, address), f"{method} {address}", refused="%00" in value)
                asked += 1
            for name in _parameters(operation, "query"):
                query = "&".join(f"{key}={text}" for key, text in (required | {name: value}).items())
                address = f"{_filled(path, operation, {})}?{query}"
                if "older_than_seconds" not in query:
                    _check(client.request(method, address), f"{method} {address}", refused="%00" in value)
                asked += 1
    assert asked > 300


@pytest.mark.parametrize("odd", ODD)
def test_bodies(client: httpx.Client, odd: str) -> None:
    headers = {"Content-Type": "application/json"}
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    asked = 0
    for method, path, operation in _operations(client):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        address = _filled(path, operation, {})
        bodies = [ODD[odd]]
        schema = content["schema"]
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        for name in schema.get("properties", {}):
            others = {key: "x/y" for key in schema.get("required", ()) if key != name}
            bodies.append(json.dumps(others | {name: "HERE"}).replace('"HERE"', ODD[odd]))
        for body in bodies:
            answer = client.request(method, address, content=body.encode(), headers=headers)
            _check(answer, f"{method} {address} {body[:200]}", refused=odd in REFUSED)
            asked += 1
    assert asked > 40
    assert client.get("/api/v1/settings").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/hub/api/models/{}",
        "/hub/api/models/a/{}",
        "/hub/api/models/a/b/revision/{}",
        "/hub/api/models/a/b/tree/main/{}",
        "/hub/api/models/a/b/refs{}",
        "/hub/a/b/resolve/main/{}",
        "/hub/api/models?search={}",
        "/hub/api/models?author={}",
        "/hub/api/models?filter={}",
        "/hub/api/models?pipeline_tag={}",
        "/hub/api/models?limit={}",
        "/hub/api/models?cursor={}",
        "/hub/api/models?expand={}",
        "/hub/api/models?sort={}",
        "/{}",
        "/{}.svg",
        "/assets/{}",
    ],
)
def test_the_hub_endpoint_and_the_page(client: httpx.Client, path: str) -> None:
    for value in (*ESCAPES, *LONG):
        answer = client.get(path.format(value))
        _check(answer, path.format(value), refused="%00" in value)


def test_the_hub_endpoint_reads_odd_bodies(client: httpx.Client) -> None:
    address = "/hub/api/models/modelyard-samples/tiny-gpt2/paths-info/main"
    for name, odd in ODD.items():
        for body in (odd, f'{{"paths": [{odd}]}}', f'{{"paths": ["config.json"], "expand": {odd}}}'):
            answer = client.post(address, content=body.encode(), headers={"Content-Type": "application/json"})
            _check(answer, f"{name}: {body[:100]}", refused=False)


def test_requests_that_cannot_be_read_fill_no_log(server: Instance) -> None:
    begun = time.monotonic()
    for number in range(300):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            raw.sendall(b"\x16\x03\x01\x00%d no HTTP\r\n\r\n" % number)
            while raw.recv(65_536):
                pass
    minutes = (time.monotonic() - begun) // repeated_lines.SECONDS + 2
    log = (server.home / "logs" / "api.log").read_text(errors="replace")
    assert 1 <= log.count("Invalid HTTP request") <= (repeated_lines.BURST + 1) * minutes


def test_an_upload_with_an_odd_name(client: httpx.Client, server: Instance, tmp_path: Path) -> None:
    for name in (b"a\0b.jsonl", b"\xed\xa0\x80.jsonl", b"\xff.txt", b"a\nb.txt", b"x" * 5000 + b".txt", b"..\\a.txt"):
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n'
        answer = client.post(
            "/api/v1/datasets",
            content=head + b'{"text": "hello"}\n\r\n--x--\r\n',
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )
        _check(answer, repr(name), refused=False)
    assert client.get("/api/v1/datasets").status_code == 200
    log = (server.home / "logs" / "api.log").read_text(errors="replace")
    assert "Traceback" not in log
