"""Tiny checkpoints, made once per session; and quiet libraries."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from ml import zoo

TinyModel = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes ask no Hub; other folders' tests, in the same process, may."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The folder of a tiny random checkpoint of a model type."""
    made: dict[str, Path] = {}

    def make(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = zoo.make(model_type, tmp_path_factory.mktemp(model_type))
        return made[model_type]

    return make
