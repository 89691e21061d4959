"""Page, API, WebSocket and Hub through a real nginx, configured in the ways people configure it."""

import os
import re
import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from websockets.sync.client import connect

from modelyard.client.api_client import ApiClient
from modelyard.hub.tls import tls_context
from support.certificates import make_certificate
from support.instance import Instance, free_port
from support.nginx import running_nginx, server_block

KEY = "correct horse battery staple"
NAME = "yard.test"
"""What the browser has in its address bar; the tests connect to 127.0.0.1 themselves."""


@dataclass(frozen=True)
class Way:
    """One configuration of nginx. `{up}` is the server's address."""

    directives: str
    location: str = "/"
    path: str = ""
    tls: bool = False


LISTED = {
    "host": Way("proxy_pass {up}; proxy_set_header Host $http_host;"),
    "forwarded-host": Way(
        "proxy_pass {up}; proxy_set_header Host $host; proxy_set_header X-Forwarded-Host $http_host;"
    ),
    "forwarded-port": Way(
        "proxy_pass {up}; proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port $server_port;"
    ),
    "prefix-removed": Way(
        "proxy_pass {up}/; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /lab/yard;",
        "/lab/yard/", "/lab/yard",
    ),
    "prefix-kept": Way(
        "proxy_pass {up}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix /lab/yard;",
        "/lab/yard", "/lab/yard",
    ),
    "tls": Way(
        "proxy_pass {up}; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;", tls=True
    ),
}  # fmt: skip
"""Of a server with a key, which lists the proxy and is told no address of its own."""

PUBLIC = {
    "nothing": Way("proxy_pass {up};", "/lab", "/lab"),
    "host": Way("proxy_pass {up}; proxy_set_header Host $http_host;", "/lab/", "/lab"),
    "removed": Way("proxy_pass {up}/; proxy_set_header Host $http_host;", "/lab/", "/lab"),
}
"""Of a server without a key, which is told its public address and lists nobody."""


@dataclass(frozen=True)
class Site:
    """A server as its clients see it through one way."""

    way: Way
    port: int
    """Where nginx listens."""
    public_port: int
    key: str | None
    certificate: Path | None = None
    """Of its own authority, with TLS."""

    @property
    def origin(self) -> str:
        return f"http{'s' if self.way.tls else ''}://{NAME}:{self.public_port}"

    @property
    def url(self) -> str:
        return self.origin + self.way.path

    @property
    def trust(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=str(self.certificate)) if self.certificate else None

    def get(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask nginx for an address that a browser would have asked for."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == self.origin, url
        at_nginx = url.replace(parts.netloc, f"127.0.0.1:{self.port}", 1)
        authorized = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with httpx.Client(verify=self.trust or False, timeout=60) as client:
            return client.request(
                method,
                at_nginx,
                headers={"Host": parts.netloc, **authorized, **headers},
                json={} if method == "PUT" else None,
            )

    def events(self, origin: str) -> str:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        authorized = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = self.url.replace("http", "ws", 1) + "/api/v1/events"
        with connect(url, sock=raw, ssl=self.trust, server_hostname="127.0.0.1" if self.certificate else None,
                     additional_headers={"Origin": origin, **authorized}) as opened:  # fmt: skip
            return str(opened.recv(10))


@pytest.fixture(scope="module")
def sites(hub_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    folder = tmp_path_factory.mktemp("proxied")
    certificate = make_certificate(folder)
    public_port = free_port()
    listed = Instance(
        folder / "listed", {"MODELYARD_API_KEY": KEY, "MODELYARD_TRUSTED_PROXIES": "127.0.0.1"},
        arguments=("--no-workers",),
    )  # fmt: skip
    public = Instance(
        folder / "public", {"MODELYARD_PUBLIC_URL": f"http://{NAME}:{public_port}/lab/"}, arguments=("--no-workers",)
    )
    sites, servers = {}, {}
    for instance, ways, key in ((listed, LISTED, KEY), (public, PUBLIC, None)):
        for name, way in ways.items():
            port = free_port()
            directives = way.directives.format(up=instance.url)
            servers[port] = server_block(
                port, directives, location=way.location, certificate=certificate if way.tls else None
            )
            seen_port = port if key else public_port
            sites[f"{'listed' if key else 'public'}-{name}"] = Site(
                way, port, seen_port, key, certificate if way.tls else None
            )
    try:
        for instance in (listed, public):
            instance.home.mkdir(parents=True, mode=0o700)
            shutil.copytree(hub_samples, instance.home / "samples", copy_function=os.link)
            instance.start()
        with running_nginx(folder / "nginx", servers):
            yield sites
    finally:
        for instance in (listed, public):
            if instance.process is not None:
                instance.stop()


@pytest.fixture(params=[*(f"listed-{name}" for name in LISTED), *(f"public-{name}" for name in PUBLIC)])
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


@pytest.mark.parametrize("place", ["/", "/models", "/training/new", "/models/a/b/c", ""])
def test_the_page_finds_its_files(site: Site, place: str) -> None:
    if not place and site.way.location.endswith("/"):
        place = "/"  # nginx itself leads there
    page = site.get(site.url + place)
    assert page.status_code == 200
    base = re.search(r'<base href="([^"]*)"', page.text)
    assert base is not None, "the page is built with a <base>"
    assert urljoin(site.url + place, base[1]) == f"{site.url}/"
    files = re.findall(r'(?:src|href)="(\./[^"]+)"', page.text)
    assert len(files) >= 3
    for file in files:
        assert site.get(urljoin(f"{site.url}/", file)).status_code == 200
    assert site.get(f"{site.url}/docs").status_code == 200
    assert site.get(f"{site.url}/openapi.json").json()["info"]["title"] == "Modelyard"


def test_its_own_pages_may_change_things_and_others_not(site: Site) -> None:
    settings = f"{site.url}/api/v1/settings"
    assert site.get(settings, "PUT", Origin=site.origin).status_code == 200
    assert site.get(settings, "PUT", Origin=site.origin.upper()).status_code == 200
    for origin in ("https://evil.example", f"http://{NAME}.evil.example", f"http://{NAME}:1", "null"):
        refused = site.get(settings, "PUT", Origin=origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden_origin")


def test_live_events_come(site: Site) -> None:
    assert '"snapshot"' in site.events(site.origin)
    with pytest.raises(Exception, match="403"):
        site.events("https://evil.example")


def test_the_hub_names_its_pages_as_the_client_knows_them(site: Site) -> None:
    first = site.get(f"{site.url}/hub/api/models?limit=1")
    assert len(first.json()) == 1
    following = re.fullmatch(r'<(.*)>; rel="next"', first.headers["link"])
    assert following is not None
    if site.way is PUBLIC["nothing"]:  # neither the name nor the proxy is known
        assert "/lab/hub/api/models?" in following[1]
        return
    assert following[1].startswith(f"{site.url}/hub/api/models?")
    second = site.get(following[1])
    assert second.json()[0]["id"] != first.json()[0]["id"]
    name = second.json()[0]["id"]
    assert site.get(f"{site.url}/hub/{name}/resolve/main/config.json").json()["model_type"]
    assert site.get(f"{site.url}/hub/api/models/{name}/revision/main").json()["id"] == name


def test_the_command_line_takes_the_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    if site.certificate is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(site.certificate))
    tls_context.cache_clear()
    try:
        client = ApiClient(f"{urlsplit(site.url).scheme}://127.0.0.1:{site.port}{site.way.path}", site.key)
    finally:
        tls_context.cache_clear()
    assert client.is_ready()["ready"] is True
    assert client.models()["items"] == []


def test_answers_are_compressed_for_clients_that_a_listed_proxy_names(sites: dict[str, Site]) -> None:
    site = sites["listed-host"]
    asked = f"{site.url}/api/v1/system"
    assert "content-encoding" not in site.get(asked).headers
    there = site.get(asked, **{"X-Forwarded-For": "198.51.100.7"})
    assert there.headers["content-encoding"] == "gzip"
    assert there.json().keys() == site.get(asked).json().keys()


def test_only_https_marks_the_cookie(sites: dict[str, Site]) -> None:
    for name in ("listed-tls", "listed-host"):
        site = sites[name]
        at_nginx = f"http{'s' if site.way.tls else ''}://127.0.0.1:{site.port}"
        with httpx.Client(verify=site.trust or False) as client:
            signed_in = client.post(f"{at_nginx}/api/v1/session", json={"api_key": KEY})
        assert signed_in.status_code == 204
        assert ("secure" in signed_in.headers["set-cookie"].lower()) is site.way.tls


def test_without_its_address_a_server_says_what_to_set(sites: dict[str, Site]) -> None:
    """The name arrives without the port, and the proxy is listed nowhere."""
    site = sites["public-nothing"]
    answer = site.get(f"{site.url}/api/v1/settings", "PUT", Origin=f"http://{NAME}:{site.public_port + 1}")
    assert answer.status_code == 403
    assert "MODELYARD_PUBLIC_URL" in answer.json()["hint"]
