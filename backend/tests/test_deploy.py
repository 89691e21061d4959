"""The files of `deploy/` are what their programs accept, and name what there is."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from modelyard.core.settings import Settings
from support.deployment import DEPLOY, compose_services, image_environment, wheel_sources
from support.tools import missing, require

PROJECT = DEPLOY.parent
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SECRETS = {"MODELYARD_API_KEY": "a key of sixteen or more", "POSTGRES_PASSWORD": "ab12"}


def _linter(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        missing(f"{name} is not installed for this platform")
    return str(path)


def _assert_accepted(*command: str, folder: Path = PROJECT, **environment: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_its_linter() -> None:
    _assert_accepted(_linter("hadolint"), str(DEPLOY / "Dockerfile"))


def test_the_wheel_is_built_of_what_the_image_copies(tmp_path: Path) -> None:
    for source, destination in wheel_sources():
        target = tmp_path / destination
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / source, target)
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist")
    _assert_accepted(*build, folder=tmp_path, SETUPTOOLS_SCM_PRETEND_VERSION="1.2.3")

    (wheel,) = (tmp_path / "dist").glob("modelyard-1.2.3-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "modelyard/web/static/index.html" in names
    assert any(name.startswith("modelyard/migrations/versions/") for name in names)


def test_what_the_image_ignores_is_not_what_it_copies() -> None:
    kept = {
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {source for source, _ in wheel_sources()}
    assert copied | {"frontend", "constraints.txt"} == kept


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_files_are_valid(name: str) -> None:
    _assert_accepted(_linter("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name))


def test_compose_needs_the_secrets_and_nothing_else() -> None:
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == set(SECRETS)
    compose_services(SECRETS)
    for name in SECRETS:
        with pytest.raises(KeyError, match=f"{name} is missing"):
            compose_services({other: value for other, value in SECRETS.items() if other != name})


def test_every_part_of_compose_is_locked_down_and_has_the_same_folders() -> None:
    services = compose_services(SECRETS)
    ours = {name: service for name, service in services.items() if "build" in service}
    assert {name: service["command"] for name, service in ours.items()} == {
        "api": ["serve", "--no-workers"],
        **{queue: ["worker", "--queues", queue] for queue in ("downloads", "compute", "inference")},
    }
    for service in ours.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["data:/data"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published == ["127.0.0.1:8000:8000"]


def test_named_settings_are_settings() -> None:
    named: set[str] = set()
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        named |= set(re.findall(r"\bMODELYARD_[A-Z_]+", path.read_text(encoding="utf-8")))
    settings = {f"MODELYARD_{name.upper()}" for name in Settings.model_fields}
    assert named - settings == {"MODELYARD_IMAGE"}  # of compose itself
    assert {name for name in image_environment() if name.startswith("MODELYARD_")} <= settings


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_what_systemd_accepts(unit: Path, tmp_path: Path) -> None:
    """systemd looks for the program, which is the one of this installation here."""
    program = Path(sys.executable).parent / "modelyard"
    text = unit.read_text(encoding="utf-8").replace("/opt/modelyard/bin/modelyard", str(program))
    assert str(program) in text
    placed = tmp_path / unit.name
    placed.write_text(text, encoding="utf-8")
    verify = require("systemd-analyze", package="systemd")
    done = subprocess.run([verify, "verify", str(placed)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if unit.stem in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_units_differ_only_in_what_they_run() -> None:
    server, worker = (
        {line for line in unit.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")}
        for unit in sorted(UNITS, key=lambda unit: "worker" in unit.name)
    )
    assert {line.partition("=")[0] for line in server ^ worker} == {"Description", "ExecStart", "LimitNOFILE"}


def test_caddy_accepts_its_file() -> None:
    caddy = require("caddy", package="caddy")
    _assert_accepted(caddy, "validate", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile")
