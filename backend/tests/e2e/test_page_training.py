"""Training on the page: planned, stopped, gone on with, used."""

from pathlib import Path

import pytest

from support.browser import served, walk
from support.tools import require_training_extra


@pytest.mark.timeout(500)
def test_training_a_sparse_autoencoder(tmp_path: Path) -> None:
    require_training_extra()
    with served(tmp_path) as instance:
        walk(instance, "training")
