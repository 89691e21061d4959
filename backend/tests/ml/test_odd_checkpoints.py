"""What is about to be loaded is looked at again: a snapshot's bytes may have changed since it was ready."""

import json
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.errors import ModelyardError, NoWeights, UnsupportedArchitecture
from modelyard.ml.inspect.inspector import Inspector
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.model_loader import LoadCancelled, LoadSpec, ModelLoader
from support.odd_models import USABLE
from support.odd_repositories import INDEX, ODD, config, write_model, write_odd, write_shards
from support.warm import forking


@pytest.mark.parametrize("name", ODD)
def test_a_folder_is_loaded_whole_or_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    words, folder = ODD[name][1], write_odd(name, tmp_path / "model")
    if words is None:
        assert load_model(folder).num_parameters() > 0
        return
    began = time.monotonic()
    with pytest.raises(ModelyardError) as refused:
        load_model(folder)
    assert words in refused.value.message
    assert time.monotonic() - began < 20


def test_an_index_does_not_make_transformers_read_outside_of_the_snapshot(tmp_path: Path) -> None:
    """The files outside are whole and would be loaded."""
    write_shards(tmp_path / "outside")
    inside = tmp_path / "snapshot"
    for named in (str(tmp_path / "outside"), "../outside"):
        shutil.copytree(tmp_path / "outside", inside)
        index = json.loads((inside / INDEX).read_text())
        index["weight_map"] = {key: f"{named}/{file}" for key, file in index["weight_map"].items()}
        (inside / INDEX).write_text(json.dumps(index))
        with pytest.raises(NoWeights, match="not a file inside the repository"):
            load_model(inside)
        shutil.rmtree(inside)


def test_a_folder_that_is_a_link_does_not_lead_an_index_outside(tmp_path: Path) -> None:
    write_shards(tmp_path / "outside", files=["x.safetensors", "y.safetensors"])
    write_shards(tmp_path / "snapshot", files=["shards/x.safetensors", "shards/y.safetensors"])
    shutil.rmtree(tmp_path / "snapshot" / "shards")
    (tmp_path / "snapshot" / "shards").symlink_to(tmp_path / "outside")
    with pytest.raises(NoWeights, match=r"shards/x\.safetensors"):
        load_model(tmp_path / "snapshot")


def test_a_configuration_does_not_name_other_weights(tmp_path: Path) -> None:
    write_model(tmp_path / "model", transformers_weights="elsewhere.safetensors")
    assert load_model(tmp_path / "model").num_parameters() > 0


def test_an_adapter_beside_the_weights_is_not_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would apply it, pickle files included, wherever PEFT is installed."""
    monkeypatch.setattr("transformers.integrations.peft.is_peft_available", lambda: True)
    USABLE["adapter-beside-it"](tmp_path / "model")
    write_model(tmp_path / "plain")
    loaded, plain = (load_model(tmp_path / name).state_dict() for name in ("model", "plain"))
    assert loaded.keys() == plain.keys()


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 9_000}, {"hidden_size": 65_536}, {"vocab_size": 10**8}])
def test_more_than_the_weights_hold_is_refused_while_it_is_built(changes: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path / "model", **changes)
    [(key, value)] = changes.items()
    with pytest.raises(UnsupportedArchitecture, match=f"{key} {value}.*weight files hold"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("changes", [{"pad_token_id": 10**18}, {"num_attention_heads": 0}, {"num_key_value_heads": 0}])
def test_values_that_transformers_does_not_check_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    write_model(tmp_path / "model", **changes)
    with pytest.raises(UnsupportedArchitecture, match=r"transformers .* cannot (load|read)"):
        load_model(tmp_path / "model")


def test_a_load_can_be_cancelled_while_the_model_is_built(tmp_path: Path) -> None:
    write_model(tmp_path / "model", num_hidden_layers=9_000)
    loader, building = ModelLoader(), threading.Event()
    spec = LoadSpec("odd/deep", "c" * 40, "none", tmp_path / "model", device="cpu")
    with pytest.raises(LoadCancelled):
        loader.load(
            spec,
            on_step=lambda step: building.set() if step.message == "building the model" else None,
            is_cancelled=building.is_set,
        )
    loader.close()


def test_a_deep_configuration_does_not_hold_the_inspector() -> None:
    inspector = Inspector()
    with forking(), closing(inspector):
        inspector.inspect("warm_up", {}, timeout=120)
        with pytest.raises(ModelyardError, match="num_hidden_layers is 1000000000"):
            inspector.inspect("memory", config(num_hidden_layers=10**9), timeout=30)
        with pytest.raises(ModelyardError, match=r"hidden_size 65536.*weight files hold 50,000"):
            inspector.inspect("memory", config(hidden_size=65_536), timeout=30, held=50_000)
        assert inspector.inspect("memory", config(), timeout=30)["num_parameters"] > 0
