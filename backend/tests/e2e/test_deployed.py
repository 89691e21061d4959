"""What `deploy/` starts, as processes: each service of compose.yaml with its command and its environment.

They run as a user who may write to /data and to the temporary folder only, as in a container with a read-only root.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from support.certificates import make_certificate
from support.deployment import DEPLOY, compose_services, image_environment
from support.instance import free_port
from support.nginx import running_nginx
from support.postgres import running_postgres
from support.redis_server import running_redis
from support.samples import link_samples
from support.storage import reachable_folder, unprivileged
from support.tools import require

pytestmark = pytest.mark.thorough

KEY = "a key for the compose file"
NAME = "models.example.org"
SAMPLE = "modelyard-samples/tiny-llama"
OURS = ("api", "downloads", "compute", "inference")


@dataclass(frozen=True)
class Deployed:
    """The services that run, and where nginx and Caddy listen in front of them."""

    folder: Path
    processes: dict[str, "subprocess.Popen[bytes]"]
    certificate: Path
    ports: dict[str, int]

    def client(self, front: str, *, key: str | None = KEY) -> httpx.Client:
        headers = {"Host": f"{NAME}:{self.ports[front]}"} | ({"Authorization": f"Bearer {key}"} if key else {})
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.ports[front]}", headers=headers, verify=self.trust, timeout=60
        )

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text(encoding="utf-8")

    def wait_until(self, probe: Callable[[], Any], seconds: float, what: str) -> Any:
        end = time.monotonic() + seconds
        while not (answer := probe()):
            ended = {name: self.log(name)[-2000:] for name, each in self.processes.items() if each.poll() is not None}
            assert ended == {}
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.1)
        return answer


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    with reachable_folder() as folder, ExitStack() as stack:
        data, temporary = folder / "data", folder / "tmp"
        user = unprivileged()
        for writable in (data, temporary):
            writable.mkdir(mode=0o750)
            user.own(writable)
        port = free_port()
        ports = {"nginx": free_port(), "caddy": free_port()}
        replaced = {
            "postgresql+psycopg://modelyard:ab12@database/modelyard": stack.enter_context(running_postgres()),
            "redis://broker:6379/0": stack.enter_context(running_redis(folder)),
            "http://api:8000": f"http://127.0.0.1:{port}",
            "/data": str(data),
        }
        given = {
            "MODELYARD_API_KEY": KEY,
            "POSTGRES_PASSWORD": "ab12",
            "MODELYARD_TRUSTED_PROXIES": "127.0.0.1",
        }
        services = compose_services(given)
        (data / "home").mkdir(mode=0o700)
        link_samples(data / "home")
        user.own(data)
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in OURS:
            environment = image_environment() | services[name]["environment"]
            environment = {variable: _replaced(value, replaced) for variable, value in environment.items()}
            with (folder / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    [*user.prefix, sys.executable, "-m", "modelyard", *services[name]["command"]],
                    env={
                        "PATH": os.environ["PATH"], "HOME": str(data), "TMPDIR": str(temporary),
                        **environment, "MODELYARD_HOST": "127.0.0.1", "MODELYARD_PORT": str(port),
                    },
                    stdout=log, stderr=log, cwd="/", **user.popen,
                )  # fmt: skip
            stack.callback(_end, processes[name])
        certificate = make_certificate(folder)
        stack.enter_context(
            running_nginx(folder / "nginx", {ports["nginx"]: _nginx(ports["nginx"], port, certificate)})
        )
        stack.enter_context(_running_caddy(folder / "caddy", ports["caddy"], port, certificate))
        found = Deployed(folder, processes, certificate, ports)
        found.wait_until(lambda: _answers(port), 60, "the API answers")
        yield found


def _replaced(value: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        value = value.replace(old, new)
    return value


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _nginx(port: int, upstream: int, certificate: Path) -> str:
    """Return the server of nginx.conf, listening on `port` of loopback."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    _, server = text.split("\nserver {")  # running_nginx writes the map itself
    changes = {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "    listen [::]:443 ssl;\n": "",
        "/etc/ssl/certs/models.example.org.pem": str(certificate),
        "/etc/ssl/private/models.example.org.key": str(certificate),
        "http://127.0.0.1:8000": f"http://127.0.0.1:{upstream}",
    }
    return "server {" + _changed(server, changes)


@contextmanager
def _running_caddy(folder: Path, port: int, upstream: int, certificate: Path) -> Iterator[None]:
    caddy = require("caddy", package="caddy")
    folder.mkdir()
    text = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    changes = {
        "models.example.org {": f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {certificate}",
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }
    here = "{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_sni " + NAME + "\n}\n"
    comment, site = text.split("\n\n", 1)
    assert comment.startswith("#")
    configuration = folder / "Caddyfile"
    configuration.write_text(here + _changed(site, changes), encoding="utf-8")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [caddy, "run", "--config", str(configuration), "--adapter", "caddyfile"],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _changed(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_a_model_is_fetched_loaded_and_asked_through_each_proxy(deployed: Deployed) -> None:
    with deployed.client("nginx", key=None) as stranger:
        assert stranger.get("/").status_code == 200
        assert stranger.get("/api/v1/models").status_code == 401

    with deployed.client("nginx") as api:
        workers = deployed.wait_until(
            lambda: (found := _workers(api)) and len(found) == 3 and found, 90, "three workers are there"
        )
        assert sorted(workers) == [["compute"], ["downloads"], ["inference"]]
        assert api.put("/api/v1/settings", json={"endpoint": "builtin"}).status_code == 200
        row = api.post("/api/v1/models/download", json={"model_id": SAMPLE}).json()
        deployed.wait_until(lambda: _row(api, row["id"])["status"] == "ready", 60, "the model is ready")
        copy = api.post(f"/api/v1/models/{row['id']}/quantize", json={"quantization": "4bit"}).json()
        deployed.wait_until(lambda: _row(api, copy["id"])["status"] == "ready", 120, "the copy is ready")

    for front in deployed.ports:
        with deployed.client(front) as api:
            for answer in (_streamed(api, row["id"]), _streamed(api, copy["id"])):
                *parts, last = (json.loads(line.removeprefix("data: ")) for line in answer)
                assert last["done"] is True
                assert "".join(part["delta"] for part in parts) == last["text"]
        assert '"snapshot"' in _first_event(deployed, front)


def test_nothing_but_the_data_folder_is_written(deployed: Deployed) -> None:
    left = [path for path in (deployed.folder / "tmp").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 10_000_000
    assert (deployed.folder / "data" / "huggingface" / "hub").is_dir()
    for service in OURS:
        assert "Read-only file system" not in deployed.log(service)
        assert "Permission denied" not in deployed.log(service)


def test_every_part_ends_when_it_is_asked_to(deployed: Deployed) -> None:
    begun = time.monotonic()
    for process in deployed.processes.values():
        process.send_signal(signal.SIGTERM)
    codes = {name: process.wait(30) for name, process in deployed.processes.items()}
    assert codes == dict.fromkeys(OURS, 0), {name: deployed.log(name)[-1000:] for name in codes}
    assert time.monotonic() - begun < 30  # compose.yaml's stop_grace_period


def _workers(api: httpx.Client) -> list[list[str]]:
    seen = api.get("/api/v1/system").json()["workers"]
    return [worker["queues"] for worker in seen if worker["alive"]]


def _row(api: httpx.Client, row_id: str) -> dict[str, Any]:
    row: dict[str, Any] = api.get(f"/api/v1/models/{row_id}").json()
    assert row["status"] != "failed", row["error"]
    return row


def _streamed(api: httpx.Client, row_id: str) -> list[str]:
    body = {"prompt": "The", "max_new_tokens": 4, "stream": True}
    with api.stream("POST", f"/api/v1/models/{row_id}/generate", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        return [line for line in answer.iter_lines() if line]


def _first_event(deployed: Deployed, front: str) -> str:
    address = f"{NAME}:{deployed.ports[front]}"
    raw = socket.create_connection(("127.0.0.1", deployed.ports[front]), timeout=10)
    headers = {"Origin": f"https://{address}", "Authorization": f"Bearer {KEY}"}
    url = f"wss://{address}/api/v1/events"
    with connect(url, sock=raw, ssl=deployed.trust, server_hostname="127.0.0.1", additional_headers=headers) as opened:
        return str(opened.recv(10))
