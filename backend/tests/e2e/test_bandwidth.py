"""One bandwidth limit over all downloads, whichever processes run them."""

import time
from pathlib import Path

import numpy as np
import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from support.folder_hub import FolderSource, make_llama
from support.instance import Instance

LIMIT = 10_000_000
WEIGHT_BYTES = 60_000_000
SECONDS = 10.0


def rate(instance: Instance) -> float:
    """Bytes per second of all downloads: the slope of the line through many samples, whose steps average out."""
    times, totals = [], []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        rows = instance.api.get("/models").json()["items"]
        assert {row["status"] for row in rows} == {"downloading"}
        times.append(time.monotonic())
        totals.append(sum(row["progress"]["bytes_done"] for row in rows))
        time.sleep(0.1)
    return float(np.polyfit(times, totals, 1)[0])


@pytest.mark.thorough
def test_three_downloads_share_the_limit(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "model", weight_bytes=WEIGHT_BYTES)
    source = FolderSource(lab__one=folder, lab__two=folder, lab__three=folder)
    with serve(create_hub_app([source], api_key=None)) as endpoint:
        instance = Instance(tmp_path / "instance", {"HF_ENDPOINT": endpoint}).start()
        try:
            limit = {"bandwidth_limit_bytes_per_second": LIMIT, "parallel_downloads": 3}
            assert instance.api.put("/settings", json=limit).status_code == 200
            ids = [instance.download(f"lab/{name}")["id"] for name in ("one", "two", "three")]
            for row_id in ids:
                instance.wait_until(
                    lambda row_id=row_id: (instance.model(row_id)["progress"] or {}).get("bytes_done"), 30, "bytes flow"
                )
            together = rate(instance)
            assert abs(together / LIMIT - 1) <= 0.05, f"{together / 1e6:.2f} MB/s"
        finally:
            instance.api.put("/settings", json={"bandwidth_limit_bytes_per_second": None})
            instance.stop()
