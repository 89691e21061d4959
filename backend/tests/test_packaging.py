"""The version comes from git, and the wheel carries everything that a server needs."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import modelyard

ROOT = Path(__file__).parents[2]
_DESCRIPTION = ("pyproject.toml", "README.md", "LICENSE", ".gitattributes", ".git_archival.txt")
_VERSION = """
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
print(ProjectMetadata(".", PluginManager()).version)
"""


def _run(*command: str, cwd: Path) -> str:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def _git(tree: Path, *arguments: str) -> str:
    return _run("git", "-c", "user.name=A", "-c", "user.email=a@localhost", *arguments, cwd=tree)


def _version_of(tree: Path) -> str:
    return _run(sys.executable, "-c", _VERSION, cwd=tree)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that say what the version is, in a folder that git knows nothing of."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in _DESCRIPTION:
        (tree / name).write_bytes((ROOT / name).read_bytes())
    return tree


@pytest.fixture
def commit(tree: Path) -> str:
    _git(tree, "init", "--quiet")
    _git(tree, "add", ".")
    _git(tree, "commit", "--quiet", "--message", "Begin")
    return _git(tree, "rev-parse", "--short=9", "HEAD")


def test_without_a_tag_the_version_counts_commits_and_names_the_last(tree: Path, commit: str) -> None:
    assert _version_of(tree) == f"0.1.0.dev1+g{commit}"


def test_a_tag_is_the_version_and_what_follows_is_before_the_next(tree: Path, commit: str) -> None:
    _git(tree, "tag", "v1.2.0")
    assert _version_of(tree) == "1.2.0"

    _git(tree, "commit", "--quiet", "--allow-empty", "--message", "Go on")
    assert _version_of(tree).startswith("1.3.0.dev1+g")


def test_a_tree_without_git_has_a_version(tree: Path) -> None:
    assert _version_of(tree) == "0.1.0.dev0"


@pytest.mark.usefixtures("commit")
@pytest.mark.parametrize(("tag", "version"), [(None, "0.1.0.dev0"), ("v1.2.0", "1.2.0")])
def test_an_archive_has_the_version_of_its_tag(tree: Path, tmp_path: Path, tag: str | None, version: str) -> None:
    if tag is not None:
        _git(tree, "tag", tag)
    _git(tree, "archive", "--output", str(tmp_path / "archive.tar"), "HEAD")
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    _run("tar", "xf", "../archive.tar", cwd=unpacked)

    assert _version_of(unpacked) == version


def test_the_program_says_the_version_that_was_installed() -> None:
    assert modelyard.__version__ == metadata.version("modelyard")
    assert _run(sys.executable, "-m", "modelyard", "--version", cwd=ROOT) == f"modelyard {modelyard.__version__}"


def test_the_wheel_has_the_page_and_the_migrations(tmp_path: Path) -> None:
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path), cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")

    package = ROOT / "backend/src/modelyard"
    files = {path.relative_to(package.parent).as_posix() for path in package.rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as content:
        found = {name for name in content.namelist() if not name.startswith("modelyard-")}
    assert found == expected
    assert "modelyard/web/static/index.html" in found
    assert "modelyard/migrations/versions/0001_first_tables.py" in found
    assert "modelyard/migrations/script.py.mako" in found
