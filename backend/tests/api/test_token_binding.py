"""Whoever may change settings points the server at a host of theirs, and waits there for the Hub token."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from hub.hub_faults import HubFaults, serve
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support import programs
from support.instance import Instance

GPT2 = "modelyard-samples/tiny-gpt2"
LLAMA = "modelyard-samples/tiny-llama"


class Recorder:
    """A Hub that keeps every header it gets."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.headers: list[tuple[str, dict[str, str]]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            self.headers.append((scope["path"], headers))
        await self.app(scope, receive, send)

    def tokens(self) -> set[str | None]:
        return {headers.get("authorization") for _path, headers in self.headers}


@contextmanager
def recording(samples: Path) -> Iterator[tuple[Recorder, str]]:
    recorder = Recorder(create_hub_app([SampleSource(samples)], api_key=None))
    with serve(recorder) as endpoint:
        yield recorder, endpoint


def modelyard(
    instance: Instance, *arguments: str, server: str | None = None, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "modelyard", *arguments, "--server", server or instance.url]
    return programs.run(
        command, env=instance.environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
    )


def use_everything(instance: Instance) -> None:
    """Every way in which the server asks the Hub in use."""
    api = instance.api
    api.get("/system")
    assert api.get("/models/search", params={"q": "tiny"}).is_success
    assert api.get(f"/models/info/{GPT2}").is_success
    assert api.get("/models/estimate-memory", params={"model_id": GPT2}).is_success
    row = instance.wait_for(instance.download(GPT2)["id"], "ready")
    assert api.post(f"/models/{row['id']}/check-update").is_success
    assert modelyard(instance, "hub").returncode == 0


def test_the_token_does_not_follow_the_endpoint(instance: Instance, hub: HubFaults, hub_samples: Path) -> None:
    api = instance.api
    home = api.put("/settings", json={"token": "good"}).json()
    assert (home["token_set"], home["token_note"]) == (True, None)
    api.put("/settings", json={"bandwidth_limit_bytes_per_second": 1_000_000})
    first = instance.download(LLAMA)["id"]
    instance.wait_for(first, "downloading")
    assert api.post(f"/models/{first}/pause").is_success
    instance.wait_for(first, "paused")
    api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
    hub.clear()

    with recording(hub_samples) as (attacker, endpoint):
        assert api.post("/settings/test", json={"endpoint": endpoint}).json()["token"] == "none"
        changed = api.put("/settings", json={"endpoint": endpoint}).json()
        assert changed["token_set"] is False
        assert changed["token_note"].startswith(f"No token is stored for {endpoint.removesuffix('/hub')}.")
        assert api.post("/settings/test", json={}).json()["token_note"] == changed["token_note"]
        told = api.get("/system").json()["hub"]
        assert (told["token"], told["token_note"]) == ("none", changed["token_note"])
        assert "No token is stored for" in " ".join(modelyard(instance, "hub").stdout.split())
        use_everything(instance)
        assert attacker.tokens() == {None}
        asked_of_the_attacker = len(attacker.headers)
        assert asked_of_the_attacker > 10

        # The row of the first Hub goes on there, with that Hub's token.
        assert api.post(f"/models/{first}/resume").is_success
        instance.wait_for(first, "ready")
        assert {request.token for request in hub.requests} == {"good"}
        assert api.post(f"/models/{first}/check-update").is_success
        assert not any(LLAMA in path for path, _headers in attacker.headers)

        # A token stored now is for this Hub; the first one keeps its own.
        mine = api.put("/settings", json={"token": "mine"}).json()
        assert (mine["token_set"], mine["token_note"]) == (True, None)
        attacker.headers.clear()
        assert api.get("/models/search", params={"q": "tiny"}).is_success
        assert attacker.tokens() == {"Bearer mine"}
        hub.clear()
        assert api.put("/settings", json={"endpoint": None}).json()["token_set"] is True
        assert api.get("/models/search", params={"q": "tiny"}).is_success
        assert {request.token for request in hub.requests} == {"good"}
        for path in (instance.hf_home / "token", instance.hf_home / "stored_tokens"):
            assert path.stat().st_mode & 0o777 == 0o600

        # Forgetting is of the Hub in use, too.
        assert api.put("/settings", json={"endpoint": endpoint, "token": None}).json()["token_set"] is False
        assert api.put("/settings", json={"endpoint": None}).json()["token_set"] is True


def test_a_token_sent_with_an_endpoint_is_for_that_endpoint(
    instance: Instance, hub: HubFaults, hub_samples: Path
) -> None:
    with recording(hub_samples) as (other, endpoint):
        answer = instance.api.put("/settings", json={"endpoint": endpoint, "token": "theirs"}).json()
        assert answer["token_set"] is True
        assert instance.api.put("/settings", json={"endpoint": None}).json()["token_set"] is False
        hub.clear()
        assert instance.api.get("/models/search", params={"q": "tiny"}).is_success
        assert {request.token for request in hub.requests} == {None}
        instance.api.put("/settings", json={"endpoint": endpoint, "token": None})
        assert other.tokens() <= {None, "Bearer theirs"}


def test_the_command_line_stores_and_forgets_a_token_of_one_hub(
    instance: Instance, hub: HubFaults, hub_samples: Path
) -> None:
    api = instance.api
    with recording(hub_samples) as (other, endpoint):
        stored = modelyard(instance, "hub", endpoint, "--token", stdin="theirs\n")
        assert stored.returncode == 0, stored.stderr
        assert "theirs" not in stored.stdout + stored.stderr
        assert api.get("/settings").json()["token_set"] is True
        assert api.get("/models/search", params={"q": "tiny"}).is_success
        assert other.tokens() >= {"Bearer theirs"}
        hub.clear()
        assert modelyard(instance, "hub", "default").returncode == 0
        assert api.get("/settings").json()["token_set"] is False
        assert api.get("/models/search", params={"q": "tiny"}).is_success
        assert {request.token for request in hub.requests} == {None}
        assert modelyard(instance, "hub", endpoint, "--forget-token").returncode == 0
        assert api.get("/settings").json()["token_set"] is False
        for arguments, stdin in ((("--token",), ""), (("--token", "--forget-token"), "theirs")):
            assert modelyard(instance, "hub", *arguments, stdin=stdin).returncode == 2
    api.put("/settings", json={"endpoint": None})


def test_the_commands_without_a_server_keep_the_token_too(
    instance: Instance, hub: HubFaults, hub_samples: Path
) -> None:
    with recording(hub_samples) as (attacker, endpoint):
        instance.api.put("/settings", json={"token": "good"})
        instance.api.put("/settings", json={"endpoint": endpoint})
        for command in (("info", GPT2), ("estimate", GPT2), ("doctor",)):
            done = modelyard(instance, *command, server="http://127.0.0.1:9")
            assert command == ("doctor",) or done.returncode == 0, done.stderr
        assert attacker.tokens() == {None}
        assert len(attacker.headers) >= 3
