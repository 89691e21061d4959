"""Training on the page: planned, stopped, gone on with, used."""

from pathlib import Path

import pytest

from support.browser import served, walk


@pytest.mark.sae
def test_training_a_sparse_autoencoder(tmp_path: Path) -> None:
    with served(tmp_path) as instance:
        walk(instance, "training")
