"""LoRA adapters beside a model in memory: PEFT's answers, and an untouched base."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from ml.generation.generating import generate
from ml.generation.test_batching import WAIT_SECONDS, held, require_same
from modelyard.core.adapters import ADAPTER_WEIGHTS as WEIGHTS
from modelyard.core.errors import ModelInUse, ModelyardError, NotReady, NoWeights, OutOfMemory, UnsupportedAdapter
from modelyard.ml.generation.embedding import embed
from modelyard.ml.generation.pooling import Pooling
from modelyard.ml.loading.load_spec import AdapterSpec
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.model_loader import LoadSpec, ModelLoader
from modelyard.ml.quantize.quantization import measured_bytes
from support.adapters import make_adapter
from support.samples import sample_models

IDS = [5, 17, 99, 3, 42, 7]
BASE = "tiny-llama"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of adapters of the sample model, by the way they are made."""
    folder, base = tmp_path_factory.mktemp("adapters"), sample_models() / BASE
    make_adapter(base, folder / "plain")
    make_adapter(base, folder / "other", seed=1, r=8, target_modules=["k_proj", "o_proj"])
    make_adapter(base, folder / "bfloat16", seed=2, dtype="bfloat16", target_modules="all-linear")
    make_adapter(
        base,
        folder / "patterns",
        seed=3,
        use_rslora=True,
        rank_pattern={"v_proj": 2, r".*\.0\.self_attn\.q_proj": 3},
        alpha_pattern={"down_proj": 5},
    )
    make_adapter(base, folder / "embedding", seed=4, target_modules=["embed_tokens", "gate_proj"])
    make_adapter(base, folder / "third", seed=5, target_modules=["q_proj", "o_proj"])
    return folder


@pytest.fixture
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


def spec(adapter: Path | None, quantization: Any = "none", **options: Any) -> LoadSpec:
    made = None if adapter is None else AdapterSpec(adapter.name, f"tests/{adapter.name}", adapter.name * 8, adapter, 0)
    values = {"device": "cpu", "dtype": "float32"} | options
    return LoadSpec(f"tests/{BASE}", "c" * 40, quantization, sample_models() / BASE, adapter=made, **values)


@torch.no_grad()
def logits(loaded: LoadedModel, adapter: str | None) -> torch.Tensor:
    with loaded.turn(lambda: False, adapter):
        return loaded.model(input_ids=torch.tensor([IDS])).logits


@torch.no_grad()
def logits_of_peft(adapter: Path, quantization: Any, dtype: str) -> torch.Tensor:
    base = load_model(sample_models() / BASE, quantization=quantization, dtype=dtype)
    return peft.PeftModel.from_pretrained(base, adapter).eval()(input_ids=torch.tensor([IDS])).logits


KINDS = ["plain", "bfloat16", "patterns", "embedding"]


@pytest.mark.parametrize(
    ("kind", "quantization", "dtype"),
    [(kind, "none", dtype) for kind in KINDS for dtype in ("float32", "bfloat16")]
    + [(kind, quantization, "auto") for kind in ("plain", "bfloat16") for quantization in ("8bit", "4bit")],
)
def test_logits_are_those_of_peft(
    loader: ModelLoader, adapters: Path, kind: str, quantization: Any, dtype: str
) -> None:
    with loader.get(spec(None, quantization, dtype=dtype)) as loaded:
        bare = logits(loaded, None)
        modules = dict(loaded.model.named_modules())
    with (
        loader.get(spec(adapters / kind, quantization, dtype=dtype)) as loaded,
        loader.get(spec(adapters / "other", quantization, dtype=dtype)),
    ):
        adapted = logits(loaded, kind)
        assert torch.equal(adapted, logits_of_peft(adapters / kind, quantization, dtype))
        assert not torch.equal(adapted, bare)
        assert torch.equal(logits(loaded, "other"), logits_of_peft(adapters / "other", quantization, dtype))
        assert torch.equal(logits(loaded, kind), adapted)
        assert torch.equal(logits(loaded, None), bare)
    for info in loader.loaded()[1:]:
        loader.unload_model(info.key)
    assert dict(loaded.model.named_modules()) == modules
    assert torch.equal(logits(loaded, None), bare)


def test_one_base_is_in_memory_and_an_adapter_has_its_own_bytes(loader: ModelLoader, adapters: Path) -> None:
    with loader.get(spec(None)) as loaded:
        base_bytes = loaded.measured_bytes
        for kind in ("plain", "bfloat16"):
            loader.load(spec(adapters / kind))
    base, *held_ones = loader.loaded()
    assert (base.measured_bytes, measured_bytes(loaded.model)) == (
        base_bytes,
        base_bytes + sum(info.measured_bytes for info in held_ones),
    )
    for info, kind in zip(held_ones, ("plain", "bfloat16"), strict=True):
        # PEFT holds the weights in float32, whatever the file has.
        file_bytes = sum(tensor.numel() * 4 for tensor in tensors_of(adapters / kind).values())
        assert (info.key.model_id, info.measured_bytes) == (f"tests/{kind}", file_bytes)
    unloaded = loader.unload_model(held_ones[0].key)
    assert unloaded.held_before_bytes == held_ones[0].measured_bytes
    assert [info.key.model_id for info in loader.loaded()] == [f"tests/{BASE}", "tests/bfloat16"]
    with pytest.raises(NotReady):
        loader.unload_model(held_ones[0].key)
    loader.unload_model(base.key)
    assert loader.loaded() == []


def tensors_of(adapter: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(adapter / WEIGHTS)


def test_rows_of_a_batch_have_adapters_of_their_own(loader: ModelLoader, adapters: Path) -> None:
    kinds = (None, "plain", "other", "third", "plain", None)
    with (
        loader.get(spec(adapters / "plain")) as loaded,
        loader.get(spec(adapters / "other")),
        loader.get(spec(adapters / "third")),
    ):
        prompts = [[5 + (7 * row + step) % 200 for step in range(3 + 4 * row)] for row in range(len(kinds))]
        asked = list(zip(kinds, prompts, strict=True))
        options: dict[str, Any] = {"max_new_tokens": 8, "logprobs": 2}
        alone = [generate(loaded, token_ids=ids, adapter=kind, **options).tokens or [] for kind, ids in asked]
        widths: list[int] = []
        hook = loaded.model.register_forward_pre_hook(
            lambda _model, _inputs, given: widths.append(len(given["input_ids"])), with_kwargs=True
        )
        with held(loaded.model) as let_go, ThreadPoolExecutor(len(asked)) as pool:
            jobs = [pool.submit(generate, loaded, token_ids=ids, adapter=kind, **options) for kind, ids in asked]
            while len(loaded.batcher._line) + 1 < len(asked):
                assert not any(job.done() for job in jobs)
                time.sleep(0.01)
            let_go()
            together = [job.result(WAIT_SECONDS).tokens or [] for job in jobs]
        hook.remove()
    for found, expected in zip(together, alone, strict=True):
        require_same(found, expected)
    assert max(widths) == len(asked)


def test_sequences_one_by_one_and_embeddings_have_adapters(
    loader: ModelLoader, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loader.get(spec(adapters / "plain")) as loaded:
        batched = [generate(loaded, token_ids=IDS, adapter=kind).text for kind in (None, "plain")]
        monkeypatch.setattr(loaded, "can_batch", False)
        assert [generate(loaded, token_ids=IDS, adapter=kind).text for kind in (None, "plain")] == batched
        assert batched[0] != batched[1]
        vectors = [embed(loaded, [IDS], Pooling("mean", False), lambda: False, kind) for kind in (None, "plain", None)]
        assert vectors[0] == vectors[2] != vectors[1]


def test_an_adapter_in_use_stays(loader: ModelLoader, adapters: Path) -> None:
    with loader.get(spec(adapters / "plain")), loader.get(spec(None)):
        _, info = loader.loaded()
        assert info.in_use == 1
        with pytest.raises(ModelInUse):
            loader.unload_model(info.key)


def test_memory_is_made_of_adapters_that_nobody_uses(
    loader: ModelLoader, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.load(spec(adapters / "plain"))
    loader.load(spec(adapters / "other"))
    needing = spec(adapters / "third")
    assert needing.adapter is not None
    needing = LoadSpec(**vars(needing) | {"adapter": AdapterSpec(**vars(needing.adapter) | {"needed_bytes": 10})})
    free = iter([0, 10])
    monkeypatch.setattr("modelyard.ml.model_loader.free_bytes", lambda _device: next(free, 10))
    with loader.get(needing):
        assert [info.key.model_id for info in loader.loaded()] == [f"tests/{BASE}", "tests/other", "tests/third"]
        monkeypatch.setattr("modelyard.ml.model_loader.free_bytes", lambda _device: 0)
        asked = AdapterSpec("plain", "tests/plain", "p" * 40, adapters / "plain", 10)
        with (
            pytest.raises(OutOfMemory, match="tests/plain needs"),
            loader.get(LoadSpec(**vars(needing) | {"adapter": asked})),
        ):
            raise AssertionError
        assert [info.key.model_id for info in loader.loaded()] == [f"tests/{BASE}", "tests/third"]


def rewritten(adapter: Path, folder: Path, **settings: Any) -> Path:
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"init_lora_weights": "pissa"}, {"alpha_pattern": {"(a+)+b": 3}}]
)
def test_what_is_not_plain_lora_is_refused(
    loader: ModelLoader, adapters: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = rewritten(adapters / "plain", tmp_path / "changed", **settings)
    with pytest.raises(UnsupportedAdapter, match=next(iter(settings))):
        loader.load(spec(folder))


def test_files_that_do_not_fit_leave_nothing(loader: ModelLoader, adapters: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with loader.get(spec(adapters / "plain")) as loaded:
        before = logits(loaded, None), logits(loaded, "plain")
        tensors = tensors_of(adapters / "other")
        first = next(iter(tensors))
        changes: list[tuple[dict[str, Any], type[ModelyardError]]] = [
            ({first: tensors[first][:, :-1].contiguous()}, NoWeights),
            ({first: torch.zeros(1_000_000, 1)}, UnsupportedAdapter),
            ({name.replace("layers.0", "layers.99"): tensor.clone() for name, tensor in tensors.items()}, NoWeights),
            ({"base_model.model.model.embed_tokens.weight": torch.zeros(4, 4)}, UnsupportedAdapter),
        ]
        for number, (change, error) in enumerate(changes):
            folder = rewritten(adapters / "other", tmp_path / str(number))
            save_file(tensors | change, folder / WEIGHTS)
            with pytest.raises(error):
                loader.load(spec(folder))
        lacking = rewritten(adapters / "other", tmp_path / "lacking")
        (lacking / WEIGHTS).unlink()
        (lacking / "adapter_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(NoWeights, match=WEIGHTS), loader.get(spec(lacking)):
            raise AssertionError
        assert [info.key.model_id for info in loader.loaded()] == [f"tests/{BASE}", "tests/plain"]
        assert torch.equal(logits(loaded, None), before[0])
        assert torch.equal(logits(loaded, "plain"), before[1])


def test_a_failure_in_the_middle_of_the_first_one_leaves_the_bare_model(
    loader: ModelLoader, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loader.get(spec(None)) as loaded:
        modules, bare = dict(loaded.model.named_modules()), logits(loaded, None)

        def fail(*_arguments: Any, **_options: Any) -> None:
            raise RuntimeError("out of memory")

        with monkeypatch.context() as patch:
            patch.setattr("safetensors.torch.load_file", fail)
            with pytest.raises(OutOfMemory), loader.get(spec(adapters / "plain")):
                raise AssertionError
        assert dict(loaded.model.named_modules()) == modules
        assert torch.equal(logits(loaded, None), bare)
        with loader.get(spec(adapters / "plain")):
            assert not torch.equal(logits(loaded, "plain"), bare)
