"""Answers are compressed for clients of other machines, and only then."""

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from modelyard.api.compression import CompressionMiddleware

ROWS = [{"model_id": f"lab/model-{number}", "status": "ready"} for number in range(5000)]
ELSEWHERE = ("198.51.100.7", 5000)


def rows(_: object) -> Response:
    return JSONResponse(ROWS)


def events(_: object) -> Response:
    def lines() -> Iterator[str]:
        for _ in range(100):
            yield f"data: {'x' * 100}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def app() -> CompressionMiddleware:
    routes = [Route("/api/rows", rows), Route("/api/events", events), Route("/hub/rows", rows)]
    return CompressionMiddleware(Starlette(routes=routes))


@pytest.mark.parametrize(
    ("client", "accepted", "path", "compressed"),
    [
        (ELSEWHERE, "gzip, br", "/api/rows", True),
        (("2001:db8::7", 5000), "gzip", "/api/rows", True),
        (ELSEWHERE, "identity", "/api/rows", False),
        (("127.0.0.1", 5000), "gzip", "/api/rows", False),
        (("::1", 5000), "gzip", "/api/rows", False),
        (ELSEWHERE, "gzip", "/api/events", False),
        (ELSEWHERE, "gzip", "/hub/rows", False),
    ],
)
def test_who_gets_what(client: tuple[str, int], accepted: str, path: str, compressed: bool) -> None:
    answer = TestClient(app(), client=client).get(path, headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    if path.endswith("rows"):
        assert answer.json() == ROWS
        if compressed:
            assert int(answer.headers["content-length"]) < 0.1 * len(JSONResponse(ROWS).body)
    else:
        assert answer.text.count("data: ") == 100


def test_a_sub_path_is_left_out_of_account() -> None:
    client = TestClient(app(), client=ELSEWHERE, root_path="/lab")
    answer = client.get("/lab/api/rows", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
