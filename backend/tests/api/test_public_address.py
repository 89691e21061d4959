"""Names of this server in every spelling, and whom it believes about the address its clients use. No server runs."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError
from starlette._utils import get_route_path
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from modelyard.api.public_address import OwnNames, PublicAddressMiddleware
from modelyard.api.security import SecurityMiddleware
from modelyard.api.wrong_keys import WrongKeys
from modelyard.core.settings import Settings

KEY = "correct horse battery staple"
PROXY = "10.0.0.9"


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    seen = {
        "host": headers[b"host"].decode(),
        "scheme": scope["scheme"],
        "prefix": scope.get("root_path", ""),
        "path": get_route_path(scope),
        "raw_path": scope["raw_path"].decode(),
    }
    await JSONResponse(seen)(scope, receive, send)


def ask(
    path: str = "/api/v1/models",
    *,
    host: str = "localhost",
    method: str = "GET",
    peer: str = PROXY,
    key: str | None = None,
    **settings: Any,
) -> Any:
    """The answer to a request that came from `peer`; headers are what `settings` does not take."""
    headers = {name: settings.pop(name) for name in list(settings) if name[0].isupper()}
    configured = Settings(api_key=key, **settings)
    names = OwnNames(configured)
    guarded = SecurityMiddleware(_echo, configured, names, WrongKeys())
    app = PublicAddressMiddleware(guarded, configured, names)
    sent: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    authorized = {"Authorization": f"Bearer {key}"} if key else {}
    client = TestClient(app, base_url="http://localhost", client=(peer, 1))
    return client.request(method, path, headers={"Host": host, **authorized, **sent})


def origin_allowed(origin: str, host: str, **settings: Any) -> bool:
    answer = ask(method="PUT", host=host, Origin=origin, **settings)
    assert answer.status_code in (200, 403)
    return bool(answer.status_code == 200)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", "localhost:8000"),
        ("http://localhost", "localhost:80"),
        ("http://localhost:80", "localhost"),
        ("https://localhost", "localhost:443"),
        ("https://localhost:443", "localhost"),
        ("http://localhost:8000", "LocalHost:8000"),
        ("HTTP://LOCALHOST:8000", "localhost:8000"),
        ("http://localhost.:8000", "localhost:8000"),
        ("http://[::1]:8000", "[0:0:0:0:0:0:0:1]:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
    ],
)
def test_one_address_in_two_spellings(origin: str, host: str) -> None:
    assert origin_allowed(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8001", "localhost:8000"),
        ("http://localhost:8000", "localhost"),
        ("http://localhost:443", "localhost"),
        ("https://localhost:80", "localhost"),
        ("http://127.0.0.1", "localhost"),
        ("http://localhost.evil.example", "localhost"),
        ("http://localhost@evil.example", "localhost"),
        ("http://evil.example/localhost", "localhost"),
        ("http://evil.example\\@localhost", "localhost"),
        ("null", "localhost"),
        ("", "localhost"),
        ("localhost", "localhost"),
        ("file://localhost", "localhost"),
        ("http://[::1", "localhost"),
    ],
)
def test_other_addresses(origin: str, host: str) -> None:
    assert not origin_allowed(origin, host)
    assert not origin_allowed(origin, host, public_url="https://yard.example.org")
    assert not origin_allowed(origin, host, key=KEY)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost/evil", "a@localhost", "[::1", ""]
)
def test_names_that_are_not_ours(host: str) -> None:
    assert ask(host=host).status_code == 403


def test_refusals_say_what_helps() -> None:
    foreign = ask(host="yard.example.org").json()
    assert "MODELYARD_PUBLIC_URL" in foreign["hint"]
    assert ask(host="yard.example.org", public_url="http://yard.example.org").status_code == 200
    assert ask(host="yard.example.org", key=KEY).status_code == 200
    # A proxy that passes on the name without the port.
    lost = ask(method="PUT", host="localhost", Origin="http://localhost:8080").json()
    assert "'http://localhost:8080'" in lost["detail"]
    assert "'localhost'" in lost["detail"]
    assert "MODELYARD_PUBLIC_URL" in lost["hint"]
    assert "MODELYARD_API_KEY" not in lost["hint"]
    assert origin_allowed("http://localhost:8080", "localhost", public_url="http://localhost:8080/")


FORWARDED = {"X_Forwarded_Host": "Yard.example.org", "X_Forwarded_Port": "8443", "X_Forwarded_Prefix": "/lab/yard/"}


def test_headers_of_listed_proxies_count() -> None:
    seen = ask(key=KEY, trusted_proxies=PROXY, **FORWARDED).json()
    assert (seen["host"], seen["prefix"], seen["path"]) == ("Yard.example.org:8443", "/lab/yard", "/api/v1/models")
    assert seen["raw_path"] == "/lab/yard/api/v1/models"
    # Whether or not the proxy took the path away.
    kept = ask("/lab/yard/api/v1/models", key=KEY, trusted_proxies=PROXY, **FORWARDED).json()
    assert kept == seen
    last = ask(key=KEY, trusted_proxies=PROXY, X_Forwarded_Host="evil.example, yard.example.org:8080").json()
    assert last["host"] == "yard.example.org:8080"
    assert origin_allowed(
        "https://yard.example.org", "127.0.0.1:8000", key=KEY, trusted_proxies=PROXY,
        X_Forwarded_Host="yard.example.org",
    )  # fmt: skip


def test_headers_of_others_do_not() -> None:
    for peer in ("127.0.0.1", "192.0.2.1", "::1"):
        seen = ask(peer=peer, key=KEY, trusted_proxies=PROXY, **FORWARDED).json()
        assert (seen["host"], seen["prefix"]) == ("localhost", "")
    for odd in ("/../x", "/a b", "a", "//evil.example", "/a//b", "/%2e", "/.."):
        assert ask(key=KEY, trusted_proxies=PROXY, X_Forwarded_Prefix=odd).json()["prefix"] == ""
    for odd in ("a b", "evil.example/x", "x@y", "[::1"):
        assert ask(key=KEY, trusted_proxies=PROXY, X_Forwarded_Host=odd).json()["host"] == "localhost"


def test_a_proxy_that_passes_on_what_a_page_sent_opens_nothing() -> None:
    """DNS rebinding through a proxy: the page of evil.example sets the header itself."""
    answer = ask(host="evil.example", trusted_proxies=PROXY, X_Forwarded_Host="localhost")
    assert answer.status_code == 403
    assert "evil.example" in answer.json()["detail"]
    assert ask(host="localhost", trusted_proxies=PROXY, X_Forwarded_Host="evil.example").status_code == 403
    assert ask(host="localhost", trusted_proxies=PROXY, X_Forwarded_Host="127.0.0.1:8080").status_code == 200


def test_no_prefix_gets_past_the_key() -> None:
    for prefix in ("/api", "/api/v1", "/x"):
        for path in ("/api/v1/models", "/api/v1/api/v1/models", "/x/api/v1/models", "/x/x/api/v1/models"):
            answer = ask(path, trusted_proxies=PROXY, key=KEY, X_Forwarded_Prefix=prefix, Authorization="")
            if answer.status_code == 200:
                assert not answer.json()["path"].startswith("/api/")
            else:
                assert answer.status_code == 401


PUBLIC = "https://yard.example.org/lab"


@pytest.mark.parametrize(
    ("host", "peer", "path", "expected"),
    [
        # The proxy passes on the name, or is listed: the client's address is known.
        ("yard.example.org", "127.0.0.1", "/api/x", ("yard.example.org", "https", "/lab", "/api/x")),
        ("YARD.example.org:443", "127.0.0.1", "/lab/api/x", ("yard.example.org", "https", "/lab", "/api/x")),
        ("127.0.0.1:8000", PROXY, "/api/x", ("yard.example.org", "https", "/lab", "/api/x")),
        ("127.0.0.1:8000", PROXY, "/lab/api/x", ("yard.example.org", "https", "/lab", "/api/x")),
        # Neither: only the path can tell.
        ("127.0.0.1:8000", "127.0.0.1", "/lab/api/x", ("127.0.0.1:8000", "http", "/lab", "/api/x")),
        ("127.0.0.1:8000", "127.0.0.1", "/lab", ("127.0.0.1:8000", "http", "/lab", "/")),
        ("127.0.0.1:8000", "127.0.0.1", "/api/x", ("127.0.0.1:8000", "http", "", "/api/x")),
        ("127.0.0.1:8000", "127.0.0.1", "/laboratory", ("127.0.0.1:8000", "http", "", "/laboratory")),
    ],
)
def test_the_public_address(host: str, peer: str, path: str, expected: tuple[str, ...]) -> None:
    seen = ask(path, host=host, peer=peer, public_url=PUBLIC, trusted_proxies=PROXY, X_Forwarded_Host="evil.example")
    assert tuple(seen.json()[name] for name in ("host", "scheme", "prefix", "path")) == expected


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "yard.example.org"])
def test_the_public_pages_may_change_things(host: str) -> None:
    assert origin_allowed("https://yard.example.org", host, public_url=PUBLIC)
    assert not origin_allowed("https://evil.example", host, public_url=PUBLIC)


@pytest.mark.parametrize(
    "url",
    ["yard.example.org", "ftp://yard.example.org", "https://", "https://a/b?c", "https://a/b#c", "https://u:p@a/",
     "https://a/../b", "https://a//b", "https://a/hub", "https://a/api/v1", "https://a/b c", "https://a:x",
     "https://a b"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValidationError):
        Settings(public_url=url)


@pytest.mark.parametrize("url", [" https://a/\n", "http://a:8080/lab/yard/", "https://[::1]:8/x", "https://a/hubs"])
def test_addresses(url: str) -> None:
    assert Settings(public_url=url).public_url == url.strip().rstrip("/")
