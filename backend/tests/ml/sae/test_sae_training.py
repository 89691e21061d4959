"""What a run trains on and what its figures are about, with the real engine on a model with outliers."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ml import zoo
from modelyard.core.errors import InvalidRequest
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.sae.beginning import Beginning, find_beginning
from modelyard.ml.sae.engine import Metrics, TrainingRun, load_engine
from modelyard.ml.sae.held_out import KEPT_BACK_EVERY, explained, kept_back_texts, trained_texts

WORDS = 180
CONTEXT = 32
RUN = TrainingRun(
    folder="", weights_folder="", model_id="tests/tiny", commit="c" * 40, quantization="none", allow_pickle=False,
    dtype="float32", hook_point="model.layers.1", d_in=128, d_sae=512, architecture="topk", k=16, l1_coefficient=None,
    dataset_path="corpus.jsonl", dataset_column="text", path_rules={}, training_tokens=12_288, context_size=CONTEXT,
    batch_tokens=512, learning_rate=0.002, seed=0, device="cpu", planned_bytes=0, checkpoint_seconds=600,
)  # fmt: skip


def test_every_twentieth_row_is_kept_back() -> None:
    rows = [str(number) for number in range(1, 45)]
    assert list(kept_back_texts(lambda: rows)()) == ["20", "40"]
    assert list(trained_texts(lambda: rows)()) == [row for row in rows if row not in ("20", "40")]
    assert list(kept_back_texts(lambda: rows[: KEPT_BACK_EVERY - 1])()) == []


def test_a_few_tokens_of_large_norm_decide_the_pooled_figure_only() -> None:
    torch.manual_seed(0)
    sae_in = torch.randn(1000, 64)
    rebuilt = sae_in + torch.randn(1000, 64) * math.sqrt(0.3)
    plain = explained(sae_in, rebuilt)
    assert plain.pooled == pytest.approx(0.7, abs=0.02)
    assert plain.per_token == pytest.approx(0.7, abs=0.02)
    sae_in[0], rebuilt[0] = 200.0, 199.0
    outlier = explained(sae_in, rebuilt)
    assert outlier.pooled is not None
    assert outlier.pooled > 0.99
    assert outlier.per_token == pytest.approx(0.7, abs=0.05)


def test_what_is_no_number_is_unknown() -> None:
    nothing = torch.zeros(3, 4)
    assert asdict(explained(nothing, nothing)) == {"pooled": None, "per_token": None}


class Vocabulary:
    bos_token, bos_token_id, eos_token_id = "<|im_start|>", 1, 2

    def get_vocab(self) -> dict[str, int]:
        return {"<|im_start|>": 1, "<|im_end|>": 2, "<|endoftext|>": 0}


class NoBeginning(Vocabulary):
    bos_token = bos_token_id = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("tokenizer", "wanted", "found"),
    [
        (Vocabulary(), "auto", Beginning("<|im_start|>", 1, 1)),
        (Vocabulary(), "none", Beginning(None, None, 2)),
        (Vocabulary(), "<|endoftext|>", Beginning("<|endoftext|>", 0, 0)),
        (NoBeginning(), "auto", Beginning(None, None, 2)),
    ],
)
def test_a_context_begins_with_what_was_chosen(tokenizer: Any, wanted: str, found: Beginning) -> None:
    assert find_beginning(tokenizer, wanted) == found


def test_a_beginning_the_tokenizer_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no token '<s>'"):
        find_beginning(Vocabulary(), "<s>")


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A tiny model whose second position is an outlier, as in trained models, and a tokenizer of made-up words."""
    folder = zoo.make("llama", tmp_path_factory.mktemp("llama"))
    model = load_model(folder, dtype="float32")

    def massive(_block: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, 1, 0] += 100 * output.norm(dim=-1).mean()
        return output

    model.get_submodule("model.layers.1").register_forward_hook(massive)
    words = {"<end>": 0, "<begin>": 1, "<other>": 2, "<unk>": 3} | {f"w{number}": number + 4 for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return model, PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<begin>", eos_token="<end>",
        additional_special_tokens=["<other>"],
    )  # fmt: skip


def rows() -> list[str]:
    generator = torch.Generator().manual_seed(0)
    return [
        " ".join(f"w{number}" for number in torch.randint(WORDS, (60,), generator=generator).tolist())
        for _ in range(400)
    ]


def trained(model_and_tokenizer: tuple[Any, Any], run: TrainingRun) -> tuple[list[Metrics], torch.Tensor]:
    """The figures of every step, and what the model read."""
    model, tokenizer = model_and_tokenizer
    seen: list[torch.Tensor] = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _module, args: seen.append(args[0].clone()))
    texts, figures = rows(), []
    try:
        load_engine().train(
            run, model, tokenizer, lambda: texts,
            on_step=lambda _step, _tokens, metrics: figures.append(metrics()),
            on_gathered=lambda *_: None, should_stop=lambda: False,
        )  # fmt: skip
    finally:
        handle.remove()
    return figures, torch.cat(seen)


@pytest.mark.sae
def test_outliers_at_the_beginning_decide_nothing_when_they_are_left_out(
    model_and_tokenizer: tuple[Any, Any], tmp_path: Path
) -> None:
    plain = trained(model_and_tokenizer, replace(RUN, folder=str(tmp_path / "0")))[0][-1]
    skipping = trained(model_and_tokenizer, replace(RUN, folder=str(tmp_path / "2"), skip_positions=2))[0]
    last = skipping[-1]
    assert plain.explained_variance is not None
    assert plain.explained_variance_per_token is not None
    assert abs(plain.explained_variance - plain.explained_variance_per_token) > 0.2, "outliers decide what is pooled"
    figures = (
        last.explained_variance,
        last.explained_variance_per_token,
        last.held_out_explained_variance,
        last.held_out_explained_variance_per_token,
    )
    assert max(figures) - min(figures) < 0.1, figures  # type: ignore[type-var, operator]
    assert last.held_out_explained_variance > skipping[0].held_out_explained_variance  # type: ignore[operator]


@pytest.mark.sae
@pytest.mark.parametrize(("beginning", "first"), [("auto", 1), ("<other>", 2), ("none", None)])
def test_the_model_reads_contexts_that_begin_as_was_chosen(
    model_and_tokenizer: tuple[Any, Any], tmp_path: Path, beginning: str, first: int | None
) -> None:
    from sae_lens import SAE

    run = replace(RUN, folder=str(tmp_path), beginning=beginning, training_tokens=1024)
    _, read = trained(model_and_tokenizer, run)
    assert read.shape[1] == CONTEXT
    if first is None:
        assert not bool((read == 1).any())
    else:
        assert bool((read[:, 0] == first).all())
    metadata = SAE.load_from_disk(run.output).cfg.metadata
    assert (metadata.prepend_bos, metadata.beginning_token_id) == (first is not None, first)


@pytest.mark.sae
def test_text_that_is_kept_back_is_not_trained_on(model_and_tokenizer: tuple[Any, Any], tmp_path: Path) -> None:
    held_out = {int(word[1:]) + 4 for word in ["w170", "w171", "w172"]}
    texts = [f"w{number % 160} w{number % 150}" if number % 20 else "w170 w171 w172 " * 20 for number in range(1, 1001)]
    model, tokenizer = model_and_tokenizer
    seen: list[torch.Tensor] = []
    handle = model.get_input_embeddings().register_forward_pre_hook(lambda _module, args: seen.append(args[0].clone()))
    try:
        load_engine().train(
            replace(RUN, folder=str(tmp_path), training_tokens=1024), model, tokenizer, lambda: texts,
            on_step=lambda *_: None, on_gathered=lambda *_: None, should_stop=lambda: False,
        )  # fmt: skip
    finally:
        handle.remove()
    alone = [set(batch.flatten().tolist()) & held_out for batch in seen]
    first_trained = next(index for index, batch in enumerate(seen) if batch.shape[0] > 1)
    assert all(alone[:first_trained])
    assert not any(alone[first_trained:])
