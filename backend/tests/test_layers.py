"""The API process and the command line stay free of what only workers need.

Which part may import which other is a contract in `pyproject.toml`, checked by `make check`.
"""

import ast
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import modelyard

HEAVY = ("torch", "transformers", "bitsandbytes", "accelerate", "sae_lens", "celery.worker", "celery.bin", "numpy")

HEAVY_TOPS = {name.split(".")[0] for name in HEAVY}

_STARTED = """
import asyncio, json, sys
from modelyard.main import create_app

app = create_app()
asked = []

async def ask(path):
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
             "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 8000), "headers": [(b"host", b"127.0.0.1:8000")]}
    await app(scope, receive, send)
    asked.append(sent[0]["status"])

async def main():
    async with app.router.lifespan_context(app):
        for path in ("/healthz", "/readyz", "/api/v1/models", "/api/v1/settings", "/openapi.json"):
            await ask(path)
        await asyncio.sleep(0.5)

asyncio.run(main())
print(json.dumps({"modules": sorted(sys.modules), "asked": asked}))
"""


def test_the_api_starts_and_answers_without_what_only_workers_need(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELYARD_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")}
    del environment["HF_HUB_CACHE"]
    answer = subprocess.run(
        [sys.executable, "-c", _STARTED], check=True, capture_output=True, env=environment, text=True
    )
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["asked"] == [200] * 5
    loaded = [name for name in told["modules"] if f"{name}.".startswith(tuple(f"{heavy}." for heavy in HEAVY))]
    assert loaded == []


@pytest.mark.parametrize("module", ["modelyard.cli", "modelyard.workers.processes.supervisor"])
def test_light_entrances_stay_light(module: str) -> None:
    heavy = sorted(HEAVY_TOPS - {"celery"})
    code = f"import sys, {module}; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"


def test_modules_of_the_api_process_import_torch_only_when_they_call_it() -> None:
    """Services and the Hub's samples call machine learning inside functions, which workers and children run."""
    light = ("api", "client", "core", "hub", "models", "schemas", "services")
    names = [
        module.name
        for part in light
        for module in pkgutil.walk_packages([f"{Path(modelyard.__file__).parent}/{part}"], f"modelyard.{part}.")
    ]
    assert len(names) > 100
    code = f"import importlib, sys; [importlib.import_module(name) for name in {names}]; print(sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(ast.literal_eval(answer.stdout)) & (HEAVY_TOPS - {"celery"}) == set()
