"""Proxy and certificate variables that are wrong: each is named in the error, and Hubs that need none still answer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from modelyard.core.errors import HubUnreachable
from modelyard.hub.client import HubClient
from modelyard.hub.download.transport import Transport
from modelyard.hub.network_check import network_problems
from modelyard.hub.proxies import Proxy, proxy_for
from modelyard.hub.tls import tls_context
from modelyard.services.system_service import hub_answer
from support.certificates import make_certificate

from .fault_hub import FaultHub
from .test_client import COMMIT, GOOD, NAME, Answer, as_json, scripted_hub

FAR = "http://hub.example.org"
UNUSABLE = [
    "socks5h://127.0.0.1:1080",
    "socks4://ada:secret@127.0.0.1",
    "http://127.0.0.1:port",
    "http://127.0.0.1:99999",
    "http://",
    "http://[::1",
    "http://ada:secret@",
    "ftp://127.0.0.1",
    "http://two words:3128",
    '"http://127.0.0.1:3128"',
    "http://pröxy:3128",
]


@pytest.fixture(autouse=True)
def fresh_trust(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whom to trust is read once; these tests change it."""

    def forget() -> None:
        tls_context.cache_clear()
        close_session()

    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    forget()
    yield
    forget()


def transport(endpoint: str) -> Transport:
    return Transport(
        endpoint=endpoint, repo_id=NAME, commit=COMMIT, token=False, connect_timeout_seconds=2, stall_seconds=2
    )


def failures(endpoint: str) -> list[str]:
    """What metadata, the state of the Hub and a download say of it."""
    client = HubClient(endpoint, False)
    with pytest.raises(HubUnreachable) as metadata:
        client.model_info(NAME)
    told = hub_answer(client)
    assert told.reachable is False
    with pytest.raises(HubUnreachable) as content:
        transport(endpoint).open(f"{endpoint}/x", start=0, stop=9, size_bytes=9)
    return [metadata.value.message, str(told.reason), content.value.message]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("value", UNUSABLE)
def test_an_unusable_proxy_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    problem = network_problems()[0]
    for said in (problem.message, *failures(FAR)):
        assert said.startswith(f"{variable} is ")
        assert "secret" not in said
    assert variable in str(problem.hint)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy.example.org:3128", "http://proxy.example.org:3128"),
        (" http://proxy.example.org:3128/\n", "http://proxy.example.org:3128"),
        ("https://Proxy.example.org", "https://proxy.example.org"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("http://ada:p@ss/w:rd@proxy:3128", None),
        ("http://ada:p@ss%2Fw:rd@proxy:3128", "http://ada:p%40ss%2Fw%3Ard@proxy:3128"),
    ],
)
def test_spellings_of_a_proxy(monkeypatch: pytest.MonkeyPatch, value: str, url: str | None) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    if url is None:
        with pytest.raises(HubUnreachable, match="HTTPS_PROXY"):
            proxy_for("https://hub.example.org/x")
    else:
        assert proxy_for("https://hub.example.org/x") == Proxy(url, "HTTPS_PROXY")
        assert network_problems() == []


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize("value", ["hub.example.org", ".example.org, other", "*", " * ", "10.0.0.0/8", "fd00::/8,x"])
def test_exceptions_from_the_proxy_survive_our_own(value: str, variable: str) -> None:
    """They are merged with this machine's names by every process that is started."""
    program = (
        "from modelyard.core.process import prepare_process; prepare_process(); prepare_process()\n"
        "from modelyard.hub.proxies import proxy_for\n"
        "print([proxy_for(url) is None for url in ('http://hub.example.org', 'http://10.1.2.3:80', 'http://[fd00::1]',"
        " 'http://127.0.0.1:9', 'http://localhost', 'http://elsewhere.org')])"
    )
    environment = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", variable: value}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    everything = value.strip() == "*"
    expected = [
        everything or "example.org" in value,
        everything or value.startswith("10."),
        everything or value.startswith("fd"),
        True,
        True,
        everything,
    ]
    assert said.stdout.strip() == str(expected)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=f"no connection through the proxy that {variable} names"):
        HubClient(FAR, False).model_info(NAME)
    with pytest.raises(Exception, match=f"no connection through the proxy that {variable} names"):
        transport(FAR).open(f"{FAR}/x", start=0, stop=9, size_bytes=9)
    monkeypatch.delenv(variable)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match="the proxy that https_proxy names"):
        HubClient("https://hub.example.org", False).model_info(NAME)


def test_a_proxy_that_wants_a_password_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_hub(lambda _path: Answer(407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        for said in (
            lambda: HubClient(FAR, False).model_info(NAME),
            lambda: transport(FAR).open(f"{FAR}/x", start=0, stop=9, size_bytes=9),
        ):
            with pytest.raises(Exception, match="the proxy that HTTP_PROXY names answers 407"):
                said()


@pytest.fixture(params=["missing", "empty", "garbage", "folder"])
def not_certificates(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "authorities"
    if request.param == "folder":
        path.mkdir()
    elif request.param != "missing":
        path.write_text("" if request.param == "empty" else "no certificate")
    return path


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, not_certificates: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(not_certificates))
    problem = network_problems()[0]
    for said in (problem.message, *failures("https://127.0.0.1:9")):
        assert said.startswith("SSL_CERT_FILE is ")
    # A Hub over plain HTTP, such as the built-in one, needs none.
    with scripted_hub(lambda _path: as_json(GOOD)) as hub:
        assert HubClient(hub.endpoint, False).model_info(NAME).commit == COMMIT
    with FaultHub() as hub:
        hub.add("model.bin", b"content")
        location = f"{hub.endpoint}/org/model/resolve/{COMMIT}/model.bin"
        with transport(hub.endpoint).open(location, start=0, stop=7, size_bytes=7) as body:
            assert body.read(100) == b"content"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_other_variables_of_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "missing"))
    for said in failures("https://127.0.0.1:9"):
        assert said.startswith(f"{variable} is ")
    monkeypatch.setenv(variable, "")
    assert network_problems() == []


@pytest.mark.parametrize("variable", [None, "SSL_CERT_FILE"])
def test_an_unknown_authority_has_a_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    (tmp_path / "other").mkdir()
    if variable:
        monkeypatch.setenv(variable, str(make_certificate(tmp_path / "other")))
    with FaultHub(make_certificate(tmp_path)) as hub:
        for ask in (
            lambda: HubClient(hub.endpoint, False).model_info(NAME),
            lambda: transport(hub.endpoint).open(f"{hub.endpoint}/x", start=0, stop=9, size_bytes=9),
        ):
            with pytest.raises(HubUnreachable, match="certificate") as refusal:
                ask()
            assert "SSL_CERT_FILE" in str(refusal.value.hint)


@pytest.mark.parametrize("endpoint", ["hub.example.org", "ftp://hub.example.org", "https:", "hub example"])
def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    [problem] = network_problems()
    with pytest.raises(HubUnreachable) as refusal:
        HubClient(endpoint, False).model_info(NAME)
    for error in (problem, refusal.value):
        assert error.message.startswith("HF_ENDPOINT is ")
        assert "HF_ENDPOINT" in str(error.hint)
    # Another one, of the settings, is not from there.
    with pytest.raises(HubUnreachable, match=r"^other is not an address"):
        HubClient("other", False).model_info(NAME)
