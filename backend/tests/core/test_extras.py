"""The extras that the program names are those of `pyproject.toml`, and what they bring is known."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from modelyard.core import extras
from modelyard.core.errors import ExtraMissing, SaeEngineMissing, error_from
from modelyard.core.extras import Extra

OF_THE_PROJECT = {"all", "build", "dev", "docs", "mutants"}


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    declared: dict[str, list[str]] = tomllib.loads(text)["project"]["optional-dependencies"]
    return declared


def test_every_extra_is_declared(project: dict[str, list[str]]) -> None:
    assert project.keys() - OF_THE_PROJECT == set(Extra)
    assert project["all"] == [f"modelyard[{','.join(Extra)}]"]


@pytest.mark.parametrize("extra", Extra)
def test_an_extra_is_looked_for_by_what_it_installs(project: dict[str, list[str]], extra: Extra) -> None:
    required = [Requirement(requirement) for requirement in project[extra]]
    wanted = {module for module in extras._MODULES[extra] if module not in extras._OF_TORCH or extra is Extra.TORCH}
    distributions = {name: tuple(found) for name, found in metadata.packages_distributions().items()}
    named = {requirement.name for requirement in required} | {
        extra_of for requirement in required for extra_of in requirement.extras
    }
    for module in wanted:
        assert named & {module, module.replace("_", "-"), *distributions.get(module, ())}, module


def test_what_is_missing_is_one_sentence_and_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras._MODULES, Extra.GGUF, ("no_such_module",))
    monkeypatch.setattr("sys.executable", "/opt/my tools/python")
    with pytest.raises(ExtraMissing) as raised:
        extras.require(Extra.GGUF)
    error = raised.value
    assert (error.message, error.extra) == ("modelyard[gguf] is not installed.", {"extra": "gguf"})
    torch, transformers = (metadata.version(name) for name in ("torch", "transformers"))
    command = f"'/opt/my tools/python' -m pip install 'modelyard[gguf]' torch=={torch} transformers=={transformers}"
    assert error.hint == f"Converting GGUF files needs it. Run: {command} and restart Modelyard."
    extras.require(Extra.TORCH)


def test_where_there_is_no_pip_the_command_is_that_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    known = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "pip" else known(name))
    monkeypatch.setattr("sys.executable", "/opt/python")
    command = extras.install_command(Extra.REDIS)
    assert command.startswith("uv pip install --python /opt/python 'modelyard[redis]' torch==")


def test_training_keeps_a_code_of_its_own() -> None:
    error = extras.missing(Extra.SAE)
    assert isinstance(error, SaeEngineMissing)
    assert isinstance(error_from(error.as_dict()), SaeEngineMissing)
