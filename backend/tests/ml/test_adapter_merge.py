"""An adapter merged into its base: PEFT's own merge, the same answers, and nothing where it cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from modelyard.core.errors import Conflict, DiskFull, ModelyardError, OutOfMemory, OutputNotFinite, UnsupportedAdapter
from modelyard.ml import adapter_merge
from modelyard.ml.adapter_merge import MergeRequest, merge
from modelyard.ml.loading import devices
from modelyard.ml.loading.pretrained import load_model
from support.adapters import make_adapter
from support.samples import sample_models

IDS = torch.tensor([[5, 17, 99, 3, 42, 7]])
EPSILON = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 2e-1}
"""How far logits may be apart after the weights were rounded to a dtype."""


def _base(folder: Path, dtype: str = "float32") -> Path:
    """Write the sample model in a dtype; its embeddings are not tied."""
    source = sample_models() / "tiny-llama"
    model = load_model(source)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def _merge(base: Path, adapter: Path, folder: Path, reports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    request = MergeRequest(str(folder), str(base), "tests/base", "b" * 40, str(adapter), "tests/lora", "a" * 40)
    return merge(request, (lambda _report: None) if reports is None else reports.append)


@torch.no_grad()
def _logits(model: Any) -> torch.Tensor:
    return model(input_ids=IDS).logits.float()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_merged_model_answers_as_base_and_adapter_and_as_peft_merges(tmp_path: Path, dtype: str) -> None:
    base = _base(tmp_path / "base", dtype)
    settings: dict[str, Any] = {
        "target_modules": "all-linear",
        "lora_alpha": 1,
        "use_rslora": True,
        "rank_pattern": {"v_proj": 2},
    }
    adapter = make_adapter(base, tmp_path / "adapter", of="tests/base", dtype=dtype, **settings)
    reports: list[dict[str, Any]] = []

    made = _merge(base, adapter, tmp_path / "work", reports)

    folder = tmp_path / "work/model"
    model = load_model(folder)
    with torch.no_grad():
        adapted = peft.PeftModel.from_pretrained(load_model(base), adapter).eval()
        expected = _logits(adapted)
        theirs = adapted.merge_and_unload()
    ours = dict(model.named_parameters())
    for name, weight in theirs.named_parameters():
        assert (str(ours[name].dtype), ours[name].dtype) == (f"torch.{dtype}", weight.dtype)
        torch.testing.assert_close(ours[name], weight, rtol=2 * torch.finfo(weight.dtype).eps, atol=1e-7)
    answers, bare = _logits(model), _logits(load_model(base))
    near, far = (answers - expected).abs().max(), (answers - bare).abs().max()
    assert near < EPSILON[dtype] < far / 5
    assert torch.allclose(answers, _logits(theirs), atol=EPSILON[dtype])
    assert made["drift"]["compared_dtype"] == dtype
    assert made["drift"]["kl_mean"] < EPSILON[dtype]
    assert made["drift"]["top1_agreement"] > 0.7
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "README.md"} <= made[
        "files"
    ].keys()
    card = (folder / "README.md").read_text()
    assert all(text in card for text in ("tests/base", "b" * 40, "tests/lora", "a" * 40))
    assert [report["phase"] for report in reports] == ["merging"] * 4 + ["checking"] * 2
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["model"]


def test_layers_with_turned_weights_and_embeddings_are_merged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=2, n_positions=64, tie_word_embeddings=False)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    adapter = make_adapter(
        tmp_path / "base", tmp_path / "adapter", of="tests/base", target_modules=["c_attn", "c_proj", "wte"]
    )

    made = _merge(tmp_path / "base", adapter, tmp_path / "work")

    expected = _logits(peft.PeftModel.from_pretrained(load_model(tmp_path / "base"), adapter).eval())
    assert torch.allclose(_logits(load_model(tmp_path / "work/model")), expected, atol=1e-4)
    assert made["drift"]["kl_max"] < 1e-4


def _tied(folder: Path) -> tuple[Path, Path]:
    config = GPT2Config(vocab_size=128, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(folder / "base")
    adapter = make_adapter(folder / "base", folder / "adapter", of="tests/base", target_modules=["wte"])
    return folder / "base", adapter


def _too_large(folder: Path) -> tuple[Path, Path]:
    base = _base(folder / "base", "float16")
    return base, make_adapter(base, folder / "adapter", of="tests/base", lora_alpha=10**7)


def _plain(folder: Path) -> tuple[Path, Path]:
    base = _base(folder / "base")
    return base, make_adapter(base, folder / "adapter", of="tests/base")


@pytest.mark.parametrize(
    ("make", "fault", "error", "message"),
    [
        (_tied, None, UnsupportedAdapter, "tied"),
        (_too_large, None, OutputNotFinite, "not finite in float16"),
        (_plain, (adapter_merge, "DISK_RESERVE_BYTES", 2**62), DiskFull, "The merged model needs"),
        (_plain, (devices, "free_bytes", lambda _device: 1000), OutOfMemory, "Merging tests/lora with tests/base"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_nothing_stays(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], tuple[Path, Path]],
    fault: tuple[Any, str, Any] | None,
    error: type[ModelyardError],
    message: str,
) -> None:
    base, adapter = make(tmp_path)
    if fault is not None:
        monkeypatch.setattr(*fault)
    with pytest.raises(error, match=message):
        _merge(base, adapter, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_base_that_is_deleted_meanwhile_makes_no_model(tmp_path: Path) -> None:
    base, adapter = _plain(tmp_path)

    class Deletes(list[dict[str, Any]]):
        def append(self, report: dict[str, Any]) -> None:
            if report["message"] == "adding the adapter":
                (base / "tokenizer.json").unlink()

    with pytest.raises(Conflict, match="removed while"):
        _merge(base, adapter, tmp_path / "work", Deletes())
    assert not (tmp_path / "work").exists()
