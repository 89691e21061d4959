"""GGUF files become folders that load anywhere, and compute what transformers computes of the file itself."""

import hashlib
import json
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

from modelyard.core.errors import (
    DiskFull,
    ModelyardError,
    NoTokenizer,
    NoWeights,
    OutOfMemory,
    OutputNotFinite,
    UnsupportedArchitecture,
)
from modelyard.core.gguf_header import GgufHeader, read_gguf
from modelyard.core.gguf_limits import conversion_limits
from modelyard.core.process import ChildCrashed, run_child
from modelyard.ml.gguf import convert as conversion
from modelyard.ml.gguf.convert import ConversionRequest, convert
from modelyard.ml.gguf.join import join
from modelyard.ml.loading import devices
from modelyard.services.facts.gguf_files import READABLE, GgufFacts
from support.gguf_models import LLAMA3_ROPE, make_source, write_gguf
from support.samples import sample_models

CHILD = "modelyard.workers.processes.convert_child"
TEXT = "The capital of France is"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, tokenizer = tmp_path_factory.mktemp("sources"), sample_models() / "tiny-llama"
    return {kind: make_source(folder / kind, tokenizer, kind) for kind in ("llama", "qwen2")}


def _header(path: Path) -> GgufHeader:
    with path.open("rb") as file:
        return read_gguf(file, path.stat().st_size, path.name, "a test")


def _convert(paths: list[Path], folder: Path) -> dict[str, Any]:
    headers = [_header(path) for path in paths]
    request = ConversionRequest(
        sources=[str(path.resolve()) for path in paths],
        folder=str(folder),
        name=paths[0].name,
        dtype=headers[0].dense_dtype,
        weights_bytes=sum(header.dense_bytes for header in headers),
    )
    return convert(request, lambda _report: None)


def _logits(folder: Path, dtype: str, **options: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **options)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=options.get("gguf_file"))
    with torch.inference_mode():
        logits: torch.Tensor = model(**tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)).logits
    return logits


@pytest.mark.parametrize(
    ("kind", "quantization", "dtype"),
    [("llama", "Q8_0", "bfloat16"), ("qwen2", "Q4_0", "bfloat16"), ("llama", "F32", "float32")],
)
def test_answers_are_those_of_the_file(
    sources: dict[str, Path], tmp_path: Path, kind: str, quantization: str, dtype: str
) -> None:
    path = write_gguf(sources[kind], tmp_path / "model.gguf", quantization=quantization)[0]

    made = _convert([path], tmp_path / "work")

    folder = tmp_path / "work" / "model"
    expected = _logits(tmp_path, dtype, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True))
    assert torch.equal(_logits(folder, dtype), expected)
    if quantization == "F32":
        assert torch.equal(expected, _logits(sources[kind], dtype)), "and those of the model it was written from"
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["dtype"]) == (kind, dtype)
    assert "quantization_config" not in config
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["model"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= made["files"].keys()
    weights = (folder / "model.safetensors").read_bytes()
    assert made["files"]["model.safetensors"] == {
        "size_bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }


def test_llama_3_keeps_the_scaling_of_its_position_embeddings(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", sample_models() / "tiny-llama", rope_parameters=LLAMA3_ROPE)
    path = write_gguf(source, tmp_path / "model.gguf", quantization="F32")[0]

    _convert([path], tmp_path / "work")

    config = json.loads((tmp_path / "work/model/config.json").read_text())
    assert config["rope_parameters"] == LLAMA3_ROPE
    assert torch.equal(_logits(tmp_path / "work/model", "float32"), _logits(source, "float32"))


def test_other_scaling_of_position_embeddings_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    odd = LLAMA3_ROPE | {"low_freq_factor": 2.0}
    source = make_source(tmp_path / "source", sample_models() / "tiny-llama", rope_parameters=odd)
    path = write_gguf(source, tmp_path / "model.gguf", quantization="F32")[0]
    _require_refusal(UnsupportedArchitecture, [path], tmp_path / "work")

    named = write_gguf(sources["qwen2"], tmp_path / "named.gguf", rope_scaling="yarn")[0]
    problem = GgufFacts.of([_header(named)]).problem("named.gguf")
    assert isinstance(problem, UnsupportedArchitecture)
    assert "'yarn'" in problem.message


def test_split_files_are_joined(sources: dict[str, Path], tmp_path: Path) -> None:
    whole = write_gguf(sources["llama"], tmp_path / "whole.gguf")
    parts = write_gguf(sources["llama"], tmp_path / "split.gguf", split=3)

    _convert(whole, tmp_path / "one")
    _convert(parts, tmp_path / "three")

    assert torch.equal(_logits(tmp_path / "one/model", "bfloat16"), _logits(tmp_path / "three/model", "bfloat16"))


def test_parts_that_are_joined_do_not_fill_the_disk(tmp_path: Path) -> None:
    """The first part names an alignment of 64 kB, which the tensors of the second one do not have."""
    gguf, tensors = pytest.importorskip("gguf"), [["a"], [f"b{number}" for number in range(100)]]
    paths = [tmp_path / "first.gguf", tmp_path / "second.gguf"]
    for number, (path, names) in enumerate(zip(paths, tensors, strict=True)):
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            writer.add_custom_alignment(2**16)
        writer.add_uint16("split.no", number)
        writer.add_int32("split.tensors.count", 101)
        for name in names:
            writer.add_tensor(name, np.full(4, ord(name[0]) + len(name), np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with paths[0].open("rb") as first, paths[1].open("rb") as second:
        join([(first, _header(paths[0])), (second, _header(paths[1]))], tmp_path / "joined.gguf", "model")

    joined = tmp_path / "joined.gguf"
    assert joined.stat().st_size <= sum(path.stat().st_size for path in paths)
    read = {tensor.name: tensor.data.tolist() for tensor in gguf.GGUFReader(joined).tensors}
    assert read == {name: [ord(name[0]) + len(name)] * 4 for names in tensors for name in names}


def test_parts_of_two_models_are_not_joined(sources: dict[str, Path], tmp_path: Path) -> None:
    parts = write_gguf(sources["llama"], tmp_path / "split.gguf", split=3)
    with pytest.raises(NoWeights, match="do not belong together"):
        _convert([parts[0], parts[2], parts[1]], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_what_does_not_fit_is_refused_beforehand(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(sources["llama"], tmp_path / "model.gguf")[0]
    monkeypatch.setattr(conversion, "_convert", pytest.fail)
    with monkeypatch.context() as patch:
        patch.setattr(devices, "free_bytes", lambda _device: 1000)
        _require_refusal(OutOfMemory, [path], tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "DISK_RESERVE_BYTES", 2**60)
        _require_refusal(DiskFull, [path], tmp_path / "work")


def _require_refusal(kind: type[ModelyardError], paths: list[Path], folder: Path) -> None:
    with pytest.raises(kind) as raised:
        _convert(paths, folder)
    assert raised.value.hint
    assert not folder.exists()


def test_weights_that_give_no_numbers_are_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    path = write_gguf(sources["llama"], tmp_path / "model.gguf", quantization="F32")[0]
    content = bytearray(path.read_bytes())
    norm = next(tensor for tensor in _header(path).tensors if tensor.name == "output_norm.weight")
    start = _header(path).data_start + norm.start
    content[start : start + norm.bytes] = b"\xff" * norm.bytes  # NaN
    path.write_bytes(content)
    _require_refusal(OutputNotFinite, [path], tmp_path / "work")


def test_a_file_that_lacks_weights_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    """transformers goes on with random values, and a model of those passes every other check."""
    lacking = ("blk.0.attn_q.weight", "blk.1.ffn_up.weight")
    path = write_gguf(sources["llama"], tmp_path / "model.gguf", without=lacking)[0]
    with pytest.raises(NoWeights, match=r"lacks 2 tensors of LlamaForCausalLM, model\.layers\.0\.self_attn\.q_proj"):
        _convert([path], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_file_that_describes_more_than_it_holds_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    """Before memory is taken for it: a few bytes may describe more than any machine has."""
    path = write_gguf(sources["llama"], tmp_path / "model.gguf")[0]
    content = path.read_bytes()
    at = content.index(b"llama.feed_forward_length") + len(b"llama.feed_forward_length") + 4
    path.write_bytes(content[:at] + (1_000_000_000).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(UnsupportedArchitecture, match=r"model\.gguf describes more than .* parameters"):
        _convert([path], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def _run(path: Path, folder: Path, **lower: Any) -> dict[str, Any]:
    """Convert in a process with the limits of the file, or `lower` ones."""
    header = _header(path)
    limits = asdict(conversion_limits(header.dense_bytes)) | lower
    request = {
        "sources": [str(path)],
        "folder": str(folder),
        "name": path.name,
        "dtype": header.dense_dtype,
        "weights_bytes": header.dense_bytes,
        "limits": limits,
    }
    return run_child(CHILD, request, on_report=lambda _report: None, should_stop=lambda: False)


def test_a_conversion_has_room_within_its_limits(sources: dict[str, Path], tmp_path: Path) -> None:
    path = write_gguf(sources["llama"], tmp_path / "model.gguf")[0]
    assert "model.safetensors" in _run(path, tmp_path / "work")["files"]


def test_a_file_that_asks_for_all_memory_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    """Every token of this vocabulary is a merge of two others in every way: 17 MB make 16,000,000 pairs of texts."""
    tokens = [letter * (1 + length) for letter in "ab" for length in range(4096)]
    path = write_gguf(sources["llama"], tmp_path / "greedy.gguf", tokens=tokens)[0]
    with pytest.raises(UnsupportedArchitecture, match=r"Converting greedy\.gguf used more than .* of memory"):
        _run(path, tmp_path / "work", memory_bytes=10**9)


def test_a_library_that_gets_no_memory_and_gives_no_error(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: object, **_options: object) -> None:
        raise SystemError("returned NULL without setting an exception")

    monkeypatch.setattr(conversion.AutoTokenizer, "from_pretrained", fails)
    monkeypatch.setattr(conversion, "memory_limit", lambda: 10**9)
    path = write_gguf(sources["llama"], tmp_path / "model.gguf")[0]
    with pytest.raises(UnsupportedArchitecture, match=r"used more than 1\.0+ GB of memory"):
        _convert([path], tmp_path / "work")


def test_a_file_that_takes_too_long_is_ended(sources: dict[str, Path], tmp_path: Path) -> None:
    """Every place where one of its tokens could be cut is tried."""
    tokens = [f"{number:04}" * 1024 for number in range(8192)]
    path = write_gguf(sources["llama"], tmp_path / "slow.gguf", tokens=tokens)[0]
    with pytest.raises(ChildCrashed) as ended:
        _run(path, tmp_path / "work", cpu_seconds=3)
    assert ended.value.exit_code == -signal.SIGXCPU


def test_a_tokenizer_that_makes_no_sense_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    path = write_gguf(sources["llama"], tmp_path / "odd.gguf", bos=2**32 - 1)[0]
    with pytest.raises(NoTokenizer, match=r"tokenizer of odd\.gguf"):
        _convert([path], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_what_is_offered_is_what_transformers_reads() -> None:
    renamed = {"gpt-oss": "gpt_oss", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "minimax-m2": "minimax_m2"}
    known = {*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_CONFIG_ARCHS}
    assert {renamed.get(name, name) for name in READABLE} <= known
    no_causal_model = {"t5", "umt5", "deci"}
    no_architecture = {"general", "tokenizer", "mistral"}
    assert known - {renamed.get(name, name) for name in READABLE} == no_causal_model | no_architecture
