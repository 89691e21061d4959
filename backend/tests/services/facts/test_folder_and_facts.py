"""What is told of a folder, and of a model whose weights do not say how many parameters it has."""

import json
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRepository, InvalidRequest
from modelyard.hub.model_info import HubFile, HubModel
from modelyard.models import Model, Quantization
from modelyard.schemas.download import Support
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import plan_files
from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.model_facts import store_facts
from modelyard.services.facts.parameter_count import Described, parameter_count
from modelyard.services.inspection.folder_preview import model_folder, read_folder
from modelyard.services.inspection.model_preview import Found, _warnings

LLAMA = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 8}
GPTQ = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4}}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["adapter_config.json", "adapter_model.safetensors"], "PEFT adapter"),
        (["model-q4.gguf"], "GGUF"),
        (["notes.txt"], "not a folder with a config.json"),
        ([], "not a folder with a config.json"),
    ],
)
def test_a_folder_that_is_no_model_is_called_what_it_is(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / name).touch()

    with pytest.raises(InvalidRequest, match=words) as error:
        model_folder(str(tmp_path))
    assert error.value.hint


def test_the_pickle_weights_of_a_folder_are_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "pytorch_model.bin").write_bytes(bytes(5000))

    assert read_folder(tmp_path).checkpoint.size_bytes > 5000


@pytest.mark.parametrize(
    ("config", "described", "expected"),
    [(LLAMA, None, 12), (LLAMA, Described(999), 999), (GPTQ, Described(999), 999), (GPTQ, None, None)],
)
def test_elements_of_packed_weights_are_not_counted_as_parameters(
    config: dict[str, object], described: Described | None, expected: int | None
) -> None:
    tensors = [Tensor("a.weight", "BF16", (3, 4))]
    counted = parameter_count(config, tensors, described, lambda _first, _second: None)
    row = Model(model_id="somebody/model", commit="ab" * 20, quantization=Quantization.NONE, num_parameters=5)
    store_facts(row, config, tensors, ["config.json", "model.safetensors"], num_parameters=counted)

    assert counted == row.num_parameters == expected


def test_code_of_a_repository_is_mentioned_once() -> None:
    files = tuple(HubFile(name, 1, None, "0" * 40) for name in ("config.json", "model.safetensors", "tokenizer.json"))
    model = HubModel("a/b", "a/b", "ab" * 20, files, False, (), None, None, None, None, None, {})
    facts, plan = read_config(LLAMA | {"auto_map": {"AutoModel": "x.Y"}}), plan_files(files, allow_pickle=True)
    known, unknown = (Found(Support(level="supported", reasons=[]), needed) for needed in (False, True))

    assert _warnings(model, plan, facts, known) == ["Code in the repository is not downloaded and never run."]
    assert _warnings(model, plan, facts, unknown) == [], "its support says so"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b'{"a": ' + b"9" * 5000 + b"}", b'{"a": ' + b"[" * 100_000])
def test_a_folder_whose_configuration_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InvalidRepository, match=r"config\.json of "):
        read_folder(tmp_path)
