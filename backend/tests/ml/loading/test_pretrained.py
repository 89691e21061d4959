"""Loading a folder whose configuration is no configuration."""

from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRepository
from modelyard.ml.loading.pretrained import load_model


@pytest.mark.parametrize("content", [b'{"quantization_config": "x"}', b"[]", b"\xff", b"", b'{"a":' * 3000])
def test_what_is_no_configuration_is_the_repositorys_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InvalidRepository, match=r"^config\.json of "):
        load_model(tmp_path)


def test_a_folder_in_the_place_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InvalidRepository, match="cannot be read: Is a directory"):
        load_model(tmp_path)
