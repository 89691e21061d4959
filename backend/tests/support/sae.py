"""The training extra: tests that need it are skipped, with the reason, where it is not installed."""

import pytest

from modelyard.ml.sae.engine import REQUIREMENT, engine_installed

needs_sae = pytest.mark.skipif(
    not engine_installed(), reason=f"the training extra is not installed (pip install '{REQUIREMENT}')"
)
