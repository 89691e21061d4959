import pytest

from modelyard.core.errors import ChecksumMismatch
from modelyard.models import Model, ModelStatus
from modelyard.services.architecture_service import hub_cache, local_config


@pytest.mark.parametrize("content", [b"", bytes(700), b"[1]", b'{"model_type": "lla'])
def test_a_configuration_that_was_damaged_is_told_as_such(content: bytes) -> None:
    row = Model(model_id="somebody/damaged", commit="ab" * 20, status=ModelStatus.READY)
    config = hub_cache().snapshot_path(row.model_id, row.commit) / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_bytes(content)

    with pytest.raises(ChecksumMismatch, match=r"config\.json of somebody/damaged") as error:
        local_config(row)

    assert "Verify" in (error.value.hint or "")
