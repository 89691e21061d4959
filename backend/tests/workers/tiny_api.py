"""What the tests serve instead of Modelyard's own API."""

import os
from pathlib import Path
from typing import Any

from modelyard.core.errors import ModelyardError


def create_app() -> Any:
    (Path(os.environ["TINY_NOTES"]) / "api-pid").write_text(str(os.getpid()))

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def misconfigured() -> Any:
    raise ModelyardError("The database is from a newer version.", hint="Install that version.")


def broken() -> Any:
    raise RuntimeError("no such luck")
