"""Who may use a server: this machine's pages and whoever has the key, nobody else."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from support.instance import Instance

KEY = "correct horse battery staple"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A server with a key and no workers."""
    instance = Instance(
        tmp_path_factory.mktemp("locked"), {"MODELYARD_API_KEY": KEY}, arguments=("--no-workers", "--host", "0.0.0.0")
    )
    yield instance.start()
    instance.stop()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""])
def test_a_foreign_name_is_refused(instance: Instance, host: str) -> None:
    answer = instance.api.get("/models", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert httpx.get(f"{instance.url}/hub/api/models", headers={"Host": host}).status_code in (400, 403)


def test_loopback_names_are_fine(instance: Instance) -> None:
    for host in ("localhost", f"127.0.0.1:{instance.port}", "[::1]:9"):
        assert instance.api.get("/models", headers={"Host": host}).status_code == 200


def test_a_foreign_page_may_not_change_anything(instance: Instance) -> None:
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{instance.port + 1}"):
        answer = instance.api.put("/settings", json={"connections": 3}, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden_origin")
        with pytest.raises(InvalidStatus):
            connect(f"ws://127.0.0.1:{instance.port}/api/v1/events", additional_headers={"Origin": origin})
    own = {"Origin": f"http://127.0.0.1:{instance.port}"}
    assert instance.api.put("/settings", json={}, headers=own).status_code == 200
    with connect(f"ws://127.0.0.1:{instance.port}/api/v1/events", additional_headers=own) as socket:
        assert "snapshot" in socket.recv(5)


def test_no_cross_origin_headers_are_sent(instance: Instance) -> None:
    answer = instance.api.get("/models", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_the_key_opens_everything_and_nothing_else_does(locked: Instance) -> None:
    for path in ("/api/v1/models", "/api/v1/system", "/v1/models", "/openapi.json", "/metrics", "/hub/api/models"):
        assert httpx.get(locked.url + path).status_code == 401
        assert httpx.get(locked.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(locked.url + path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    for path in ("/healthz", "/readyz", "/"):
        assert httpx.get(locked.url + path).status_code == 200
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{locked.port}/api/v1/events")
    with connect(
        f"ws://127.0.0.1:{locked.port}/api/v1/events", additional_headers={"Authorization": f"Bearer {KEY}"}
    ) as socket:
        assert '"snapshot"' in socket.recv(5)


def test_programs_for_openai_are_refused_in_their_form(locked: Instance, instance: Instance) -> None:
    address, wrong = f"{locked.url}/v1/chat/completions", {"Authorization": "Bearer no"}
    for answer, status, kind, code in (
        (httpx.post(address, json={}), 401, "authentication_error", "unauthorized"),
        (
            httpx.post(address, json={}, headers=wrong),
            401,
            "authentication_error",
            "unauthorized",
        ),
        (httpx.get(f"{instance.url}/v1/models", headers={"Host": "evil.example"}), 403, "permission_error", None),
        (httpx.post(address, headers={"Origin": "https://evil.example"}), 403, "permission_error", "forbidden_origin"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (status, kind, code or "forbidden_origin")
        assert error["message"].count(".") > 1  # what happened, and what to do next
        assert ("WWW-Authenticate" in answer.headers) is (status == 401)


def test_a_browser_signs_in_once(locked: Instance) -> None:
    with httpx.Client(base_url=locked.url) as browser:
        refused = browser.post("/api/v1/session", json={"api_key": "guess"})
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        signed_in = browser.post("/api/v1/session", json={"api_key": KEY})
        assert signed_in.status_code == 204
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert KEY not in cookie
        assert browser.get("/api/v1/models").status_code == 200


def test_a_browser_signs_out(locked: Instance) -> None:
    with httpx.Client(base_url=locked.url) as browser:
        browser.post("/api/v1/session", json={"api_key": KEY})
        assert browser.get("/api/v1/system").json()["needs_key"] is True
        assert browser.delete("/api/v1/session").status_code == 204
        assert not browser.cookies
        assert browser.get("/api/v1/system").status_code == 401
        # Who is not signed in is not either afterwards.
        assert browser.delete("/api/v1/session").status_code == 204


def test_the_builtin_hub_works_behind_the_key(locked: Instance) -> None:
    assert locked.api.put("/settings", json={"endpoint": "builtin"}).status_code == 200
    assert locked.api.get("/models/search", params={"q": "tiny"}).json()["items"]
    assert locked.api.get("/system").json()["hub"]["reachable"] is True
    locked.api.put("/settings", json={"endpoint": None})
