"""One bandwidth limit over all downloads, whichever processes run them."""

import time
from pathlib import Path

import pytest

from hub.hub_faults import serve
from modelyard.hub.download.throttle import IDLE_SECONDS, RESERVED_SECONDS
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama
from support.instance import Instance

LIMIT = 10_000_000
WEIGHT_BYTES = 40_000_000
NAMES = ("one", "two", "three")
NO_SHARING = {"HF_HUB_DISABLE_SHARED_BLOBS": "1"}
"""The repositories have the same content."""


@pytest.mark.thorough
def test_three_downloads_share_the_limit(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "model", weight_bytes=WEIGHT_BYTES)
    source = FolderSource(**{f"lab__{name}": folder for name in NAMES})
    with serve(create_hub_app([source], api_key=None)) as endpoint:
        instance = Instance(tmp_path / "instance", {"HF_ENDPOINT": endpoint} | NO_SHARING).start()
        try:
            limit = {"bandwidth_limit_bytes_per_second": LIMIT, "parallel_downloads": len(NAMES)}
            assert instance.api.put("/settings", json=limit).status_code == 200
            began = time.monotonic()
            ids = [instance.download(f"lab/{name}")["id"] for name in NAMES]
            for row_id in ids:
                instance.wait_for(row_id, "ready", seconds=120)
            seconds = time.monotonic() - began
            byte_count = sum(instance.model(row_id)["size_bytes"] for row_id in ids)
            assert byte_count > 0.99 * len(NAMES) * WEIGHT_BYTES
            # What the account may hand out at once: idle time that is made up for, and the last reservation of each.
            at_once = IDLE_SECONDS + len(NAMES) * RESERVED_SECONDS
            together = byte_count / (seconds + at_once) / LIMIT
            # Exact from above; from below only as fast as the machine is. Each with a limit of its own would be at 3.
            assert 0.3 <= together <= 1.0, f"{together:.0%} of the limit in {seconds:.1f} s"
        finally:
            instance.stop()
