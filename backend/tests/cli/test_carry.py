"""Bundles of the command line: written and read on its own machine, and continued after an interruption."""

import hashlib
import json
from pathlib import Path

import pytest

from modelyard.core.bundle_tar import is_bundle

from .conftest import SAMPLE, Commands, Server

NOWHERE = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def bundle(running_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a bundle of several parts; returns the first."""
    folder = tmp_path_factory.mktemp("usb")
    running_server.client.put("/settings", {"endpoint": "builtin"})
    assert running_server.modelyard("pull", SAMPLE).returncode == 0
    done = running_server.modelyard("export", SAMPLE, "--plan", "--json")
    assert done.returncode == 0, done.stderr
    size = json.loads(done.stdout)["size_bytes"]
    done = running_server.modelyard("export", SAMPLE, "-o", str(folder / "tiny.tar"), "--split", f"{size // 2 + 1}")
    assert done.returncode == 0, done.stderr
    parts = sorted(folder.iterdir())
    assert [part.name for part in parts] == ["tiny.tar.001", "tiny.tar.002"]
    assert sum(part.stat().st_size for part in parts) == size, "the exact size is known before"
    assert running_server.client.get("/bundles")["items"] == [], "nothing of it stays on the server"
    return parts[0]


def test_an_export_continues_and_never_overwrites(server: Server, bundle: Path, tmp_path: Path) -> None:
    del bundle  # for its model
    assert server.modelyard("pull", SAMPLE).returncode == 0
    whole = tmp_path / "whole.tar"
    assert server.modelyard("export", SAMPLE, "-o", str(whole)).returncode == 0
    content = whole.read_bytes()
    whole.unlink()
    begun = tmp_path / f".whole.tar.{hashlib.sha256(content).hexdigest()[:12]}.unfinished"
    begun.write_bytes(content[:100_000])
    done = server.modelyard("export", SAMPLE, "-o", str(whole))
    assert done.returncode == 0, done.stderr
    assert whole.read_bytes() == content, "the same models make the same bytes"
    assert not begun.exists()

    whole.write_bytes(b"something else")
    done = server.modelyard("export", SAMPLE, "-o", str(whole))
    assert done.returncode == 1
    assert "exists and is another file" in done.stderr
    assert whole.read_bytes() == b"something else"
    for left in server.client.get("/bundles")["items"]:
        server.client.delete(f"/bundles/{left['id']}")


@pytest.mark.parametrize("allowed", [True, False], ids=["read where it is", "sent to the server"])
def test_a_bundle_is_known_by_its_content(bundle: Path, tmp_path: Path, allowed: bool) -> None:
    variables = NOWHERE | ({} if allowed else {"MODELYARD_ALLOWED_PATHS": str(tmp_path / "other")})
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", variables=variables)
    try:
        done = server.modelyard("import", str(bundle), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["status"] == "ready"
        assert server.row(SAMPLE)["status"] == "ready"
        uploads = tmp_path / "server" / "home" / "bundles" / "uploads"
        assert list(uploads.iterdir()) == [], "what was sent is not kept twice"
    finally:
        server.stop()


def test_what_is_no_bundle_is_told(server: Server, bundle: Path, tmp_path: Path, alone: Commands) -> None:
    assert is_bundle(bundle)
    renamed = tmp_path / "renamed"
    renamed.write_bytes(b"x" * 4096)
    done = server.modelyard("import", str(renamed))
    assert (done.returncode, "needs a name" in done.stderr) == (1, True), done.stderr
    done = server.modelyard("import", str(bundle), "--name", "local/x")
    assert done.returncode == 2
    done = server.modelyard("import", "/nowhere/at/all.tar")
    assert (done.returncode, "/nowhere/at/all.tar is no file" in done.stderr) == (1, True), done.stderr
    assert alone("export", SAMPLE, "-o", str(tmp_path / "x.tar"), "--split", "many").returncode in (1, 2)
