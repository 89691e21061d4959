"""Certificates for servers of tests."""

import subprocess
from pathlib import Path

from support.tools import require


def make_certificate(folder: Path) -> Path:
    """A certificate for loopback that is its own authority, and its key, in one file."""
    openssl = require("openssl", package="openssl")
    path = folder / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with path.open("ab") as both:
        both.write(path.with_suffix(".crt").read_bytes())
    return path
