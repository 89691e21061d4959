from pathlib import Path

import pytest

from modelyard.core.errors import InvalidRepository
from modelyard.models import Model, ModelStatus
from modelyard.services.architecture_service import hub_cache, local_config

DEEP = b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"
WRONG = [b"", bytes(700), b"[1]", b"7", b'{"model_type": "lla', b"\xff", DEEP, b'{"quantization_config": "x"}']


@pytest.fixture
def row() -> Model:
    return Model(model_id="somebody/damaged", commit="ab" * 20, status=ModelStatus.READY)


@pytest.fixture
def config(row: Model) -> Path:
    path = hub_cache().snapshot_path(row.model_id, row.commit) / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("content", WRONG)
def test_a_configuration_that_is_none_is_told_as_such(row: Model, config: Path, content: bytes) -> None:
    config.write_bytes(content)

    with pytest.raises(InvalidRepository, match=r"config\.json of somebody/damaged") as error:
        local_config(row)

    assert "Verify" in (error.value.hint or "")
    assert error.value.extra == {"file": "config.json"}
