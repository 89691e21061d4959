"""A server whose Hub misbehaves on request."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.hub_faults import HubFaults, serve
from modelyard.hub.server.app import RepoSource, create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.adapters import make_lora
from support.folder_hub import FolderSource, make_adapter, make_llama, make_packed, make_pickle, make_tiny
from support.instance import Instance
from support.saes import make_sae
from support.samples import sample_models


@pytest.fixture(scope="session")
def hub_samples() -> Path:
    return sample_models()


@pytest.fixture(scope="session")
def _hub(hub_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubFaults, str]]:
    lab = tmp_path_factory.mktemp("lab")
    cut = make_llama(lab / "cut", weight_bytes=1_000_000)
    os.truncate(cut / "model.safetensors", 40)
    make_sae(lab / "saes" / "layer-2", seed=2)
    small = FolderSource(
        lab__huge=make_llama(lab / "huge", weight_bytes=1_000_000),
        lab__pickle=make_pickle(lab / "pickle"),
        lab__packed=make_packed(lab / "packed"),
        lab__adapter=make_adapter(lab / "adapter"),
        lab__base=make_tiny(lab / "base"),
        lab__lora=make_lora(lab / "lora", "lab/base", dtype="float16"),
        lab__lost=make_lora(lab / "lost", "lab/nowhere"),
        lab__second=make_lora(lab / "second", "lab/lora"),
        lab__cut=cut,
        lab__saes=make_sae(lab / "saes" / "layer-1").parent,
    )
    small.pretend("lab/huge", "model.safetensors", size_bytes=10**15)
    sources: list[RepoSource] = [SampleSource(hub_samples), small]
    faults = HubFaults(create_hub_app(sources, api_key=None), tokens={"good", "stranger"})
    with serve(faults) as endpoint:
        yield faults, endpoint


@pytest.fixture
def hub(_hub: tuple[HubFaults, str]) -> Iterator[HubFaults]:
    """The Hub of `instance`: healthy unless the test says otherwise."""
    yield _hub[0]
    _hub[0].clear()


@pytest.fixture(scope="session")
def hub_endpoint(_hub: tuple[HubFaults, str]) -> str:
    """The address of the Hub of `instance`."""
    return _hub[1]


@pytest.fixture(scope="session")
def instance(_hub: tuple[HubFaults, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("api"), {"HF_ENDPOINT": _hub[1], "MODELYARD_LEASE_SECONDS": "4"})
    instance.start()
    yield instance
    instance.stop()


@pytest.fixture(autouse=True)
def _clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "instance" not in request.fixturenames:
        return
    instance: Instance = request.getfixturevalue("instance")
    for model in instance.api.get("/models").json()["items"]:
        answer = instance.api.delete(f"/models/{model['id']}", params={"confirm_shared": True})
        assert answer.status_code == 200, answer.text
    instance.api.put("/settings", json={"token": None, "endpoint": None})
