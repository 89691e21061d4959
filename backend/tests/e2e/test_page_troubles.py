"""What goes wrong around the page: a gated model, a Hub that is away, a server that ends in the middle."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.hub.server.app import create_hub_app
from support.browser import served, walk
from support.folder_hub import FolderSource, make_llama
from support.instance import free_port

pytestmark = pytest.mark.thorough

MODEL = "lab/llama"
READER = "hf_reader"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("hub") / "llama", weight_bytes=40_000_000, shards=2)


class Hub:
    """A Hub with one model, at an address that stays when it goes away and comes back."""

    def __init__(self, model: Path) -> None:
        app = create_hub_app([FolderSource(lab__llama=model)], api_key=None)
        self.faults = HubFaults(app, tokens={READER})
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}/hub"
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(serve(self.faults, port=self.port))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    hub = Hub(model)
    hub.start()
    yield hub
    hub.stop()


def test_a_gated_model(hub: Hub, tmp_path: Path) -> None:
    hub.faults.gate(MODEL)
    with served(tmp_path, {"HF_ENDPOINT": hub.endpoint}) as instance:
        steps = {
            "accept the terms": lambda: hub.faults.gate(MODEL, accepted={READER}),
            "take the access back": lambda: hub.faults.gate(MODEL),
        }
        walk(instance, "gated", steps=steps)
        assert READER.encode() not in (instance.home / "modelyard.db").read_bytes()


def test_a_hub_that_is_away(hub: Hub, tmp_path: Path) -> None:
    hub.stop()
    with served(tmp_path, {"HF_ENDPOINT": hub.endpoint}) as instance:
        walk(instance, "hub-away", steps={"start the Hub": hub.start, "stop the Hub": hub.stop})


def test_a_server_that_ends_in_the_middle(hub: Hub, tmp_path: Path) -> None:
    with served(tmp_path, {"HF_ENDPOINT": hub.endpoint}) as instance:
        steps = {
            "kill the API": lambda: instance.children()["api"].kill(),
            "kill the server": instance.kill,
            "start the server": instance.start,
        }
        walk(instance, "restart", steps=steps)
