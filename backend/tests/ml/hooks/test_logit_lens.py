"""The logit lens, against the model's own tail."""

from pathlib import Path

import pytest
import torch

from ml.conftest import TinyModel
from modelyard.core.errors import InvalidRequest, UnsupportedArchitecture
from modelyard.ml.hooks.logit_lens import _likely, read_lens
from modelyard.ml.model_loader import LoadSpec, ModelLoader, never
from support.samples import sample_models

IDS = [5, 6, 7, 8]


def spec(folder: Path) -> LoadSpec:
    return LoadSpec(f"tests/{folder.name}", "c" * 40, "none", folder, device="cpu", dtype="float32")


@pytest.mark.parametrize("model_type", ["llama", "gemma2"])
def test_each_layer_goes_through_the_end_of_the_model(tiny_model: TinyModel, model_type: str) -> None:
    loader = ModelLoader()
    with loader.get(spec(tiny_model(model_type))) as loaded, torch.no_grad():
        model = loaded.model
        layers = [f"model.layers.{number}" for number in range(model.config.num_hidden_layers)]
        likely = _likely(model, IDS, layers, "model.norm", 3)
        output = model(input_ids=torch.tensor([IDS]), output_hidden_states=True)
        expected = output.logits[0].softmax(-1).topk(3)
        assert torch.allclose(likely[-1][0], expected.values, atol=1e-5)
        first = model.lm_head(model.model.norm(output.hidden_states[1]))[0]
        cap = getattr(model.config, "final_logit_softcapping", None)
        first = first if cap is None else torch.tanh(first / cap) * cap
        assert torch.allclose(likely[0][0], first.softmax(-1).topk(3).values, atol=1e-5)
        with pytest.raises(UnsupportedArchitecture, match="another way"):
            _likely(model, IDS, layers[:1], "model.norm", 3)
    loader.close()


def test_tokens_are_named_and_long_prompts_refused() -> None:
    loader = ModelLoader()
    with loader.get(spec(sample_models() / "tiny-llama")) as loaded:
        layers = [f"model.layers.{number}" for number in range(loaded.model.config.num_hidden_layers)]
        answer = read_lens(loaded, "import os", layers, "model.norm", 2, never)
        assert "".join(token["text"] for token in answer["tokens"]).endswith("import os")
        assert [layer["hook_point"] for layer in answer["layers"]] == layers
        for layer in answer["layers"]:
            assert [len(place) for place in layer["positions"]] == [2] * len(answer["tokens"])
        with pytest.raises(InvalidRequest, match="reads at most"):
            read_lens(loaded, "import os " * 600, layers, "model.norm", 2, never)
    loader.close()
