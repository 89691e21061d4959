"""What a repository says about generating text: used where it belongs to the model, harmless everywhere else."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

from ml.generation.generating import generate
from modelyard.core.errors import InvalidRequest, OutputNotFinite, UnsupportedArchitecture
from modelyard.core.model_types import generates_text
from modelyard.ml.generation.text_generation import require_language_head
from modelyard.ml.model_loader import LoadedModel, LoadSpec, ModelLoader
from modelyard.ml.quantize.artifact import make_artifact
from modelyard.ml.quantize.artifact_folder import ArtifactRequest
from support.samples import sample_models

PROMPT = "The import statement binds a name"

# Each makes transformers refuse, crash, or answer something else where it is taken over as it is.
ODD_SETTINGS: list[Any] = [
    {"stop_strings": [""]},
    {"stop_strings": ["never to be found"]},
    {"stop_strings": 5},
    {"num_return_sequences": 3},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    {"penalty_alpha": 0.6, "top_k": 4},
    {"dola_layers": "high"},
    {"eos_token_id": "2"},
    {"eos_token_id": ["2", None]},
    {"eos_token_id": [[2]]},
    {"pad_token_id": -1, "bos_token_id": 10**9},
    {"suppress_tokens": [10**9]},
    {"repetition_penalty": 0},
    {"repetition_penalty": "x"},
    {"no_repeat_ngram_size": "3"},
    {"temperature": "hot", "top_p": 7, "top_k": -1},
    {"max_length": 1, "max_new_tokens": 1, "min_length": 10**6},
    {"return_dict_in_generate": True, "output_scores": True},
    {"cache_implementation": "no such cache"},
    {"watermarking_config": {"bias": 3}},
    {"guidance_scale": 5, "use_cache": False, "prompt_lookup_num_tokens": 3},
    {"assistant_early_exit": 1},
    {"bad_words_ids": [[]], "sequence_bias": [[[1], 2]], "force_words_ids": [[1]]},
    {"trust_remote_code": True, "custom_generate": "owner/code"},
    {"early_stopping": "x"},
    {"do_sample": "yes"},
    [1],
    "text",
    None,
]


@pytest.fixture(scope="module")
def sample() -> Path:
    return sample_models() / "tiny-llama"


@pytest.fixture
def copied(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample, tmp_path / "model"))


@contextmanager
def loaded(folder: Path, dtype: str = "auto") -> Iterator[LoadedModel]:
    loader = ModelLoader()
    try:
        spec = LoadSpec("tests/model", "c" * 40, "none", folder, device="cpu", dtype=dtype)
        with loader.get(spec) as model:
            yield model
    finally:
        loader.close()


@pytest.mark.parametrize("settings", ODD_SETTINGS, ids=str)
def test_no_settings_keep_a_model_from_generating(copied: Path, settings: Any) -> None:
    (copied / "generation_config.json").write_text(json.dumps(settings))
    with loaded(copied) as model:
        for temperature in (0.0, 0.7):
            made = generate(model, prompt=PROMPT, max_new_tokens=4, temperature=temperature)
            assert made.new_tokens == 4
            assert made.finish_reason == "length"


def test_settings_that_are_no_json_are_left_out(copied: Path) -> None:
    (copied / "generation_config.json").write_bytes(b"\xff{")
    with loaded(copied) as model:
        assert generate(model, prompt=PROMPT, max_new_tokens=2).new_tokens == 2


def test_what_belongs_to_the_model_is_used(copied: Path) -> None:
    """Each is compared with the same model in memory: another load may round differently."""
    vocabulary = json.loads((copied / "config.json").read_text())["vocab_size"]
    ends = ["x", *range(vocabulary), 10**9]
    (copied / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    with loaded(copied, "float32") as model:
        ended = generate(model, prompt=PROMPT, max_new_tokens=12)
        assert (ended.finish_reason, ended.new_tokens) == ("stop", 1)
        model.model.generation_config.eos_token_id = None
        plain = generate(model, prompt=PROMPT, max_new_tokens=12)
        assert (plain.finish_reason, plain.new_tokens) == ("length", 12)
        assert plain.text.startswith(ended.text)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    (copied / "generation_config.json").write_text(json.dumps({"stop_strings": letters, "eos_token_id": None}))
    with loaded(copied, "float32") as model:
        ended = generate(model, prompt=PROMPT, max_new_tokens=12)
        model.stop_strings = ()
        plain = generate(model, prompt=PROMPT, max_new_tokens=12)
        assert ended.finish_reason == "stop"
        assert set(letters) & set(ended.text)
        assert len(ended.text) < len(plain.text)
        assert plain.text.startswith(ended.text)


def test_ids_beyond_the_embedding_are_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with loaded(copied) as model:
        rows = model.model.get_input_embeddings().weight.shape[0]
        shifted = _Shifted(model.tokenizer, rows)
        monkeypatch.setattr(type(model), "tokenizer", property(lambda _self: shifted))
        with pytest.raises(InvalidRequest, match=f"{rows:,} tokens"):
            generate(model, prompt=PROMPT)
        monkeypatch.undo()


class _Shifted:
    """The tokenizer of a larger vocabulary."""

    def __init__(self, tokenizer: Any, rows: int) -> None:
        self._tokenizer, self._rows = tokenizer, rows

    def encode(self, *arguments: Any, **options: Any) -> list[int]:
        return [token + self._rows for token in self._tokenizer.encode(*arguments, **options)]


def damage(folder: Path, value: float) -> None:
    """Make every logit of the model `value`, or overflow to it."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("norm.weight") and "layers" not in name)
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_output_that_is_not_finite_is_said_with_its_dtype(copied: Path, temperature: float) -> None:
    damage(copied, float("nan"))
    with loaded(copied, "float16") as model, pytest.raises(OutputNotFinite, match="not finite in float16"):
        generate(model, prompt=PROMPT, temperature=temperature)


def test_another_dtype_may_do(copied: Path) -> None:
    damage(copied, 1e30)
    with loaded(copied, "float16") as model, pytest.raises(OutputNotFinite, match="float16"):
        generate(model, prompt=PROMPT)
    with loaded(copied, "float32") as model:
        assert generate(model, prompt=PROMPT, max_new_tokens=2).new_tokens == 2


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_no_quantized_copy_is_kept_of_what_gives_no_tokens(copied: Path, tmp_path: Path, quantization: Any) -> None:
    damage(copied, float("nan"))
    target = tmp_path / "artifact"
    request = ArtifactRequest(
        source=str(copied), target=str(target), model_id="tests/model", commit="c" * 40, quantization=quantization
    )
    with pytest.raises(OutputNotFinite, match=quantization):
        make_artifact(request, lambda _report: None)
    assert not target.exists()


@pytest.mark.parametrize(
    "model",
    [
        lambda: BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=64)),
        lambda: GPT2Model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=64)),
    ],
    ids=["bert", "gpt2-without-head"],
)
def test_a_model_without_a_language_head_is_refused_unread(tmp_path: Path, model: Any) -> None:
    model().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UnsupportedArchitecture, match="no language head"):
        require_language_head(tmp_path)


def test_names_of_classes_tell_the_truth_about_language_heads() -> None:
    import transformers
    from transformers.models.auto import modeling_auto

    names: set[str] = set()
    for mapping, classes in vars(modeling_auto).items():
        if mapping.endswith("MAPPING_NAMES"):
            for found in classes.values():
                names.update((found,) if isinstance(found, str) else found)
    wrong = []
    for name in sorted(names):
        cls = getattr(transformers, name, None)
        if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
            continue
        said = generates_text(name)
        # Where the name says no, nobody is let through to be told otherwise.
        generates = cls.can_generate()  # type: ignore[attr-defined]
        if (said is False and generates) or (name.endswith("ForCausalLM") and said is not generates):
            wrong.append(name)
    assert len(names) > 500
    assert wrong == []
    assert generates_text(None) is None
