"""The Tab key: in each shell, from the server or the database, and light."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from modelyard.commands._complete import complete_model
from modelyard.core.settings import get_settings

ROWS = [("ab12cd", "lab/one"), ("ef34ab", "lab/two"), ("0012ff", "other/one-more")]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("MODELYARD_SERVER", "MODELYARD_DATABASE_URL", "COMP_WORDS", "_TYPER_COMPLETE_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELYARD_HOME", str(tmp_path))
    with closing(sqlite3.connect(tmp_path / "modelyard.db")) as made:
        made.execute("CREATE TABLE models (id TEXT, model_id TEXT)")
        made.executemany("INSERT INTO models VALUES (?, ?)", ROWS)
        made.commit()
    get_settings.cache_clear()
    yield tmp_path / "modelyard.db"
    get_settings.cache_clear()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", ["lab/one", "lab/two", "other/one-more"]),
        ("lab/t", ["lab/two"]),
        ("one", ["one", "one-more"]),
        ("ef3", ["ef34ab"]),
        ("ef", []),
        ("nowhere/", []),
    ],
)
def test_names_before_short_names_before_ids(typed: str, offered: list[str]) -> None:
    assert complete_model(typed) == offered


def test_a_database_that_cannot_be_read(database: Path) -> None:
    database.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    assert complete_model("") == []


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == "Bearer key" and self.path.startswith("/api/v1/models?")
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"items": [{"id": "aa", "model_id": "far/away"}]}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.usefixtures("database")
def test_the_server_that_is_named_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            place = f"127.0.0.1:{server.server_port}"
            monkeypatch.setenv("COMP_WORDS", f"modelyard --server {place} --api-key=key show far")
            assert complete_model("far") == ["far/away"]
            monkeypatch.setenv("COMP_WORDS", f"modelyard --server={place} show far")
            assert complete_model("far") == [], "without its key"
        finally:
            server.shutdown()
            thread.join()
    assert complete_model("far") == [], "nobody answers any more"


@pytest.mark.parametrize(
    ("shell", "variables"),
    [
        ("bash", {"COMP_WORDS": "modelyard show lab/t", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "modelyard show lab/t"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "modelyard show lab/t", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_each_shell_gets_it_without_heavy_libraries(database: Path, shell: str, variables: dict[str, str]) -> None:
    code = (
        "import sys, atexit\n"
        "heavy = {'torch', 'sqlalchemy', 'transformers', 'httpx'}\n"
        "atexit.register(lambda: print(heavy & set(sys.modules), file=sys.stderr))\n"
        "from modelyard.cli import app; app(prog_name='modelyard')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | variables
        | {"MODELYARD_HOME": str(database.parent), "_MODELYARD_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "lab/two" in done.stdout, done.stderr
    assert "lab/one" not in done.stdout
    assert done.stderr.strip() == "set()"
