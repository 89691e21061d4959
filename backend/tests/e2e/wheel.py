"""The wheel in environments that get nothing but the wheelhouse: `make dist` makes both and runs this file."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from hub.hub_faults import serve
from modelyard.hub.server.app import create_hub_app
from modelyard.hub.server.samples import SampleSource
from support.core_installation import PROJECT, environment_without_ours
from support.instance import Instance
from support.samples import sample_models

WHEELHOUSE = PROJECT / "dist" / "wheelhouse"
LLAMA = "modelyard-samples/tiny-llama"
CORE_BYTES = 120_000_000
_TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


@dataclass(frozen=True)
class Installation:
    """A virtual environment that was filled from the wheelhouse; bytes are those of the files that wheels carry."""

    python: Path
    packages: frozenset[str]
    seconds: float
    size_bytes: int
    bytecode_bytes: int


def install(folder: Path, *requirements: str) -> Installation:
    """Install these one after the other. The sizes are without pip and setuptools, which were there before."""
    subprocess.run(["python3", "-m", "venv", str(folder)], check=True)
    python, started = folder / "bin" / "python", time.monotonic()
    for requirement in requirements:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        subprocess.run(
            [*command, "--find-links", str(WHEELHOUSE), requirement], check=True, env=environment_without_ours()
        )
    seconds = time.monotonic() - started
    (site,) = folder.glob("lib/python*/site-packages")
    own = [path for path in site.iterdir() if not path.name.startswith(_TOOLS)]
    files = [path for top in own for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()]
    bytecode = sum(path.stat().st_size for path in files if path.suffix == ".pyc")
    names = frozenset(path.name.partition("-")[0].lower() for path in own if path.suffix == ".dist-info")
    return Installation(python, names, seconds, sum(path.stat().st_size for path in files) - bytecode, bytecode)


def said(name: str, found: Installation, healthy: float) -> None:
    sizes = f"{found.size_bytes / 1e6:.0f} MB and {found.bytecode_bytes / 1e6:.0f} MB of bytecode"
    print(f"\n{name}: installed in {found.seconds:.0f} s, {sizes}, {len(found.packages)} packages; ", end="")
    print(f"healthy after {healthy:.1f} s")


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with serve(create_hub_app([SampleSource(sample_models())], api_key=None)) as endpoint:
        yield endpoint


def started(folder: Path, found: Installation, hub: str) -> tuple[Instance, float]:
    """A server of an installation, and the seconds until it was healthy."""
    instance = Instance(folder, as_users_do=True, python=found.python, environment={"HF_ENDPOINT": hub})
    instance.environment = environment_without_ours(instance.environment)
    begun = time.monotonic()
    return instance.start(), time.monotonic() - begun


def test_the_core_serves_and_downloads_without_torch(tmp_path: Path, hub: str) -> None:
    found = install(tmp_path / "venv", "modelyard")
    assert found.packages.isdisjoint({"torch", "transformers", "numpy", "psycopg", "redis", "gguf"})
    assert found.size_bytes < CORE_BYTES
    instance, healthy = started(tmp_path / "server", found, hub)
    said("core", found, healthy)
    try:
        assert "<title>Modelyard" in httpx.get(instance.url).text
        assert instance.wait_for(instance.download(LLAMA)["id"], "ready")["memory_method"] == "approximate"
        system = instance.api.get("/system").json()
        assert f"modelyard-{system['version']}-py3-none-any.whl" in {path.name for path in WHEELHOUSE.iterdir()}
        assert not system["extras"]["torch"]
    finally:
        assert instance.stop() == 0


def test_with_torch_a_model_is_loaded_and_writes(tmp_path: Path, hub: str) -> None:
    found = install(tmp_path / "venv", "torch==2.13.0", "modelyard[torch]")
    instance, healthy = started(tmp_path / "server", found, hub)
    said("torch", found, healthy)
    try:
        model = instance.wait_for(instance.download(LLAMA, quantization="4bit")["id"], "ready", seconds=180)
        assert model["memory_method"] == "exact"
        body = {"prompt": "Python is", "max_new_tokens": 4}
        answer = instance.api.post(f"/models/{model['id']}/generate", json=body, timeout=180).json()
        assert answer["new_tokens"] == 4
        assert instance.api.get("/system").json()["extras"]["torch"]
    finally:
        assert instance.stop() == 0
