"""Running one or two layers of each kind gives what running all of them gives, to the byte, at the same cost."""

import pytest

from ml import known_exceptions, zoo
from modelyard.ml.inspect import activations, architecture, kv_cache, layers, meta_model

TIMES = 6
NO_DEEPER_CONFIG = {
    "bamba": "its configuration class refuses what it writes itself",
    "falcon_h1": "its configuration class refuses what it writes itself",
    "gemma4_unified": "its configuration class refuses a longer list of layers",
    "gemma4_unified_text": "its configuration class refuses a longer list of layers",
    "granitemoehybrid": "its configuration class refuses what it writes itself",
    "reformer": "its depth is the length of attn_layers, and two of its other lists are as long as it has layers",
}
# Nothing is saved: every layer is of a kind of its own, or the kinds are too many for twelve layers.
TOO_MANY_KINDS = {"beam", "flint", "hrm_text", "lfm2_moe", "llama4_text", "longcat_flash", "nemotron_h", "xlm"}
LLAMA = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "vocab_size": 1000}


@pytest.mark.parametrize(
    "model_type", zoo.cases(without={*NO_DEEPER_CONFIG, *TOO_MANY_KINDS, *known_exceptions.NOT_RUNNABLE})
)
def test_a_few_layers_tell_what_all_of_them_hold(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = zoo.deep_config(model_type, TIMES)
    assert layers.few_kinds(meta_model.build(config)) is not None

    of_few = _held(config)
    monkeypatch.setattr(kv_cache, "few_kinds", lambda _skeleton: None)
    monkeypatch.setattr(activations, "few_kinds", lambda _skeleton: None)

    assert of_few == _held(config)


@pytest.mark.parametrize("model_type", zoo.cases(without=NO_DEEPER_CONFIG))
def test_a_few_layers_show_the_same_architecture(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = zoo.deep_config(model_type, TIMES)
    of_few = architecture.inspect_architecture(meta_model.build(config))
    monkeypatch.setattr(architecture, "few_kinds", lambda _skeleton: None)

    assert of_few == architecture.inspect_architecture(meta_model.build(config))


def _held(config: dict[str, object]) -> object:
    skeleton = meta_model.build(config)
    quantizations = ("8bit", "4bit")
    peak = activations.measure_activations(skeleton, batch=1, sequence=64, quantizations=quantizations)
    if peak.activation_bytes is None:
        return peak.reason
    meter = kv_cache.CacheMeter(meta_model.build(config))
    return peak, [meter.bytes(tokens) for tokens in (24, 100)]


def test_depth_costs_no_more_passes_through_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(depth: int) -> int:
        skeleton = meta_model.build({**LLAMA, "num_hidden_layers": depth})
        seen = []
        for name, module in skeleton.model.named_modules():
            if name.endswith("self_attn"):
                module.register_forward_pre_hook(lambda *_: seen.append(1))
        # How long a prompt is affordable depends on the clock; both depths ask for the same one.
        monkeypatch.setattr(kv_cache._Probe, "affordable_length", lambda _self: 4096)
        kv_cache.measure_kv_cache(skeleton)
        activations.measure_activations(skeleton, batch=1, sequence=64)
        architecture.inspect_architecture(skeleton)
        return len(seen)

    assert passes(8) == passes(80)


def test_a_layer_that_differs_is_not_counted_as_its_neighbour() -> None:
    config = {**LLAMA, "model_type": "gemma2", "num_hidden_layers": 12, "sliding_window": 64}
    kinds = layers.layer_kinds(meta_model.build(config))

    assert kinds is not None
    assert sorted(kinds.kinds) == [tuple(range(0, 12, 2)), tuple(range(1, 12, 2))]


def test_the_model_runs_whole_again_afterwards() -> None:
    skeleton = meta_model.build({**LLAMA, "num_hidden_layers": 8})
    before = activations.measure_activations(skeleton, batch=1, sequence=32)
    kinds = layers.layer_kinds(skeleton)
    assert kinds is not None

    assert not any("forward" in vars(layer) for layer in kinds.layers)
    assert activations.measure_activations(skeleton, batch=1, sequence=32) == before


@pytest.mark.parametrize(
    ("name", "is_window"),
    [
        ("sliding_window", True),
        ("attention_window_size", True),
        ("attention_chunk_size", True),
        ("local_window", True),
        ("max_window_layers", False),
        ("sliding_window_pattern", False),
    ],
)
def test_only_lengths_of_windows_are_probed(name: str, is_window: bool) -> None:
    assert list(kv_cache._config_windows({name: 512})) == ([512] if is_window else [])
