"""The page in a real browser, on a real server with real workers; the walks themselves are in `frontend/e2e`."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.instance import Instance
from support.tools import require

FRONTEND = Path(__file__).parents[3] / "frontend"


@pytest.mark.timeout(600)
def test_walks_in_a_browser(tmp_path: Path) -> None:
    chromium = require("chromium", package="chromium")
    instance = Instance(tmp_path, {"MODELYARD_LEASE_SECONDS": "4"}).start()
    try:
        done = subprocess.run(
            [Path(sys.executable).with_name("node"), "node_modules/.bin/playwright", "test"],
            cwd=FRONTEND,
            env=instance.environment
            | {
                "BASE_URL": instance.url,
                "CHROMIUM": chromium,
                "PATH": f"{Path(sys.executable).parent}:{instance.environment['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=580,
        )
        print(done.stdout[-8000:], done.stderr[-2000:])
        assert done.returncode == 0
    finally:
        instance.stop()
