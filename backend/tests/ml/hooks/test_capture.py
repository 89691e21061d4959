"""Activations that are read through the product, against plain forward hooks on the same batch."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ml.conftest import TinyModel
from modelyard.core.errors import ContextLengthExceeded, DiskFull, InvalidRequest
from modelyard.ml.hooks import capture_run
from modelyard.ml.hooks.capture import Rows, kept
from modelyard.ml.hooks.capture_run import CaptureProgress, CaptureRun
from modelyard.ml.hooks.direct import MAX_BYTES, Wanted, read_directly
from modelyard.ml.hooks.reading import token_rows
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.model_loader import LoadedModel, LoadSpec, ModelLoader, never
from support.samples import sample_models

ROWS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14], [15, 16, 17, 18], [19]]
PLAIN = [("gpt2", "none"), ("llama", "8bit"), ("mamba", "none"), ("gemma2", "4bit")]
ARCHITECTURES = (
    "bloom", "deepseek_v3", "falcon", "gemma2", "gpt2", "gpt_neox", "llama", "mamba", "mixtral", "opt", "qwen3",
)  # fmt: skip
CASES = [
    pytest.param(model_type, quantization, marks=() if (model_type, quantization) in PLAIN else pytest.mark.thorough)
    for model_type in ARCHITECTURES
    for quantization in ("none", "8bit", "4bit")
    if (model_type, quantization) not in (("mamba", "8bit"), ("mamba", "4bit"))  # transformers cannot run these
]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


@pytest.fixture(scope="module")
def llama() -> Iterator[LoadedModel]:
    loader = ModelLoader()
    spec = LoadSpec("tests/tiny-llama", "c" * 40, "none", sample_models() / "tiny-llama", device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        yield loaded
    loader.close()


def names_of(model: torch.nn.Module) -> dict[str, str]:
    """Some of a model's own modules: the first and last block, and a linear layer inside."""
    lists = [(path, module) for path, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    path, blocks = max(lists, key=lambda each: len(list(each[1].parameters())))
    last = len(blocks) - 1
    linear = next(
        name
        for name, module in blocks[0].named_modules()
        if "Linear" in type(module).__name__ or "Conv1D" in str(type(module))
    )
    return {name: name for name in (f"{path}.0", f"{path}.{last}", f"{path}.0.{linear}")}


@torch.no_grad()
def local(model: Any, rows: list[list[int]], names: Any) -> dict[str, torch.Tensor]:
    """What a person writes: a batch padded on the right, and forward hooks."""
    longest = max(map(len, rows))
    pad = model.config.pad_token_id if isinstance(model.config.pad_token_id, int) else 0
    ids = torch.tensor([row + [max(pad, 0)] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            value = output if isinstance(output, torch.Tensor) else output[0]
            found[name] = value.clone().view(len(rows), longest, -1)

        return hook

    handles = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        model(input_ids=ids, attention_mask=mask)
    finally:
        for handle in handles:
            handle.remove()
    return found


def tensor_of(answer: dict[str, Any]) -> torch.Tensor:
    content = bytearray(base64.b64decode(answer["data"]))
    return torch.frombuffer(content, dtype=DTYPES[answer["dtype"]]).view(answer["shape"])


def run_of(folder: Path, loaded: LoadedModel, wanted: Wanted, **changes: Any) -> CaptureRun:
    options: dict[str, Any] = {"first_row": 0, "batch_size": 2, "shard_bytes": 10_000, "should_stop": never} | changes
    return CaptureRun(folder, loaded, wanted, **options)


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize(("model_type", "quantization"), CASES)
def test_activations_are_those_of_local_hooks(
    loader: ModelLoader, tiny_model: TinyModel, tmp_path: Path, model_type: str, quantization: Any
) -> None:
    spec = LoadSpec(f"tests/{model_type}", "c" * 40, quantization, tiny_model(model_type), device="cpu")
    with loader.get(spec) as loaded:
        names = names_of(loaded.model)
        answer = read_directly(loaded, Wanted(names), ROWS, 0, never)
        run = run_of(tmp_path, loaded, Wanted(names, dtype="bfloat16"))
        plan = run.plan(lambda: ROWS)
        run.run(lambda _progress: None, {})
        assert answer is not None
        for name in names:
            alone = [local(loaded.model, [row], [name])[name][0] for row in ROWS]
            assert torch.equal(tensor_of(answer["tensors"][name]), torch.cat(alone).float())
            batched = []
            for rows in (ROWS[:2], ROWS[2:4], ROWS[4:]):
                found = local(loaded.model, rows, [name])[name]
                batched += [found[number, : len(row)] for number, row in enumerate(rows)]
            shards = [load_file(path)[name] for path in sorted(tmp_path.glob("activations-*"))]
            assert torch.equal(torch.cat(shards), torch.cat(batched).bfloat16())
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert plan.size_bytes == sum(sizes.values()) - sizes["manifest.json"]


def test_an_answer_says_which_token_each_vector_is_of(llama: LoadedModel) -> None:
    rows = list(token_rows(llama, ["import os", "The import statement"], None, never))
    answer = read_directly(llama, Wanted({"last": "model.layers.1"}, "last"), rows, 7, never)
    assert answer is not None
    assert [(token["row"], token["position"], token["id"]) for token in answer["tokens"]] == [
        (7, len(rows[0]) - 1, rows[0][-1]),
        (8, len(rows[1]) - 1, rows[1][-1]),
    ]
    assert "import os".endswith(answer["tokens"][0]["text"])
    expected = [local(llama.model, [row], ["model.layers.1"])["model.layers.1"][0, -1] for row in rows]
    assert torch.equal(tensor_of(answer["tensors"]["last"]), torch.stack(expected))
    listed = read_directly(llama, Wanted({"x": "model.layers.1"}, [0, -1, 99], "float16"), rows, 0, never)
    assert listed is not None
    assert [token["position"] for token in listed["tokens"]] == [0, len(rows[0]) - 1, 0, len(rows[1]) - 1]
    assert listed["tensors"]["x"]["dtype"] == "float16"


def test_logits_are_a_hook_point_too(llama: LoadedModel) -> None:
    answer = read_directly(llama, Wanted({"lm_head": "lm_head", "logits": "logits"}), [[5, 6, 7]], 0, never)
    assert answer is not None
    with torch.no_grad():
        expected = llama.model(input_ids=torch.tensor([[5, 6, 7]])).logits[0]
    assert torch.equal(tensor_of(answer["tensors"]["lm_head"]), expected)
    assert torch.equal(tensor_of(answer["tensors"]["logits"]), expected)


def test_what_is_no_hook_point_is_refused_with_the_nearest(llama: LoadedModel) -> None:
    with pytest.raises(InvalidRequest, match=r"no hook point 'model.layer.1'") as refused:
        read_directly(llama, Wanted({"x": "model.layer.1"}), [[5]], 0, never)
    assert "model.layers.1" in (refused.value.hint or "")
    for path, reason in {
        "": "no hook point",
        "model.layers": "does not run",
        "model.rotary_emb": "not one vector per token",
    }.items():
        with pytest.raises(InvalidRequest, match=reason):
            read_directly(llama, Wanted({"x": path}), [[5]], 0, never)
    assert not any(module._forward_hooks for module in llama.model.modules())


def test_rows_that_cannot_be_read_are_refused(llama: LoadedModel) -> None:
    limit = llama.model.config.max_position_embeddings
    with pytest.raises(ContextLengthExceeded, match="Row 1 has"):
        list(token_rows(llama, [[5], [5] * (limit + 1)], None, never))
    assert list(token_rows(llama, [[5], [5] * (limit + 1)], 3, never)) == [[5], [5] * 3]
    with pytest.raises(InvalidRequest, match="Row 0 has no tokens"):
        list(token_rows(llama, [[]], None, never))
    with pytest.raises(InvalidRequest, match="knows"):
        list(token_rows(llama, [[10**6]], None, never))


def test_what_is_too_much_for_an_answer_is_not_run(llama: LoadedModel) -> None:
    width = llama.model.config.hidden_size
    wanted = Wanted({"x": "model.layers.0"})
    rows = [[5] * 100] * (MAX_BYTES // (width * 4 * 100) + 1)
    assert read_directly(llama, wanted, rows, 0, never) is None
    with pytest.raises(LoadCancelled):
        read_directly(llama, wanted, [[5]], 0, lambda: True)


def test_a_run_that_is_stopped_goes_on_to_identical_files(llama: LoadedModel, tmp_path: Path) -> None:
    wanted = Wanted({"a": "model.layers.0", "b": "model.layers.1.mlp"}, "all")
    rows = [[3 + number % 50] * (1 + number % 7) for number in range(40)]
    whole = run_of(tmp_path / "whole", llama, wanted)
    whole.plan(lambda: rows)
    whole.run(lambda _progress: None, {"commit": "c"})
    seen: list[CaptureProgress] = []
    stopped = run_of(tmp_path / "parts", llama, wanted, should_stop=lambda: len(seen) > 7)
    stopped.plan(lambda: rows)
    with pytest.raises(LoadCancelled):
        stopped.run(seen.append, {"commit": "c"})
    assert "manifest.json" not in files_of(tmp_path / "parts")
    kept_times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("activations-*.safetensors")}
    assert kept_times
    resumed = run_of(tmp_path / "parts", llama, wanted)

    def unread() -> Any:
        raise AssertionError("rows are read once")

    plan = resumed.plan(unread)
    resumed.run(seen.append, {"commit": "c"})
    assert files_of(tmp_path / "parts") == files_of(tmp_path / "whole")
    for name, changed in kept_times.items():
        assert (tmp_path / "parts" / name).stat().st_mtime_ns == changed
    assert seen[-1].batches_done == seen[-1].batches
    assert seen[-1].bytes_done == plan.tokens * 2 * llama.model.config.hidden_size * 4


def test_the_files_say_what_they_hold(llama: LoadedModel, tmp_path: Path) -> None:
    run = run_of(tmp_path, llama, Wanted({"a": "model.layers.0"}, [0, 2]), first_row=10)
    plan = run.plan(lambda: ROWS)
    run.run(lambda _progress: None, {"model_id": "tests/tiny-llama"})
    index = load_file(tmp_path / "index.safetensors")
    places = [(10 + number, place) for number, row in enumerate(ROWS) for place in kept(len(row), [0, 2])]
    assert list(zip(index["row"].tolist(), index["position"].tolist(), strict=True)) == places
    assert index["token_id"].tolist() == [ROWS[row - 10][place] for row, place in places]
    assert plan.tokens == len(places)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["model_id"] == "tests/tiny-llama"
    assert (manifest["padding"], manifest["batch_size"], manifest["positions"]) == ("right", 2, [0, 2])
    assert manifest["batches"] == [[0, 2], [2, 4], [4, 5]]
    assert {file["name"]: file["sha256"] for file in manifest["files"]} == {
        name: digest for name, digest in files_of(tmp_path).items() if name != "manifest.json"
    }


def test_what_does_not_fit_on_the_disk_is_refused_before_anything_runs(
    llama: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_run, "DISK_RESERVE_BYTES", 10**18)
    with pytest.raises(DiskFull, match="must stay free, but the disk of"):
        run_of(tmp_path, llama, Wanted({"a": "model.layers.0"})).plan(lambda: ROWS)


def test_batches_depend_on_the_rows_alone() -> None:
    rows = Rows.of([[1] * 5000, [1] * 5000, [1], [1], [1], [1] * 9000])
    assert [(batch.start, batch.stop) for batch in rows.batches(3)] == [(0, 1), (1, 2), (2, 5), (5, 6)]
    assert list(Rows.of([]).batches(3)) == []
