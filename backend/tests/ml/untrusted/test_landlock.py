"""What a tokenizer's process can reach once it reads a stranger's files, whatever these make it do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.ml.untrusted import landlock

TRY = """
import sys
from pathlib import Path
from modelyard.ml.untrusted import child, landlock
allowed, *tried = map(Path, sys.argv[2:])
assert landlock.restrict([*child._libraries(), *child._files(allowed), allowed])
for path in tried:
    try:
        print("read", len(path.read_bytes()) > 0)
    except OSError as error:
        print(type(error).__name__)
try:
    (allowed / "new").write_text("x")
    print("written")
except OSError as error:
    print(type(error).__name__)
import socket
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
    print("connected")
except OSError as error:
    print(type(error).__name__)
import xml.dom.minidom
"""

pytestmark = pytest.mark.skipif(not landlock.version(), reason="this system has no Landlock")


def test_only_the_repositorys_files_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    (tmp_path / "blobs").mkdir()
    folder.mkdir()
    for name in ("mine", "other"):
        (tmp_path / "blobs" / name).write_text(name)
    (folder / "linked").symlink_to("../blobs/mine")
    (folder / "plain").write_text("plain")
    tried = [folder / "plain", folder / "linked", tmp_path / "blobs" / "other", *map(Path, OUTSIDE)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-P", "-c", TRY, str(server.getsockname()[1]), str(folder), *map(str, tried)],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
    expected = ["read True", "read True", *["PermissionError"] * (1 + len(OUTSIDE)), "PermissionError"]
    connected = "PermissionError" if landlock.version() >= 4 else "connected"
    assert done.stdout.splitlines() == [*expected, connected]


OUTSIDE = ("/etc/passwd", "/proc/self/environ", f"/proc/{os.getpid()}/environ")
