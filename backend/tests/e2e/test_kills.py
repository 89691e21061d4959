"""kill -9 at random moments, of whatever runs: the download ends right, and little is fetched twice."""

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import CountSent, FolderSource, make_llama
from support.instance import Instance

SIZE = 200_000_000
CONNECTIONS = 2
KILLS = 20
# Slow enough that the last kill still meets a download.
BANDWIDTH = SIZE // (KILLS * 3)
BLOCK_BYTES = 16 << 20


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CountSent, str, Path]]:
    folder = make_llama(tmp_path_factory.mktemp("repo") / "big", weight_bytes=SIZE)
    counter = CountSent(create_hub_app([FolderSource(lab__big=folder)], api_key=None))
    with serve(counter) as endpoint:
        yield counter, endpoint, folder


@pytest.mark.thorough
def test_kills_at_random_moments(hub: tuple[CountSent, str, Path], tmp_path: Path) -> None:
    counter, endpoint, folder = hub
    instance = Instance(tmp_path, {"HF_ENDPOINT": endpoint, "MODELYARD_LEASE_SECONDS": "3"}).start()
    try:
        instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": BANDWIDTH, "connections": CONNECTIONS})
        row = instance.download("lab/big")
        seed = random.randrange(2**32)
        print(f"seed {seed}")  # shown when the test fails
        chance = random.Random(seed)
        seen: list[int] = []
        kills = 0
        while kills < KILLS:
            assert _watch(instance, row["id"], chance.uniform(0.3, 1.5), seen) != "ready", "too fast to be killed"
            victim = chance.choice(["downloads", "downloads", "api", "supervisor"])
            if victim == "supervisor":
                children = instance.children().values()
                instance.kill()
                instance.wait_until(lambda ps=children: not any(p.is_running() for p in ps), 20, "no orphans")
                instance.start()
            else:
                _child(instance, victim).kill()
                instance.wait_until(instance.healthy, 30, "the API is back")
            kills += 1
        instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
        end = time.monotonic() + 120
        while _watch(instance, row["id"], 0.2, seen) != "ready":
            assert time.monotonic() < end, instance.model(row["id"])
    finally:
        if instance.process is not None:
            instance.stop()

    ready = Path(instance.hf_home / "hub" / "models--lab--big")
    snapshot = ready / "snapshots" / row["commit"]
    for path in folder.iterdir():
        assert (
            hashlib.sha256((snapshot / path.name).read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
        )
    assert sorted(p.name for p in (ready / "blobs").iterdir()) == sorted(
        (snapshot / path.name).resolve().name for path in folder.iterdir()
    ), "no orphans beside the blobs"
    assert seen == sorted(seen), "progress went backwards"
    assert max(seen) <= row["size_bytes"]
    assert counter.sent_bytes <= row["size_bytes"] + (KILLS + 1) * CONNECTIONS * BLOCK_BYTES


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _child(instance: Instance, role: str):  # type: ignore[no-untyped-def]
    return instance.wait_until(lambda: instance.children().get(role), 30, f"{role} runs")


def _watch(instance: Instance, row_id: str, seconds: float, seen: list[int]) -> str:
    """Note the progress for a while, as a page that polls would; returns the last status."""
    end = time.monotonic() + seconds
    while True:
        model = instance.model(row_id)
        assert model["status"] != "failed", model["error"]
        seen.append(model["downloaded_bytes"])
        if time.monotonic() >= end:
            return str(model["status"])
        time.sleep(0.05)
