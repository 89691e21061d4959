"""The built page's files as a browser gets them."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modelyard.api import pages
from modelyard.api.error_help import HELP

SCRIPT = b"console.log('a page');" * 100


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "index-1.js").write_bytes(SCRIPT)
    (assets / "index-1.js.gz").write_bytes(gzip.compress(SCRIPT))
    (assets / "font-1.woff2").write_bytes(b"font")
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    app = FastAPI()
    pages.install(app)
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "gzip, deflate, br"])
def test_a_browser_gets_the_compressed_copy(client: TestClient, accepted: str) -> None:
    answer = client.get("/assets/index-1.js", headers={"Accept-Encoding": accepted})
    assert answer.content == SCRIPT
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) < len(SCRIPT) / 5
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "gzip;q=0.0, br"])
def test_who_takes_no_gzip_gets_the_file_itself(client: TestClient, accepted: str) -> None:
    answer = client.get("/assets/index-1.js", headers={"Accept-Encoding": accepted})
    assert answer.content == SCRIPT
    assert "Content-Encoding" not in answer.headers


def test_a_file_without_a_copy_is_sent_as_it_is(client: TestClient) -> None:
    answer = client.get("/assets/font-1.woff2", headers={"Accept-Encoding": "gzip"})
    assert answer.content == b"font"
    assert "Content-Encoding" not in answer.headers
    assert client.get("/assets/nothing.js", headers={"Accept-Encoding": "gzip"}).status_code == 404


def test_the_page_of_error_codes_has_an_anchor_for_each_and_needs_nothing_else(client: TestClient) -> None:
    answer = client.get("/docs/errors")
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert set(re.findall(r'<h2 id="(\w+)">', answer.text)) == HELP.keys()
    assert "<script" not in answer.text
    # The other pages of the documentation are not on the server.
    assert ".md" not in answer.text
    assert "which these are" in answer.text
