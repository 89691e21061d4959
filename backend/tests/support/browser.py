"""Runs specs of `frontend/e2e` in a real browser, and lets them ask the test for what a page cannot do by itself."""

import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from support.instance import Instance
from support.tools import require

FRONTEND = Path(__file__).parents[3] / "frontend"
SPECS_SECONDS = 900

Step = Callable[[], object]
"""Something a spec may ask for in the middle: stop the Hub, kill the server, …"""


@contextmanager
def served(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Instance]:
    """A running server whose lost jobs are taken up again within seconds."""
    instance = Instance(folder, {"MODELYARD_LEASE_SECONDS": "4", **(environment or {})}).start()
    try:
        yield instance
    finally:
        if instance.process is not None:
            instance.stop()


def walk(
    instance: Instance,
    *specs: str,
    steps: Mapping[str, Step] | None = None,
    seconds: float = SPECS_SECONDS,
    url: str | None = None,
) -> None:
    """Run the specs one after the other; fails when one of them does, with what it says.

    `url` is where the browser finds the server, if not at the server's own address.
    """
    chromium = require("chromium", package="chromium")
    binaries = Path(sys.executable).parent
    with _control(steps or {}) as address:
        done = subprocess.run(
            [binaries / "node", "node_modules/.bin/playwright", "test", *(f"e2e/{spec}.spec.ts" for spec in specs)],
            cwd=FRONTEND,
            env=instance.environment
            | {
                "BASE_URL": url or instance.url,
                "CHROMIUM": chromium,
                "CONTROL": address,
                "PLAYWRIGHT_OUTPUT": str(instance.folder / "playwright"),
                "PATH": f"{binaries}:{instance.environment['PATH']}",
            },
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0


@contextmanager
def _control(steps: Mapping[str, Step]) -> Iterator[str]:
    """`POST /<name>` does the step of that name and answers when it is done; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                steps[unquote(self.path.removeprefix("/"))]()
            except Exception:  # noqa: BLE001 - the spec that asked fails with it
                self._answer(500, traceback.format_exc())
            else:
                self._answer(200, "")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """What a test did is told by the spec."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
