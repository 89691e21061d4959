"""SAELens as the training engine: its trainer, its stores, its file format; what is here only connects them.

For a process of its own: it seeds torch, and the hooks SAELens puts on a model are never taken off again.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import sae_lens
import torch
from sae_lens.config import LanguageModelSAERunnerConfig, LoggingConfig
from sae_lens.constants import RUNNER_CFG_FILENAME, SPARSITY_FILENAME
from sae_lens.load_model import HookedProxyLM
from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAEConfig
from sae_lens.saes.matryoshka_batchtopk_sae import MatryoshkaBatchTopKTrainingSAEConfig
from sae_lens.saes.sae import TrainingSAE, TrainingSAEConfig
from sae_lens.saes.standard_sae import StandardTrainingSAEConfig
from sae_lens.saes.topk_sae import TopKTrainingSAEConfig
from sae_lens.training.activations_store import ActivationsStore
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import save_file

from modelyard.core.errors import TrainingDiverged
from modelyard.ml.sae.checkpoints import Checkpoints, appear
from modelyard.ml.sae.engine import Metrics, TrainingRun, TrainingStopped
from modelyard.ml.sae.plan import buffer_contexts, lm_prompts

OnStep = Callable[[int, int, Callable[[], Metrics]], None]
OnGathered = Callable[[int, float], None]
NORM_ESTIMATE_BATCHES = 50

log = logging.getLogger(__name__)


class SaeLensEngine:
    """The engine behind the extra `sae`."""

    @property
    def name(self) -> str:
        return f"sae-lens {sae_lens.__version__}"

    def train(
        self,
        run: TrainingRun,
        model: Any,
        tokenizer: Any,
        texts: Callable[[], Iterable[str]],
        *,
        on_step: OnStep,
        on_gathered: OnGathered,
        should_stop: Callable[[], bool],
    ) -> None:
        torch.manual_seed(run.seed)
        cfg = _config(run, tokenizer)
        model.config.get_text_config().use_cache = False  # nothing is generated
        language_model = HookedProxyLM(model, tokenizer, hook_names=[run.hook_point])
        store = _Store.from_config(language_model, cfg, override_dataset=_dataset(texts))
        store.should_stop, store.on_gathered = should_stop, on_gathered
        sae = TrainingSAE.from_dict(cfg.get_training_sae_cfg_dict())
        _describe(sae, run, cfg, str(model.dtype).removeprefix("torch."))
        checkpoints = Checkpoints(Path(run.folder), run.checkpoint_seconds)
        trainer = _Trainer(cfg.to_sae_trainer_config(), sae, store, on_step, should_stop, checkpoints)
        found = checkpoints.latest()
        if found is not None:
            trainer.load_trainer_state(found)
            sae.load_weights_from_checkpoint(found)
            store.load_from_checkpoint(found)
            log.info("going on from %s", found.name)
        try:
            trainer.fit()
        except TrainingStopped:
            trainer.checkpoint()
            raise
        with appear(run.output) as partial:
            sae.save_inference_model(partial)
            save_file({"sparsity": trainer.log_feature_sparsity}, partial / SPARSITY_FILENAME)
            (partial / RUNNER_CFG_FILENAME).write_text(json.dumps(cfg.to_dict()), encoding="utf-8")
        checkpoints.remove()


class _Store(ActivationsStore):  # type: ignore[misc]
    """Lets a run be stopped while activations are gathered, which may take longer than a step, and times that."""

    should_stop: Callable[[], bool]
    on_gathered: OnGathered

    def get_filtered_llm_batch(self, raise_on_epoch_end: bool = False) -> Any:
        if self.should_stop():
            raise TrainingStopped
        begun = time.monotonic()
        activations = super().get_filtered_llm_batch(raise_on_epoch_end)
        self.on_gathered(len(activations), time.monotonic() - begun)
        return activations


class _Trainer(SAETrainer[Any, Any]):  # type: ignore[misc]
    """Tells of every step, and saves or stops between two of them."""

    def __init__(
        self,
        cfg: Any,
        sae: Any,
        store: _Store,
        on_step: OnStep,
        should_stop: Callable[[], bool],
        checkpoints: Checkpoints,
    ) -> None:
        super().__init__(cfg=cfg, sae=sae, data_provider=store)
        self._store, self._on_step, self._should_stop = store, on_step, should_stop
        self._checkpoints = checkpoints
        self._begun_at = 0

    def fit(self) -> Any:
        self._begun_at = self.n_training_steps
        return super().fit()

    def step(self, batch: torch.Tensor) -> Any:
        # Here and not after the step, because the trainer counts a step only when this method has returned.
        if self._should_stop():
            raise TrainingStopped
        if self._checkpoints.due():
            self.checkpoint()
        output = super().step(batch)
        step, tokens = self.n_training_steps + 1, self.n_training_samples
        self._on_step(step, tokens, lambda: self._metrics(step, tokens, output))
        return output

    def checkpoint(self) -> None:
        """Save the state of the last whole step, if this attempt has done any."""
        if self.n_training_steps == self._begun_at:
            return
        with self._checkpoints.saving(self.n_training_samples) as folder:
            self.save_checkpoint(folder.name, base_path=folder.parent)
            self._store.save_to_checkpoint(folder)
        log.info("saved the state after %s tokens", f"{self.n_training_samples:,}")

    def _metrics(self, step: int, tokens: int, output: Any) -> Metrics:
        told = self.build_train_step_log_dict(output=output, n_training_samples=tokens)
        mse = float(told["losses/mse_loss"])
        if not math.isfinite(mse):
            raise TrainingDiverged(f"The loss is no finite number any more at step {step}.")
        return Metrics(
            step=step,
            tokens=tokens,
            mse=mse,
            explained_variance=_finite(told["metrics/explained_variance"]),
            l0=_finite(told["metrics/l0"]),
            # Before so many steps none can have been silent for that long: that is no 0.
            dead_features=int(told["sparsity/dead_features"]) if step > self.cfg.dead_feature_window else None,
        )


def _config(run: TrainingRun, tokenizer: Any) -> "LanguageModelSAERunnerConfig[Any]":
    steps = run.training_tokens // run.batch_tokens
    has_bos = tokenizer.bos_token_id is not None
    return LanguageModelSAERunnerConfig(
        sae=_sae_config(run, steps),
        model_name=run.model_id,
        model_class_name="AutoModelForCausalLM",
        hook_name=run.hook_point,
        dataset_path=run.dataset_path,
        dataset_trust_remote_code=False,
        streaming=False,
        is_dataset_tokenized=False,
        context_size=run.context_size,
        training_tokens=run.training_tokens,
        train_batch_size_tokens=run.batch_tokens,
        store_batch_size_prompts=lm_prompts(run.context_size),
        n_batches_in_buffer=buffer_contexts(run.batch_tokens, run.context_size),
        prepend_bos=has_bos,
        sequence_separator_token="bos" if has_bos else "eos",
        exclude_special_tokens=True,  # their activations are outliers
        lr=run.learning_rate,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 5,
        # A run may be shorter than SAELens's window, and would then never see a dead feature.
        dead_feature_window=max(1, min(1000, steps // 4)),
        n_batches_for_norm_estimate=max(1, min(NORM_ESTIMATE_BATCHES, steps)),
        device=run.device,
        dtype="float32",
        seed=run.seed,
        model_from_pretrained_kwargs={"revision": run.commit},
        logger=LoggingConfig(log_to_wandb=False),
        n_checkpoints=0,
        checkpoint_path=None,
        output_path=None,
        verbose=False,
    )


def _sae_config(run: TrainingRun, steps: int) -> TrainingSAEConfig:
    size: dict[str, Any] = {"d_in": run.d_in, "d_sae": run.d_sae, "device": run.device, "dtype": "float32"}
    match run.architecture:
        case "topk":
            return TopKTrainingSAEConfig(**size, k=run.k)
        case "batchtopk":
            return BatchTopKTrainingSAEConfig(**size, k=float(run.k or 0))
        case "matryoshka":
            widths = sorted({run.d_sae // 16, run.d_sae // 4, run.d_sae} - {0})
            return MatryoshkaBatchTopKTrainingSAEConfig(**size, k=float(run.k or 0), matryoshka_widths=widths)
        case "standard":
            return StandardTrainingSAEConfig(
                **size,
                l1_coefficient=run.l1_coefficient,
                l1_warm_up_steps=steps // 20,
                normalize_activations="expected_average_only_in",
            )


def _describe(
    sae: "TrainingSAE[Any]", run: TrainingRun, cfg: "LanguageModelSAERunnerConfig[Any]", model_dtype: str
) -> None:
    """What SAELens's own runner would write beside the weights, and where exactly the activations came from."""
    metadata = sae.cfg.metadata
    for name in (
        "dataset_path", "hook_name", "model_name", "model_class_name", "hook_head_index", "context_size",
        "seqpos_slice", "prepend_bos", "exclude_special_tokens",
        "sequence_separator_token", "disable_concat_sequences",
    ):  # fmt: skip
        setattr(metadata, name, getattr(cfg, name))
    metadata.model_commit = run.commit
    metadata.model_quantization = run.quantization
    metadata.model_dtype = model_dtype
    metadata.dataset_column = run.dataset_column


def _dataset(texts: Callable[[], Iterable[str]]) -> Any:
    """The texts as a data set that is read while it is used, without a copy of it on the disk."""

    def rows() -> Iterator[dict[str, str]]:
        yield from ({"text": text} for text in texts())

    return datasets.IterableDataset.from_generator(rows)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
