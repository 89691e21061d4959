"""Loading a folder that no model can be made of."""

from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from modelyard.core.errors import InvalidRepository, NoWeights, UnsupportedArchitecture
from modelyard.ml.loading.pretrained import load_model
from support.samples import sample_models


@pytest.mark.parametrize("content", [b'{"quantization_config": "x"}', b"[]", b"\xff", b"", b'{"a":' * 3000])
def test_what_is_no_configuration_is_the_repositorys_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InvalidRepository, match=r"^config\.json of "):
        load_model(tmp_path)


def test_a_folder_in_the_place_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InvalidRepository, match="cannot be read: Is a directory"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("shape '[1, -1, 0]' is invalid for input of size 64", UnsupportedArchitecture),
        ("size mismatch: set ignore_mismatched_sizes", NoWeights),
        ("CUDA error: device-side assert triggered", RuntimeError),
        ("DefaultCPUAllocator: can't allocate memory", RuntimeError),
    ],
)
def test_what_loading_stumbles_over_is_told_as_what_it_is(
    said: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an error of the device, or of its memory, is nothing that the model's files can be blamed for."""

    def stumble(*_arguments: object, **_fields: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", stumble)
    with pytest.raises(kind) as raised:
        load_model(sample_models() / "tiny-llama")
    assert type(raised.value) is kind
