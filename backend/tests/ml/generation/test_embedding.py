"""Embeddings of texts: the hidden states of the model itself, pooled as the repository says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modelyard.core.errors import ContextLengthExceeded, InvalidRepository, UnsupportedArchitecture
from modelyard.ml.generation.embedding import embed
from modelyard.ml.generation.pooling import Pooling, read_pooling
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.model_loader import LoadedModel, LoadSpec, ModelLoader
from support.samples import sample_models

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}


@pytest.fixture(scope="module")
def llama() -> Iterator[LoadedModel]:
    loader = ModelLoader()
    spec = LoadSpec("tests/tiny-llama", "c" * 40, "none", sample_models() / "tiny-llama", device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        yield loaded
    loader.close()


def repository(folder: Path, modules: Any, pooling: dict[str, Any]) -> Path:
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


@pytest.mark.parametrize("pooling", [Pooling(), Pooling("cls"), Pooling("lasttoken", normalize=True), Pooling("max")])
def test_a_vector_is_the_pooled_hidden_state(llama: LoadedModel, pooling: Pooling) -> None:
    ids = llama.tokenizer.encode("The import statement")
    made = embed(llama, ["The import statement", [5, 6]], pooling, lambda: False)
    assert made.prompt_tokens == len(ids) + 2
    with torch.no_grad():
        hidden = llama.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    expected = {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1], "max": hidden.amax(0)}[pooling.mode]
    if pooling.normalize:
        expected = expected / expected.norm()
    assert torch.allclose(torch.tensor(made.vectors[0]), expected, atol=1e-5)
    assert len(made.vectors[1]) == len(made.vectors[0])


def test_what_cannot_be_embedded_is_refused(llama: LoadedModel) -> None:
    with pytest.raises(ContextLengthExceeded):
        embed(llama, [[5] * (llama.model.config.max_position_embeddings + 1)], Pooling(), lambda: False)
    with pytest.raises(LoadCancelled):
        embed(llama, [[5]], Pooling(), lambda: True)


def test_a_repository_says_how_it_pools(tmp_path: Path) -> None:
    assert read_pooling(tmp_path, "a/b") == Pooling()
    repository(tmp_path, [TRANSFORMER, POOLING, NORMALIZE], {"pooling_mode_cls_token": True})
    assert read_pooling(tmp_path, "a/b") == Pooling("cls", normalize=True)


@pytest.mark.parametrize(
    ("modules", "pooling", "error"),
    [
        ([TRANSFORMER, POOLING, {"type": "sentence_transformers.models.Dense"}], {}, UnsupportedArchitecture),
        ([TRANSFORMER, POOLING], {"pooling_mode": "weightedmean"}, UnsupportedArchitecture),
        ([TRANSFORMER, POOLING | {"path": "../1_Pooling"}], {}, InvalidRepository),
        ({"a": 1}, {}, InvalidRepository),
        ([1], {}, InvalidRepository),
    ],
)
def test_a_pooling_that_is_not_known_is_refused(
    tmp_path: Path, modules: Any, pooling: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        read_pooling(repository(tmp_path, modules, pooling), "a/b")
