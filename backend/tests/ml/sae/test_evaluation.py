"""The figures of an evaluation, recomputed from the model's own activations and logits without SAELens."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ml import zoo
from modelyard.core.errors import InvalidRepository, InvalidRequest
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.sae.inference import LoadedSae, load_sae
from modelyard.ml.sae.sae_work import SaeWork
from support.saes import make_sae

WORDS, CONTEXT, SKIP, D_IN, D_SAE = 180, 32, 2, 128, 256
HOOK = "model.layers.1"
SPECIAL = {0, 1}
"""<end> and <begin>."""

pytestmark = pytest.mark.sae


def work(**changes: Any) -> SaeWork:
    fields: dict[str, Any] = {
        "kind": "evaluate", "folder": "", "sae_folder": "", "weights_folder": "", "model_id": "tests/tiny",
        "allow_pickle": False, "dtype": "float32", "hook_point": HOOK, "dataset_path": "", "dataset_column": "text",
        "path_rules": {}, "held_out": False, "tokens": 40 * CONTEXT, "device": "cpu",
    }  # fmt: skip
    return SaeWork(**fields | changes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.make("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedSae:
    folder = make_sae(
        tmp_path_factory.mktemp("saes") / "sae", d_in=D_IN, d_sae=D_SAE, context_size=CONTEXT,
        seqpos_slice=[SKIP, None], prepend_bos=True, exclude_special_tokens=[0, 1],
    )  # fmt: skip
    return load_sae(folder)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    words = {"<end>": 0, "<begin>": 1, "<unk>": 2} | {f"w{number}": number + 3 for number in range(WORDS)}
    vocabulary = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    vocabulary.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=vocabulary, unk_token="<unk>", bos_token="<begin>", eos_token="<end>"
    )


def texts(rows: int = 60) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    return [
        " ".join(f"w{number}" for number in torch.randint(WORDS, (30,), generator=generator).tolist())
        for _ in range(rows)
    ]


def output_of(model: Any, tokens: torch.Tensor, replace: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The hook point's output and the logits of a plain forward pass, in which `replace` changes the output."""
    seen: list[torch.Tensor] = []

    def hook(_block: Any, _args: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        seen.append(value.clone())
        changed = value if replace is None else replace(value)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = model.get_submodule(HOOK).register_forward_hook(hook)
    try:
        with torch.no_grad():
            logits = model(tokens).logits
    finally:
        handle.remove()
    return seen[0], logits


def test_the_figures_are_those_of_a_plain_recomputation(weights: Path, loaded: LoadedSae, tokenizer: Any) -> None:
    from modelyard.ml.sae.evaluation import evaluate
    from modelyard.ml.sae.reading import Reading

    reports: list[dict[str, Any]] = []
    reading = Reading(work(), loaded, load_model(weights, dtype="float32"), tokenizer, texts())
    found = evaluate(loaded, reading, reports.append)

    tokens = reading.contexts
    assert tokens.shape == (40, CONTEXT)
    assert bool((tokens[:, 0] == 1).all()), "every context begins as in training"
    counts = torch.tensor(
        [[place >= SKIP and int(token) not in SPECIAL for place, token in enumerate(row)] for row in tokens]
    )
    model, sae = load_model(weights, dtype="float32"), loaded.sae

    def spliced(value: torch.Tensor) -> torch.Tensor:
        kept = (torch.arange(CONTEXT) < SKIP) | torch.isin(tokens, torch.tensor(sorted(SPECIAL)))
        return torch.where(kept[..., None], value, sae.decode(sae.encode(value)))

    given, clean = output_of(model, tokens)
    _, reconstructed = output_of(model, tokens, spliced)
    _, zeroed = output_of(model, tokens, torch.zeros_like)
    features = sae.encode(given)[counts]
    wanted, rebuilt = given[counts], sae.decode(sae.encode(given))[counts]
    error = (wanted - rebuilt).pow(2).sum(-1)
    variance = (wanted - wanted.mean(0)).pow(2).sum(-1)

    def loss(logits: torch.Tensor) -> float:
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
        )
        return float(each[counts[:, :-1].reshape(-1)].mean())

    density = (features != 0).float().mean(0)
    expected = {
        "tokens": int(counts.sum()),
        "explained_variance": float(1 - error.mean() / variance.mean()),
        "explained_variance_per_token": float((1 - error / variance).mean()),
        "mse": float(error.mean()),
        "cosine": float(torch.nn.functional.cosine_similarity(wanted, rebuilt, dim=-1).mean()),
        "l0": float((features != 0).sum(-1).float().mean()),
        "dead_features": int((density == 0).sum()),
        "dense_features": int((density > 0.1).sum()),
        "ce_clean": loss(clean),
        "ce_reconstructed": loss(reconstructed),
        "ce_zero": loss(zeroed),
        "shrinkage": float((rebuilt.norm(dim=-1) / wanted.norm(dim=-1)).mean()),
    }
    expected["loss_recovered"] = (expected["ce_zero"] - expected["ce_reconstructed"]) / (
        expected["ce_zero"] - expected["ce_clean"]
    )
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-5)
    histogram = found["density_histogram"]
    assert sum(histogram["counts"]) == D_SAE - expected["dead_features"]
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    for low, high, number in zip(histogram["edges"], histogram["edges"][1:], histogram["counts"], strict=False):
        inside = (torch.log10(density) > low + 1e-9) & (torch.log10(density) <= high + 1e-9)
        assert int(inside.sum()) == number, (low, high)
    assert {report["phase"] for report in reports} == {"reconstructing", "measuring_loss"}
    assert all(report["total"] == tokens.numel() and report["done"] < report["total"] for report in reports)


def test_half_precision_costs_no_digits_of_the_loss(weights: Path, loaded: LoadedSae, tokenizer: Any) -> None:
    from modelyard.ml.sae.evaluation import evaluate
    from modelyard.ml.sae.reading import Reading

    reading = Reading(work(), loaded, load_model(weights, dtype="bfloat16"), tokenizer, texts())
    found = evaluate(loaded, reading, lambda _report: None)
    model = load_model(weights, dtype="bfloat16")
    _, logits = output_of(model, reading.contexts)
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().reshape(-1, logits.shape[-1]), reading.contexts[:, 1:].reshape(-1), reduction="none"
    )
    counts = reading.counted(reading.contexts)[:, :-1].reshape(-1)
    assert found["ce_clean"] == pytest.approx(float(each[counts].mean()), rel=1e-4)
    assert math.isfinite(found["loss_recovered"])


def test_too_short_a_text_is_refused(weights: Path, loaded: LoadedSae, tokenizer: Any) -> None:
    from modelyard.ml.sae.reading import Reading

    with pytest.raises(InvalidRequest, match="less than one context of 32 tokens"):
        Reading(work(), loaded, load_model(weights, dtype="float32"), tokenizer, ["w1 w2"])


def test_an_sae_of_attention_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRepository, match="attention heads"):
        load_sae(make_sae(tmp_path / "heads", hook_name="blocks.1.attn.hook_q"))


def test_weights_that_saelens_does_not_take_are_refused(tmp_path: Path) -> None:
    folder = make_sae(tmp_path / "odd")
    config = (folder / "cfg.json").read_text().replace('"topk"', '"gated"')
    (folder / "cfg.json").write_text(config)
    with pytest.raises(InvalidRepository, match="SAELens cannot load"):
        load_sae(folder)
