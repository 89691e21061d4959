"""A real nginx in front of a server."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.tools import require

START_SECONDS = 10.0

_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
{servers}
}}
"""

_SERVER = """
    server {{
        listen 127.0.0.1:{port}{tls};
        location {location} {{
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            {directives}
        }}
    }}
"""


def server_block(port: int, directives: str, *, location: str = "/", certificate: Path | None = None) -> str:
    """One server of the configuration; `certificate` is a PEM file that also holds the key."""
    tls = (
        f" ssl;\n        ssl_certificate {certificate};\n        ssl_certificate_key {certificate}"
        if certificate
        else ""
    )
    return _SERVER.format(port=port, tls=tls, location=location, directives=directives)


@contextmanager
def running_nginx(folder: Path, servers: Mapping[int, str]) -> Iterator[None]:
    """An nginx with these servers, by port."""
    program = require("nginx", package="nginx-light")
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, servers="\n".join(servers.values())))
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_SECONDS
        for port in servers:
            while not _listens(port):
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < end, "nginx does not start"
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/nothing-here", timeout=2)
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True
