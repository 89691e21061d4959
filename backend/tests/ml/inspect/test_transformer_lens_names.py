"""A hook point's TransformerLens name means the same tensor there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ml import zoo
from modelyard.ml.inspect import meta_model
from modelyard.ml.inspect.architecture import HookPoint, inspect_architecture
from modelyard.ml.inspect.transformer_lens_names import KNOWN_TYPES

pytestmark = pytest.mark.sae

IDS = torch.arange(3, 13).reshape(1, -1)
SAMPLE = ("gpt2", "llama")


def _made(model_type: str) -> tuple[Any, list[HookPoint]]:
    """A model in float32 whose norms and biases are as uneven as trained ones, and its hook points with a name."""
    config = zoo.tiny_config(model_type)
    config.dtype, config._attn_implementation = torch.float32, "eager"
    torch.manual_seed(0)
    model = getattr(transformers, config.architectures[0])(config).float().eval()
    zoo.scatter_norms(model)
    found = inspect_architecture(meta_model.build(config.to_dict() | {"architectures": config.architectures}))
    return model, [point for point in found.hook_points if point.transformer_lens]


def _run(model: Any, points: list[HookPoint]) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Any:
        def note(_module: Any, _args: Any, output: Any) -> None:
            seen[path] = (output[0] if isinstance(output, tuple) else output).clone()

        return note

    handles = [model.get_submodule(point.path).register_forward_hook(keep(point.path)) for point in points]
    with torch.inference_mode():
        model(IDS)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize(
    "model_type",
    [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.thorough) for name in sorted(KNOWN_TYPES)],
)
def test_names_mean_the_same_tensors(model_type: str, tmp_path: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model, points = _made(model_type)
    assert points
    seen = _run(model, points)
    words = Tokenizer(models.WordLevel({str(number): number for number in range(320)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="0", eos_token="1", pad_token="2").save_pretrained(
        tmp_path
    )
    model.config.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # the bridge reads it once more, from where it came
    bridge = TransformerBridge.boot_transformers(
        model_type, hf_model=model, tokenizer=tokenizer, dtype=torch.float32, device="cpu"
    )
    with torch.inference_mode():
        _, cache = bridge.run_with_cache(IDS)
    for point in points:
        named = cache[point.transformer_lens].reshape(seen[point.path].shape)
        torch.testing.assert_close(named, seen[point.path], atol=1e-4, rtol=1e-4, msg=f"{point.path}")
