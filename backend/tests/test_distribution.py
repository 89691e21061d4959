"""Processes that share the tests take whole files, and the model types one by one."""

import pytest

from support.distribution import ByFileOrModelType

FOLDER = "backend/tests"


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("ml/inspect/test_memory.py::test_bytes_equal_a_real_load[llama]", "llama"),
        ("ml/inspect/test_kv_cache.py::test_segments_equal_a_real_cache[llama]", "llama"),
        ("ml/quantize/test_artifact.py::test_a_copy_of_every_type_is_exact_or_refused[llama-8bit-tiny]", "llama"),
        (
            "ml/quantize/test_artifact.py::test_a_model_with_nothing_to_quantize_is_refused",
            "ml/quantize/test_artifact.py",
        ),
        ("ml/inspect/test_memory.py::test_embeddings", "ml/inspect/test_memory.py"),
        ("ml/quantize/test_quantization.py::test_latent_attention_runs[8bit]", "ml/quantize/test_quantization.py"),
        ("e2e/test_kills.py::test_kills_at_random_moments", "e2e/test_kills.py"),
    ],
)
def test_what_stays_together(test: str, scope: str) -> None:
    found = ByFileOrModelType._split_scope(None, f"{FOLDER}/{test}")  # type: ignore[arg-type]

    assert found in (scope, f"{FOLDER}/{scope}")
