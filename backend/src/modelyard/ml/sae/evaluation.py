"""Judging an SAE by SAELens's own evaluation functions, which get the text and the model from here.

Positions that were not trained on are not compared, and when the reconstruction is put in the place of the activations,
they stay as they are.
"""

import math
from typing import Any

import sae_lens
import torch
from sae_lens.evals import get_recons_loss, get_sparsity_and_variance_metrics
from sae_lens.training.activation_scaler import ActivationScaler

from modelyard.ml.sae.inference import LoadedSae
from modelyard.ml.sae.reading import Reading, Report, report_tokens

DENSE = 0.1
"""A feature that is active on a larger share of the tokens says little."""
BINS_PER_DECADE = 4
_THEIR_NAMES = {
    "ce_clean": "ce_loss_without_sae",
    "ce_reconstructed": "ce_loss_with_sae",
    "ce_zero": "ce_loss_with_ablation",
}
LOGIT_BYTES = 1_000_000_000
_COPIES = 8
"""Of a batch's logits that exist at once: three passes, and what a loss is made of."""


def evaluate(loaded: LoadedSae, reading: Reading, report: Report) -> dict[str, Any]:
    """Return the figures of an evaluation, under the names of `SaeEvaluation`."""
    compared = _Compared(reading, loaded.sae.cfg.d_sae, report)
    loaded.sae.cfg.metadata.hook_name = reading.hook_point
    figures, by_feature = get_sparsity_and_variance_metrics(
        loaded.sae,
        compared,
        compared,
        ActivationScaler(),
        n_batches=compared.batches,
        compute_l2_norms=True,
        compute_sparsity_metrics=True,
        compute_variance_metrics=True,
        compute_featurewise_density_statistics=True,
        eval_batch_size_prompts=compared.at_once,
        model_kwargs={},
        ignore_tokens=reading.ignored,
    )
    density = torch.tensor(by_feature["feature_density"], dtype=torch.float64)
    losses = _losses(loaded.sae, reading, report)
    clean, zero = losses["ce_clean"], losses["ce_zero"]
    recovered = (zero - losses["ce_reconstructed"]) / (zero - clean) if zero != clean else math.nan
    tokens = int(reading.counted(reading.contexts).sum())
    return {
        "tokens": tokens,
        "context_size": reading.context_size,
        "skip_positions": reading.skip,
        "explained_variance": _finite(figures["explained_variance"]),
        "explained_variance_per_token": _finite(figures["explained_variance_legacy"]),
        "mse": _finite(figures["mse"]),
        "cosine": _finite(figures["cossim"]),
        "l0": _finite(figures["l0"]),
        "dead_features": int((density == 0).sum()),
        "dense_features": int((density > DENSE).sum()),
        "density_histogram": _histogram(density, tokens),
        **{name: _finite(value) for name, value in losses.items()},
        "loss_recovered": _finite(recovered),
        "shrinkage": _finite(figures["l2_ratio"]),
        "relative_reconstruction_bias": _finite(figures["relative_reconstruction_bias"]),
        "engine": f"sae-lens {sae_lens.__version__}",
    }


class _Compared:
    """Gives SAELens batches of tokens and their activations without the positions that are skipped.

    It is what SAELens calls a store and a model.
    """

    def __init__(self, reading: Reading, d_sae: int, report: Report) -> None:
        self._reading, self._report = reading, report
        self.at_once = reading.at_once(d_sae)
        self._batches = torch.split(reading.contexts, self.at_once)
        self.batches = len(self._batches)
        self._next = 0

    def get_batch_tokens(self, _size: int) -> torch.Tensor:
        report_tokens(
            self._report,
            "reconstructing",
            self._next * self.at_once * self._reading.context_size,
            self._reading.tokens,
        )
        self._next += 1
        return self._batches[self._next - 1][:, self._reading.skip :]

    def run_with_cache(self, _tokens: torch.Tensor, **_options: Any) -> tuple[None, dict[str, torch.Tensor]]:
        activations = self._reading.activations(self._batches[self._next - 1])
        return None, {self._reading.hook_point: activations[:, self._reading.skip :]}


class _Spliced:
    """An SAE whose reconstruction leaves the positions that are skipped as they are."""

    def __init__(self, sae: Any, skip: int) -> None:
        self._sae, self._skip = sae, skip
        self.cfg, self.device = sae.cfg, sae.device
        self._given = torch.empty(0)

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        self._given = activations
        features: torch.Tensor = self._sae.encode(activations)
        return features

    def decode(self, features: torch.Tensor) -> torch.Tensor:
        decoded: torch.Tensor = self._sae.decode(features)
        return torch.cat([self._given[:, : self._skip].to(decoded.dtype), decoded[:, self._skip :]], dim=1)


def _losses(sae: Any, reading: Reading, report: Report) -> dict[str, float]:
    """Return the mean cross-entropy of the tokens after those that count: clean, reconstructed and zeroed."""
    head = reading.model.model.get_output_embeddings()
    # A mean of log-probabilities in bfloat16 has three digits.
    handle = head.register_forward_hook(lambda _module, _args, logits: logits.float())
    vocabulary = head.weight.shape[0]
    at_once = max(1, LOGIT_BYTES // (4 * _COPIES * vocabulary * reading.context_size))
    sums, counted, done = dict.fromkeys(_THEIR_NAMES, 0.0), 0, 0
    spliced, device = _Spliced(sae, reading.skip), reading.model.model.device
    try:
        for batch in torch.split(reading.contexts, at_once):
            report_tokens(report, "measuring_loss", done, reading.tokens)
            found = get_recons_loss(
                spliced, reading.model, ActivationScaler(), batch.to(device),
                compute_kl=False, compute_ce_loss=True, ignore_tokens=reading.ignored, hook_name=reading.hook_point,
            )  # fmt: skip
            counts = reading.counted(batch)[:, :-1]
            for name, theirs in _THEIR_NAMES.items():
                sums[name] += float(found[theirs].cpu()[counts].double().sum())
            counted += int(counts.sum())
            done += batch.numel()
    finally:
        handle.remove()
    return {name: total / counted if counted else math.nan for name, total in sums.items()}


def _histogram(density: torch.Tensor, tokens: int) -> dict[str, Any]:
    """Return the bins of what is ever active, as powers of ten, from one token of all of them up to every token."""
    lowest = -BINS_PER_DECADE * max(1, math.ceil(math.log10(max(10, tokens))))
    places = torch.clamp(torch.ceil(torch.log10(density[density > 0]) * BINS_PER_DECADE).long(), lowest + 1, 0)
    counts = torch.bincount(places - lowest - 1, minlength=-lowest)
    return {
        "edges": [number / BINS_PER_DECADE for number in range(lowest, 1)],
        "counts": counts.tolist(),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
