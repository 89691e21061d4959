"""What a user may change while the server runs, and where the Hub token goes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from pydantic import SecretStr

from modelyard.core.database import Database
from modelyard.core.errors import InvalidRequest
from modelyard.core.settings import Settings
from modelyard.models import Setting
from modelyard.schemas.system import HubTestRequest, SettingsUpdate
from modelyard.services import settings_service
from modelyard.services.settings_service import BUILTIN, SettingsService


@pytest.fixture
def service(database: Database) -> Iterator[SettingsService]:
    with database.session() as session:
        yield SettingsService(session)


def update(service: SettingsService, **fields: Any) -> None:
    service.update(SettingsUpdate(**fields))


def test_defaults(service: SettingsService) -> None:
    transfers = service.transfers()
    assert (transfers.parallel_downloads, transfers.connections) == (3, 8)
    assert transfers.bandwidth_limit_bytes_per_second is None
    assert service.defaults().quantization is None
    assert (service.endpoint_url(), service.endpoint_source()) == ("https://huggingface.co", "default")


def test_only_what_was_sent_changes_and_null_takes_it_back(service: SettingsService) -> None:
    untouched = service.transfers()
    update(service, parallel_downloads=5, connections=2, bandwidth_limit_bytes_per_second=10**9)
    update(service, connections=4, defaults={"quantization": "4bit"})
    transfers = service.transfers()
    assert (transfers.parallel_downloads, transfers.connections) == (5, 4)
    assert transfers.bandwidth_limit_bytes_per_second == 10**9
    assert service.defaults().quantization == "4bit"
    update(service, parallel_downloads=None, connections=None, bandwidth_limit_bytes_per_second=None, defaults=None)
    update(service, connections=None)
    assert service.transfers() == untouched
    assert service.defaults().quantization is None


def test_other_sessions_see_a_change_after_the_commit(database: Database) -> None:
    with database.session() as session:
        service = SettingsService(session)
        update(service, connections=2)
    with database.reading() as session:
        assert SettingsService(session).transfers().connections == 2
    with database.session() as session:
        service = SettingsService(session)
        assert service.transfers().connections == 2
        update(service, connections=9)
        assert service.transfers().connections == 9
        update(service, connections=None)
        assert service.transfers().connections == 8


def test_two_processes_may_write_a_setting_for_the_first_time_at_once(database: Database) -> None:
    errors: list[Exception] = []
    start = threading.Barrier(6)

    def write(number: int) -> None:
        start.wait()
        try:
            with database.session() as session:
                SettingsService(session).remember_server_url(f"http://127.0.0.1:{8000 + number}")
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.reading() as session:
        assert SettingsService(session).server_url().startswith("http://127.0.0.1:800")


# The endpoint


@pytest.fixture
def token_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hf" / "token"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(path))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(path.with_name("stored_tokens")))
    return path


def test_endpoint_of_the_settings(service: SettingsService) -> None:
    update(service, endpoint=" https://hub.example.org/mirror/ ")
    assert service.endpoint_reference() == service.endpoint_url() == "https://hub.example.org/mirror"
    assert service.endpoint_source() == "settings"
    assert service.hub_client().endpoint == "https://hub.example.org/mirror"
    update(service, endpoint=None)
    assert service.endpoint_source() == "default"


def test_endpoint_of_the_environment(service: SettingsService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror")
    assert (service.endpoint_url(), service.endpoint_source()) == ("http://mirror", "environment")
    update(service, endpoint="http://chosen")
    assert (service.endpoint_url(), service.endpoint_source()) == ("http://chosen", "settings")


def test_the_built_in_hub_follows_the_server(service: SettingsService) -> None:
    update(service, endpoint=BUILTIN)
    assert (service.endpoint_reference(), service.endpoint_source()) == (BUILTIN, "builtin")
    service.remember_server_url("http://127.0.0.1:8123")
    assert service.endpoint_url() == "http://127.0.0.1:8123/hub"
    service.remember_server_url("http://127.0.0.1:9000")
    assert service.endpoint_url() == "http://127.0.0.1:9000/hub"
    assert service.endpoint_url("https://elsewhere") == "https://elsewhere"


def test_a_process_uses_the_server_it_belongs_to(service: SettingsService, monkeypatch: pytest.MonkeyPatch) -> None:
    service.remember_server_url("http://127.0.0.1:9000")
    for given, address in (("10.0.0.1:8000/", "http://10.0.0.1:8000"), ("https://yard", "https://yard")):
        monkeypatch.setattr(settings_service, "get_settings", lambda given=given: Settings(server=given))
        assert service.endpoint_url(BUILTIN) == f"{address}/hub"
    monkeypatch.setattr(settings_service, "get_settings", lambda: Settings(server=""))
    assert service.endpoint_url(BUILTIN) == "http://127.0.0.1:9000/hub"


def test_the_hub_token_is_not_for_the_built_in_hub(service: SettingsService, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.hub_client(BUILTIN).token is False
    monkeypatch.setattr(settings_service, "get_settings", lambda: Settings(api_key=SecretStr("server-key")))
    assert service.hub_client(BUILTIN).token == "server-key"
    assert service.hub_client("https://huggingface.co").token is False
    service.store_token(None)
    update(service, endpoint=BUILTIN)
    with pytest.raises(InvalidRequest, match="takes no token"):
        service.store_token("hf_abc")


def test_a_token_that_is_tried(service: SettingsService, token_path: Path) -> None:
    def tried(**fields: Any) -> tuple[str, Any]:
        client = service.client_to_try(HubTestRequest(**fields))
        return client.endpoint, client.token

    service.store_token("hf_home")
    assert tried() == tried(endpoint=None) == ("https://huggingface.co", "hf_home")
    assert tried(token=" hf_new ") == ("https://huggingface.co", "hf_new")
    assert tried(endpoint="http://typed") == ("http://typed", False)
    assert tried(endpoint="http://typed", token="hf_new") == ("http://typed", "hf_new")
    update(service, endpoint="http://chosen")
    assert tried() == tried(endpoint="http://chosen/") == ("http://chosen", False)
    assert tried(endpoint=None) == ("https://huggingface.co", "hf_home")
    assert tried(endpoint=BUILTIN, token="hf_new") == (service.endpoint_url(BUILTIN), False)
    for refused in ({"endpoint": "typed"}, {"token": "hf new"}):
        with pytest.raises(InvalidRequest):
            service.client_to_try(HubTestRequest(**refused))


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "huggingface.co",
        "ftp://hub",
        "file:///etc",
        "https://",
        "https:///path",
        "http://[",
        "http://[::1",
        "http://host:99999",
        "http://host:port",
        "http://host:0",
        "http://user@host",
        "http://user:secret@host",
        "http://:secret@host",
        "http://host?x=1",
        "http://host#x",
        "http://ho st",
        "http://host\n.evil",
        "javascript:alert(1)",
        "http://huggingface.co\\.evil",
        "http://huggingface.co%2eevil",
        "http://[fe80::1%25eth0]",
        "builtin2",
    ],
)
def test_what_is_no_address(service: SettingsService, endpoint: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        update(service, endpoint=endpoint)
    assert "secret" not in caught.value.message
    assert service.endpoint_source() == "default"


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8000/hub", "http://[::1]:8000", "https://hf-mirror.com", "HTTP://h"]
)
def test_addresses(service: SettingsService, endpoint: str) -> None:
    update(service, endpoint=endpoint)
    assert service.endpoint_url() == endpoint


# The token


def test_no_token_reaches_the_database(database: Database, token_path: Path) -> None:
    with database.session() as session:
        SettingsService(session).update(SettingsUpdate(token="hf_secret", connections=2))
    with database.reading() as session:
        assert [row.key for row in session.query(Setting)] == ["connections"]


def test_bandwidth_that_several_processes_reserve_adds_up_to_the_limit(database_url: str) -> None:
    rate, chunk, seconds = 1_000_000.0, 100_000, 1.5
    reserved: list[int] = []

    def download() -> None:
        own = Database(database_url)  # as a process of its own
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with own.session() as session:
                wait = SettingsService(session).reserve_bandwidth(chunk, rate)
            time.sleep(wait)
            reserved.append(chunk)
        own.dispose()

    threads = [threading.Thread(target=download) for _ in range(3)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ended = time.monotonic() - began
    assert sum(reserved) <= rate * (ended + 0.3) + 3 * chunk
    assert sum(reserved) >= rate * seconds * 0.5
