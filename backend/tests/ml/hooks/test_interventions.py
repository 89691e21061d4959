"""Interventions, against plain hooks that a person writes; who asks for none is left alone."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ml.conftest import TinyModel
from modelyard.core.errors import InvalidRequest
from modelyard.ml.generation.generation_request import Generated, Options, Prompt
from modelyard.ml.generation.text_generation import generate
from modelyard.ml.hooks.direct import Wanted, read_directly
from modelyard.ml.hooks.interventions import Intervention
from modelyard.ml.model_loader import LoadedModel, LoadSpec, ModelLoader, never
from support.saes import K, make_sae
from support.samples import sample_models

PROMPT = [5, 6, 7, 8, 9]
NEW = 4
Change = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture(scope="module")
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


@pytest.fixture
def llama(loader: ModelLoader) -> Iterator[LoadedModel]:
    spec = LoadSpec("tests/tiny-llama", "c" * 40, "none", sample_models() / "tiny-llama", device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        yield loaded


def block(model: Any, number: int) -> str:
    lists = [(path, each) for path, each in model.named_modules() if isinstance(each, torch.nn.ModuleList)]
    path, _ = max(lists, key=lambda each: len(list(each[1].parameters())))
    return f"{path}.{number}"


def run(loaded: LoadedModel, *interventions: Intervention, **options: Any) -> Generated:
    settings: dict[str, Any] = {"max_new_tokens": NEW, "logprobs": 5, "echo": loaded.can_batch} | options
    return generate(loaded, [Prompt(token_ids=PROMPT)], Options(interventions=interventions, **settings))


@torch.no_grad()
def local(model: Any, path: str, change: Change, chosen: Callable[[int], bool], ids: list[int]) -> torch.Tensor:
    """The log-probabilities [tokens, vocabulary] of a whole text, with a hook that a person writes."""

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        values = output if isinstance(output, torch.Tensor) else output[0]
        changed = values.clone()
        for place in range(values.shape[1]):
            if chosen(place):
                changed[:, place] = change(values[:, place])
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    handle = model.get_submodule(path).register_forward_hook(hook)
    try:
        return model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    finally:
        handle.remove()


def assert_equal_to_local(
    loaded: LoadedModel, made: Generated, path: str, change: Change, chosen: Callable[[int], bool]
) -> None:
    [choice] = made.choices
    assert choice.tokens is not None
    ids = [token["id"] for token in choice.tokens]
    ids = ids if ids[: len(PROMPT)] == PROMPT else PROMPT + ids
    expected = local(loaded.model, path, change, chosen, ids)
    first = len(ids) - len(choice.tokens)
    seen = 0
    for place, token in enumerate(choice.tokens, first):
        for likely in (token, *token["top"]) if place else ():
            assert likely["logprob"] == pytest.approx(float(expected[place - 1, likely["id"]]), abs=1e-5)
            seen += 1
    assert seen >= NEW * 5
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())


def operations(width: int, path: str) -> list[tuple[Intervention, Change]]:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(1))
    unit = vector / vector.norm()
    return [
        (Intervention(path, "add", vector.tolist(), value=2.5), lambda values: values + 2.5 * vector),
        (Intervention(path, "scale", value=0.25), lambda values: values * 0.25),
        (Intervention(path, "zero"), torch.zeros_like),
        (Intervention(path, "project_out", vector.tolist()), lambda values: values - (values @ unit)[:, None] * unit),
    ]


def test_each_operation_changes_logits_as_a_local_hook_does(llama: LoadedModel) -> None:
    for point in ("model.layers.0", "model.layers.0.mlp"):
        for intervention, change in operations(llama.model.config.hidden_size, point):
            made = run(llama, intervention)
            assert_equal_to_local(llama, made, point, change, lambda _place: True)


@pytest.mark.parametrize(
    ("positions", "chosen"),
    [("generated", lambda place: place >= len(PROMPT)), ([1, len(PROMPT) + 1], lambda place: place in (1, 6))],
)
def test_only_the_chosen_tokens_are_changed(llama: LoadedModel, positions: Any, chosen: Callable[[int], bool]) -> None:
    width = llama.model.config.hidden_size
    made = run(llama, Intervention("model.layers.0", "add", [1.0] * width, value=3.0, positions=positions))
    assert_equal_to_local(llama, made, "model.layers.0", lambda values: values + 3.0, chosen)


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2", "mamba"])
def test_models_of_other_kinds_are_changed_too(loader: ModelLoader, tiny_model: TinyModel, model_type: str) -> None:
    folder = tiny_model(model_type)
    spec = LoadSpec(f"tests/{model_type}", "c" * 40, "none", folder, device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        path = block(loaded.model, 0)
        vector = torch.randn(loaded.model.config.hidden_size, generator=torch.Generator().manual_seed(2))
        for positions, chosen in (("all", lambda _place: True), ("generated", lambda place: place >= len(PROMPT))):
            change = Intervention(path, "add", vector.tolist(), positions=positions)  # type: ignore[arg-type]
            made = run_without_text(loaded, change)
            expected = local(loaded.model, path, lambda values: values + vector, chosen, PROMPT + made)
            for place, token in enumerate(made, len(PROMPT)):
                assert int(expected[place - 1].argmax()) == token


def run_without_text(loaded: LoadedModel, intervention: Intervention) -> list[int]:
    """The greedy tokens of a model that has no tokenizer."""
    from modelyard.ml.generation.sampling import TokenChooser
    from modelyard.ml.generation.sequence import Sequence
    from modelyard.ml.generation.text_generation import _running
    from modelyard.ml.hooks.interventions import Steering

    steering = Steering(loaded.model, [intervention])
    chooser = TokenChooser(loaded.model, "tests", Options(), 0, [])
    sequence = Sequence(PROMPT, NEW, chooser, frozenset(), threading.Event(), steering=steering)
    with _running(loaded, [[sequence]]):
        assert sequence.has_ended.wait(60)
    assert sequence.error is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in loaded.model.modules())
    return sequence.tokens


def test_several_are_done_in_their_order(llama: LoadedModel) -> None:
    width = llama.model.config.hidden_size
    made = run(
        llama, Intervention("model.layers.0", "add", [1.0] * width), Intervention("model.layers.0", "scale", value=0.5)
    )
    assert_equal_to_local(llama, made, "model.layers.0", lambda values: (values + 1) * 0.5, lambda _place: True)


def ids_of(made: Generated) -> list[int]:
    [choice] = made.choices
    assert choice.tokens is not None
    return [token["id"] for token in choice.tokens]


def test_others_are_left_alone_meanwhile(llama: LoadedModel) -> None:
    zero = Intervention("model.layers.0", "zero")
    alone, steered = ids_of(run(llama, max_new_tokens=20)), ids_of(run(llama, zero))
    assert steered != alone[: len(steered)]
    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(ids_of(run(llama, max_new_tokens=20)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    changed = [ids_of(run(llama, zero)) for _ in range(3)]
    for thread in threads:
        thread.join()
    assert results == [alone] * 3
    assert changed == [steered] * 3


def test_activations_are_read_behind_interventions(llama: LoadedModel) -> None:
    width = llama.model.config.hidden_size
    plain = read_directly(llama, Wanted({"a": "model.layers.0"}), [PROMPT], 0, never)
    wanted = Wanted({"a": "model.layers.0"}, interventions=[Intervention("model.layers.0", "zero", positions=[2])])
    changed = read_directly(llama, wanted, [PROMPT], 0, never)
    assert plain is not None
    assert changed is not None

    def values(answer: dict[str, Any]) -> torch.Tensor:
        import base64

        content = bytearray(base64.b64decode(answer["tensors"]["a"]["data"]))
        return torch.frombuffer(content, dtype=torch.float32).view(len(PROMPT), width)

    expected = values(plain).clone()
    expected[2] = 0
    assert torch.equal(values(changed), expected)


def test_what_does_not_fit_is_refused(llama: LoadedModel, tmp_path: Path) -> None:
    width, path = llama.model.config.hidden_size, "model.layers.0"
    save_file({"a": torch.ones(width), "b": torch.ones(width)}, tmp_path / "two.safetensors")
    (tmp_path / "none.safetensors").write_bytes(b"no")
    for intervention, reason in {
        Intervention(path, "add"): "needs a vector",
        Intervention(path, "add", (1.0, 2.0)): f"has 2 values; the hook point has {width}",
        Intervention(path, "add", (float("nan"),) * width): "not finite",
        Intervention(path, "project_out", (0.0,) * width): "is zero",
        Intervention(path, "zero", (1.0,) * width): "takes no vector",
        Intervention(path, "add", vector_path=tmp_path / "two.safetensors"): "holds 2 tensors",
        Intervention(path, "add", vector_path=tmp_path / "none.safetensors"): "cannot be read",
        Intervention(path, "sae_clamp"): "needs a sparse autoencoder",
        Intervention(path, "sae_add"): "'sae_add' is not available",
        Intervention("model.layer.0", "zero"): "no hook point",
        Intervention("model.layers", "zero"): "does not run",
    }.items():
        with pytest.raises(InvalidRequest, match=reason):
            run(llama, intervention)
    save_file({"v": torch.full((width,), 2.0)}, tmp_path / "one.safetensors")
    made = run(llama, Intervention(path, "add", vector_path=tmp_path / "one.safetensors"))
    assert_equal_to_local(llama, made, path, lambda values: values + 2, lambda _place: True)


SAE_FEATURES, SKIPPED = 96, 2
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "topk": {},
    "standard": {"activation_fn": "relu"},
    "normalised": {"normalize_activations": "layer_norm"},
}


@pytest.mark.sae
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saes_change_logits_as_a_local_hook_does(llama: LoadedModel, tmp_path: Path, architecture: str) -> None:
    from modelyard.ml.sae.inference import load_sae

    width, path = llama.model.config.hidden_size, "model.layers.0"
    folder = make_sae(tmp_path / "sae", d_in=width, d_sae=SAE_FEATURES, seqpos_slice=[SKIPPED, None])
    config = json.loads((folder / "cfg.json").read_text()) | ARCHITECTURES[architecture]
    if architecture != "normalised":
        config["architecture"] = architecture
    (folder / "cfg.json").write_text(json.dumps(config))
    sae = load_sae(folder)
    stored = load_file(folder / "sae_weights.safetensors")
    decoder = stored["W_dec"]

    def features(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The features, and what a unit of the decoder's directions is worth, without SAELens."""
        size = torch.ones(len(values), 1)
        if architecture == "normalised":
            centred = values - values.mean(-1, keepdim=True)
            size = centred.std(-1, keepdim=True)
            values = centred / (size + 1e-5)
        before = values @ stored["W_enc"] + stored["b_enc"]
        if architecture != "standard":
            before = before * (before >= before.topk(K, -1).values[:, -1:])
        return before.relu(), size

    def clamp(values: torch.Tensor) -> torch.Tensor:
        found, size = features(values)
        return values + (7.5 - found[:, 3:4]) * size * decoder[3]

    def replace(values: torch.Tensor) -> torch.Tensor:
        found, size = features(values)
        middle = values.mean(-1, keepdim=True) if architecture == "normalised" else 0
        return (found @ decoder) * size + middle

    for intervention, change in (
        (Intervention(path, "sae_clamp", value=7.5, sae=sae, feature=3), clamp),
        (Intervention(path, "sae_replace", sae=sae), replace),
    ):
        made = run(llama, intervention)
        assert_equal_to_local(llama, made, path, change, lambda place: place >= SKIPPED)
    made = run(llama, Intervention(path, "sae_clamp", value=7.5, sae=sae, feature=3, positions=[0]))
    assert_equal_to_local(llama, made, path, clamp, lambda place: place == 0)


@pytest.mark.sae
def test_saes_that_do_not_fit_are_refused(llama: LoadedModel, tmp_path: Path) -> None:
    from modelyard.ml.sae.inference import load_sae

    width, path = llama.model.config.hidden_size, "model.layers.0"
    narrow = load_sae(make_sae(tmp_path / "narrow", d_in=16))
    with pytest.raises(InvalidRequest, match=f"reads 16 values; the hook point has {width}"):
        run(llama, Intervention(path, "sae_replace", sae=narrow))
    fitting = load_sae(make_sae(tmp_path / "fitting", d_in=width, d_sae=SAE_FEATURES))
    with pytest.raises(InvalidRequest, match=f"no feature {SAE_FEATURES}"):
        run(llama, Intervention(path, "sae_clamp", sae=fitting, feature=SAE_FEATURES))
