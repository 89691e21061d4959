"""What `deploy/` says, read as the programs read it that it is written for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).parents[3] / "deploy"

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def compose_services(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml, with the variables of its env file filled in."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]
    filled: dict[str, dict[str, Any]] = _filled(services, environment)
    return filled


def image_environment() -> dict[str, str]:
    """Return what the image's last stage sets, without PATH, which leads into the image."""
    last = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    lines = re.findall(r"^ENV (.+)$", last, re.MULTILINE)
    pairs = dict(pair.split("=", 1) for line in lines for pair in line.split())
    return {name: value for name, value in pairs.items() if name != "PATH"}


def wheel_sources() -> list[tuple[str, str]]:
    """Return what the stage that builds the wheel copies from the checkout: source and destination."""
    stages = re.split(r"^FROM ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    stage = next(text for text in stages if " AS wheel\n" in text.partition("\n")[0] + "\n")
    copied = []
    for line in re.findall(r"^COPY (?!--)(.+)$", stage, re.MULTILINE):
        *sources, destination = line.split()
        copied += [(source, destination) for source in sources]
    return copied


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(inner, environment) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment) for inner in value]
    return _VARIABLE.sub(lambda found: _value(found, environment), value) if isinstance(value, str) else value


def _value(found: "re.Match[str]", environment: Mapping[str, str]) -> str:
    name, how, word = found.groups()
    value = environment.get(name, "")
    if not value and how == "?":
        raise KeyError(f"{name} {word}")
    return value or (word if how == "-" else "")
