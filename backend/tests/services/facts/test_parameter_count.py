"""One number of parameters: what transformers makes of a checkpoint, whatever else its files hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.parameter_count import Described, Tied, count_parameters
from modelyard.services.facts.stored_tensors import compare_files

HEAD = Tied("lm_head.weight", "model.embed_tokens.weight", 1000, 2000)
EMBEDDING = Tensor("model.embed_tokens.weight", "BF16", (100, 10))
BODY = Tensor("model.layers.0.mlp.weight", "BF16", (1000, 10))
TWIN = Tensor("lm_head.weight", "BF16", (100, 10))
DESCRIBED = Described(11_000, (HEAD,), (r"rotary\.inv_freq",))


def _same(equal: bool | None) -> object:
    return lambda _first, _second: equal


@pytest.mark.parametrize(
    ("tensors", "equal", "total", "untied", "words"),
    [
        ((EMBEDDING, BODY), None, 11_000, 0, (None, None)),
        ((EMBEDDING, BODY, TWIN), True, 11_000, 0, (None, None)),
        ((EMBEDDING, BODY, TWIN), False, 12_000, 2000, (None, None)),
        ((EMBEDDING, BODY, TWIN), None, 12_000, 2000, ("they may differ", None)),
        # Only the head is stored: it serves as the embedding.
        ((TWIN, BODY), None, 11_000, 0, (None, None)),
        # The inner model alone was saved, without the beginning of its names.
        ((Tensor("embed_tokens.weight", "BF16", (100, 10)), BODY, TWIN), True, 11_000, 0, (None, None)),
        ((EMBEDDING, BODY, Tensor("model.layers.2.mlp.weight", "BF16", (9000,))), None, 11_000, 0,
         (None, r"model.layers.2 (9,000)")),
        ((EMBEDDING, BODY, Tensor("mtp.layers.0.mlp.weight", "BF16", (9000,))), None, 11_000, 0,
         (None, r"mtp.layers (9,000)")),
        ((EMBEDDING, BODY, Tensor("model.layers.0.rotary.inv_freq", "F32", (500,))), None, 11_000, 0,
         (None, r"model.layers.*.rotary.inv_freq (500)")),
        ((EMBEDDING, BODY, *(Tensor(f"model.layers.{n}.mtp_block.weight", "BF16", (10,)) for n in (0, 1, 2, 3))), None,
         11_000, 0, (None, r"model.layers.*.mtp_block.weight (20), model.layers.2 (10), model.layers.3 (10)")),
        ((EMBEDDING, BODY, Tensor("vision.layers.5.mlp.weight", "BF16", (9000,))), None, 11_000, 0,
         ("hold 20,000 parameters, the configuration describes 11,000", None)),
        ((), None, 11_000, 0, (None, None)),
    ],
)  # fmt: skip
def test_what_is_counted_and_what_is_said_of_the_rest(
    tensors: tuple[Tensor, ...], equal: bool | None, total: int, untied: int, words: tuple[str | None, str | None]
) -> None:
    found = count_parameters(DESCRIBED, tensors, 2, _same(equal))  # type: ignore[arg-type]

    assert (found.num_parameters, found.untied_bytes) == (total, untied)
    for told, expected in zip((found.doubt, found.left_out), words, strict=True):
        assert (told is None) == (expected is None)
        assert expected is None or expected in (told or "")


@pytest.mark.parametrize(
    ("tensors", "lacking"),
    [
        ((EMBEDDING, BODY), 0),
        ((TWIN, BODY), 0),
        ((EMBEDDING, BODY, TWIN), 0),
        ((EMBEDDING, BODY, Tensor("vision.layers.5.mlp.weight", "BF16", (9000,))), 0),
        ((EMBEDDING, BODY, Tensor("model.rotary.inv_freq", "F32", (3,))), 0),
        ((EMBEDDING, Tensor(BODY.name, "BF16", (9_997,))), 3),
        ((EMBEDDING, Tensor(BODY.name, "BF16", (9_997,)), Tensor("layers.0.rotary.inv_freq", "BF16", (3,))), 0),
        ((EMBEDDING,), 10_000),
        ((EMBEDDING, TWIN), 10_000),
        ((EMBEDDING, Tensor("mtp.layers.0.mlp.weight", "BF16", (10_000,))), 10_000),
        ((EMBEDDING, Tensor("model.layers.7.mlp.weight", "BF16", (10_000,))), 10_000),
        ((), 0),
    ],
)
@pytest.mark.parametrize("equal", [True, False, None])
def test_parameters_that_no_file_holds(tensors: tuple[Tensor, ...], lacking: int, equal: bool | None) -> None:
    assert count_parameters(DESCRIBED, tensors, 2, _same(equal)).lacking == lacking  # type: ignore[arg-type]


def test_answers_that_were_remembered_before_lack_a_part() -> None:
    assert Described.of({"num_parameters": 5}) == Described(5)
    assert Described.of({"level": "supported"}) is None
    answer = json.loads(json.dumps({"num_parameters": 5, "tied": [vars(HEAD)], "ignored": ["a"]}))
    assert Described.of(answer) == Described(5, (HEAD,), ("a",))


@pytest.mark.parametrize("size", [4, 1500, 4096, 50_000])
def test_contents_are_compared_wherever_they_lie(tmp_path: Path, size: int) -> None:
    first = torch.randn(size, generator=torch.Generator().manual_seed(0))
    other = first.clone()
    other[-1] += 1
    save_file({"pad": torch.ones(3), "a": first, "c": other}, tmp_path / "1.safetensors")
    save_file({"b": first.clone(), "d": first.double(), "e": first[:-1].contiguous()}, tmp_path / "2.safetensors")
    same = compare_files({path.name: path for path in tmp_path.iterdir()})

    assert same("a", "b") is True
    assert same("a", "c") is False
    assert same("a", "d") is False
    assert same("a", "e") is False
    (tmp_path / "2.safetensors").unlink()
    assert same("a", "c") is None
