"""An installation without extras, made of what is installed here: the distributions that the core requires."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[3]


def make_core_installation(folder: Path) -> Path:
    """Make a virtual environment that has links to what the core requires, and this source; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for distribution in _closure(project["dependencies"]):
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            found, link = Path(str(distribution.locate_file(top))), site / top
            if found.exists() and not link.exists():
                link.symlink_to(found)
    (site / "modelyard.pth").write_text(f"{PROJECT / 'backend' / 'src'}\n", encoding="utf-8")
    own = metadata.distribution("modelyard")
    about = next(file for file in own.files or () if file.name == "METADATA").parent.name
    (site / about).symlink_to(Path(str(own.locate_file(about))))
    return folder / "bin" / "python"


def _closure(requirements: Iterable[str]) -> Iterator[metadata.Distribution]:
    """Yield each distribution that is required, once, with what it requires itself."""
    waiting = [(Requirement(requirement), "") for requirement in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = metadata.distribution(requirement.name)
        for wanted in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), wanted)
            if key not in seen:
                seen.add(key)
                waiting += [(Requirement(each), wanted) for each in distribution.requires or ()]
                if not wanted:
                    yield distribution


def environment_without_ours(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment without what points Python elsewhere."""
    return {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
