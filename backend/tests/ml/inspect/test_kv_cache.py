"""The cache's size for any length, against caches that real forward passes filled."""

import pytest

from ml import known_exceptions, measure, zoo
from ml.conftest import TinyModel
from modelyard.ml.inspect import kv_cache, meta_model
from modelyard.ml.inspect.kv_cache import KvSegment

MORE = ("cohere2", "deepseek_v2", "gemma3_text", "gpt_bigcode", "mistral", "modernbert-decoder", "openai-gpt", "phi3")


@pytest.mark.parametrize("model_type", zoo.cases(sample=(*zoo.SAMPLE, *MORE), without=known_exceptions.NOT_RUNNABLE))
def test_segments_equal_a_real_cache(tiny_model: TinyModel, model_type: str) -> None:
    compared = measure.kv(tiny_model(model_type))
    exact = isinstance(compared, measure.Compared) and compared.exact

    assert exact != (model_type in known_exceptions.KV_CACHE), compared


def test_a_window_bends_the_line_where_the_cache_stops_growing(tiny_model: TinyModel) -> None:
    found = kv_cache.measure_kv_cache(measure.skeleton(tiny_model("gemma2")))

    # one of two layers looks back 16 tokens and keeps 15 of them
    assert found.segments == (KvSegment(0, 0, 512), KvSegment(15, 15 * 512, 256))
    assert found.exact


def test_a_model_without_a_cache_has_a_flat_line_and_a_reason(tiny_model: TinyModel) -> None:
    found = kv_cache.measure_kv_cache(measure.skeleton(tiny_model("openai-gpt")))

    assert found.segments == (KvSegment(0, 0, 0),)
    assert "keeps no cache" in (found.reason or "")


def test_encoder_decoder_says_why_there_is_no_figure() -> None:
    found = kv_cache.measure_kv_cache(meta_model.build({"model_type": "t5", "num_layers": 2, "d_model": 64}))

    assert found.segments is None
    assert "encoder-decoder" in (found.reason or "")


def test_probing_twice_gives_the_same_answer(tiny_model: TinyModel) -> None:
    skeleton = measure.skeleton(tiny_model("jamba"))

    first, second = (kv_cache.measure_kv_cache(skeleton) for _ in range(2))
    # Up to which length it is checked depends on how long a forward takes.
    assert (first.segments, first.exact) == (second.segments, second.exact)


def test_a_table_of_labels_is_no_window() -> None:
    """transformers turns the keys of `id2label` into numbers."""
    config = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 64, "vocab_size": 64}
    labelled = meta_model.build(config | {"id2label": {"0": 7, "1": "LABEL_1"}})

    assert kv_cache.measure_kv_cache(labelled).segments is not None
