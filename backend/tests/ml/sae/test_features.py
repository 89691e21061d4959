"""Feature pages, recomputed without what builds them; the file is read back as the API reads it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ml.sae.test_evaluation import (
    CONTEXT,
    D_SAE,
    HOOK,
    loaded,
    output_of,
    texts,
    tokenizer,
    weights,
    work,
)
from modelyard.core.errors import InvalidRequest, NotReady
from modelyard.ml.loading.pretrained import load_model
from modelyard.ml.sae.feature_file import NAME, FeatureFile
from modelyard.ml.sae.features import BINS, EFFECTS, Tally, token_effects
from modelyard.ml.sae.inference import LoadedSae

__all__ = ["loaded", "tokenizer", "weights"]

TOP = 5


def decoder(width: int, features: int = 30) -> torch.Tensor:
    return torch.randn(features, width, generator=torch.Generator().manual_seed(3))


class Ends(nn.Module):
    """The end of a model: a norm and an output embedding."""

    def __init__(self, norm: nn.Module, width: int) -> None:
        super().__init__()
        self.norm, self.head = norm, nn.Linear(width, 50, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


class OneMore(nn.Module):
    """A norm that adds one to what it stores, as Gemma's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, stream: torch.Tensor) -> torch.Tensor:
        return stream / stream.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt() * (1 + self.weight)


@pytest.mark.parametrize("norm", [nn.RMSNorm(16, eps=1e-6), OneMore(16), nn.LayerNorm(16), None])
def test_a_feature_promotes_what_its_direction_adds_to_the_logits(norm: Any) -> None:
    torch.manual_seed(0)
    model, directions = Ends(norm or nn.Identity(), 16), decoder(16)
    expected = directions
    if norm is not None:
        weight = torch.randn(16).abs() + 0.5
        with torch.no_grad():
            norm.weight.copy_(weight - 1 if isinstance(norm, OneMore) else weight)
        if isinstance(norm, nn.LayerNorm):
            nn.init.normal_(norm.bias)
            expected = directions - directions.mean(1, keepdim=True)
        expected = expected * weight
    effects = expected @ model.head.weight.T
    found = token_effects(model, None if norm is None else "norm", directions)
    assert found is not None
    for feature, (promoted, suppressed) in enumerate(zip(*found, strict=True)):
        values, tokens = effects[feature].sort(descending=True)
        assert [token for token, _ in promoted] == tokens[:EFFECTS].tolist()
        assert [token for token, _ in suppressed] == tokens.flip(0)[:EFFECTS].tolist()
        assert [value for _, value in promoted] == pytest.approx(values[:EFFECTS].tolist(), rel=1e-4, abs=1e-4)


def test_another_width_has_no_tokens() -> None:
    assert token_effects(Ends(nn.Identity(), 16), None, decoder(12)) is None


def test_batches_are_tallied_as_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(12, 6, 20, generator=generator).relu() * torch.logspace(-3, 3, 12)[:, None, None]
    features[..., 7] = 0
    features[:, :, 9] *= -1
    counted = torch.rand(12, 6, generator=generator) > 0.2
    tally = Tally(20, 6, TOP)
    for first in range(0, 12, 4):
        tally.add(first, features[first : first + 4], counted[first : first + 4])
    kept = features.masked_fill(~counted[..., None], 0)
    for feature in tally.features(torch.arange(72).view(12, 6), None):
        values = kept[..., feature.index]
        assert feature.density == pytest.approx(float((values != 0).sum() / counted.sum()))
        assert sum(feature.histogram) == int((values != 0).sum())
        best = values.abs().amax(1)
        order = [number for number in best.argsort(descending=True).tolist() if best[number] > 0][:TOP]
        assert [passage.context for passage in feature.passages] == order
        for passage in feature.passages:
            row = torch.zeros(6)
            row[list(passage.offsets)] = torch.tensor(passage.activations)
            assert torch.equal(row, values[passage.context])
        if feature.passages:
            assert feature.maximum == float(best.max())
            width = feature.histogram_end / len(feature.histogram)
            assert feature.maximum <= feature.histogram_end + 1e-6
            assert len(feature.histogram) > BINS // 2 or feature.density * counted.sum() < BINS
            places = (values.abs()[values != 0] / width).ceil().long() - 1
            assert torch.bincount(places.clamp(0), minlength=len(feature.histogram)).tolist() == feature.histogram
    assert feature is not None


@pytest.mark.sae
def test_pages_are_those_of_a_plain_recomputation(
    weights: Path, loaded: LoadedSae, tokenizer: Any, tmp_path: Path
) -> None:
    from modelyard.ml.sae.features import build_features
    from modelyard.ml.sae.reading import Reading

    path, reports = tmp_path / NAME, list[dict[str, Any]]()
    reading = Reading(work(kind="features"), loaded, load_model(weights, dtype="float32"), tokenizer, texts())
    with pytest.raises(NotReady):
        FeatureFile(path).feature(0)
    facts = build_features(loaded, reading, tokenizer, "model.norm", TOP, path, reports.append)

    counted = reading.counted(reading.contexts)
    given, _ = output_of(load_model(weights, dtype="float32"), reading.contexts)
    features = loaded.sae.encode(given).masked_fill(~counted[..., None], 0)
    density = (features != 0).float().sum((0, 1)) / counted.sum()
    assert facts == {
        "tokens": int(counted.sum()), "top": TOP, "active_features": int((density > 0).sum()),
        "final_norm": "model.norm", "size_bytes": path.stat().st_size,
    }  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == [NAME]
    assert {report["phase"] for report in reports} == {"reading_features", "writing"}

    file = FeatureFile(path)
    page, total = file.page(sort="-density", limit=10, offset=0)
    assert total == D_SAE
    assert [each["density"] for each in page] == pytest.approx(density.sort(descending=True).values[:10].tolist())
    largest = features.amax((0, 1))
    page, _ = file.page(sort="-max", limit=3, offset=2)
    assert [each["max"] for each in page] == pytest.approx(largest.sort(descending=True).values[2:5].tolist(), rel=1e-4)
    for each in page:
        shown = file.feature(each["index"])
        values = features[..., each["index"]]
        best = values.amax(1).sort(descending=True)
        assert [passage["activation"] for passage in shown["passages"]] == pytest.approx(
            best.values[:TOP][best.values[:TOP] > 0].tolist(), rel=1e-4
        )
        first, context = shown["passages"][0], int(best.indices[0])
        assert [token["id"] for token in first["tokens"]] == reading.contexts[context].tolist()
        assert [token["activation"] for token in first["tokens"]] == pytest.approx(
            values[context].tolist(), rel=1e-4, abs=1e-5
        )
        assert first["tokens"][first["position"]]["activation"] == first["activation"]
        assert each["top_token"] == first["tokens"][first["position"]]["text"]
        assert sum(shown["histogram"]["counts"]) == int((values != 0).sum())
        assert len(shown["promoted"]) == len(shown["suppressed"]) == EFFECTS
        assert each["promoted"] == [token["text"] for token in shown["promoted"]][:5]
    with pytest.raises(InvalidRequest, match="no feature 256"):
        file.feature(D_SAE)
    assert len(first["tokens"]) == CONTEXT
    assert reading.hook_point == HOOK
