"""SAELens as the training engine: its trainer, its stores, its file format; what is here only connects them.

For a process of its own: it seeds torch, and the hooks SAELens puts on a model are never taken off again.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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
from sae_lens.tokenization_and_batching import concat_and_batch_sequences
from sae_lens.training.activations_store import ActivationsStore
from sae_lens.training.sae_trainer import SAETrainer
from sae_lens.util import get_special_token_ids
from safetensors.torch import save_file

from modelyard.core.errors import TrainingDiverged
from modelyard.ml.sae.beginning import Beginning, find_beginning
from modelyard.ml.sae.checkpoints import Checkpoints, appear
from modelyard.ml.sae.engine import Metrics, TrainingRun, TrainingStopped
from modelyard.ml.sae.held_out import (
    Explained,
    explained,
    explained_by,
    kept_back_texts,
    trained_texts,
)
from modelyard.ml.sae.plan import HELD_OUT_TOKENS, buffer_contexts, lm_prompts

OnStep = Callable[[int, int, Callable[[], Metrics]], None]
OnGathered = Callable[[int, float], None]
NORM_ESTIMATE_BATCHES = 50
EVALUATIONS = 50
"""How often a run is compared with the text that is kept back."""

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
        beginning = find_beginning(tokenizer, run.beginning)
        cfg = _config(run, beginning, tokenizer)
        model.config.get_text_config().use_cache = False  # nothing is generated
        language_model = HookedProxyLM(model, tokenizer, hook_names=[run.hook_point])
        held_out = _held_out(language_model, cfg, beginning, texts, should_stop)
        store = _Store.of(language_model, cfg, beginning, trained_texts(texts), should_stop, on_gathered)
        sae = TrainingSAE.from_dict(cfg.get_training_sae_cfg_dict())
        _describe(sae, run, cfg, beginning, str(model.dtype).removeprefix("torch."))
        checkpoints = Checkpoints(Path(run.folder), run.checkpoint_seconds)
        trainer = _Trainer(cfg.to_sae_trainer_config(), sae, store, on_step, should_stop, checkpoints, held_out)
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
    beginning: Beginning

    @classmethod
    def of(
        cls,
        model: HookedProxyLM,
        cfg: "LanguageModelSAERunnerConfig[Any]",
        beginning: Beginning,
        texts: Callable[[], Iterable[str]],
        should_stop: Callable[[], bool],
        on_gathered: OnGathered,
    ) -> "_Store":
        store: _Store = cls.from_config(model, cfg, override_dataset=_dataset(texts))
        store.beginning, store.should_stop, store.on_gathered = beginning, should_stop, on_gathered
        return store

    def get_filtered_llm_batch(self, raise_on_epoch_end: bool = False) -> Any:
        if self.should_stop():
            raise TrainingStopped
        begun = time.monotonic()
        activations = super().get_filtered_llm_batch(raise_on_epoch_end)
        self.on_gathered(len(activations), time.monotonic() - begun)
        return activations

    def _iterate_tokenized_sequences(self) -> Iterator[torch.Tensor]:
        # SAELens knows no other beginning than the tokenizer's own.
        yield from concat_and_batch_sequences(
            tokens_iterator=self._iterate_raw_dataset_tokens(),
            context_size=self.context_size,
            begin_batch_token_id=self.beginning.token_id,
            sequence_separator_token_id=self.beginning.separator_id,
        )


def _held_out(
    model: HookedProxyLM,
    cfg: "LanguageModelSAERunnerConfig[Any]",
    beginning: Beginning,
    texts: Callable[[], Iterable[str]],
    should_stop: Callable[[], bool],
) -> torch.Tensor | None:
    """Return activations of text that is not trained on, [tokens, width]; None where it is less than one context."""
    kept_back = kept_back_texts(texts)
    if next(iter(kept_back()), None) is None:
        return None
    store = _Store.of(model, cfg, beginning, kept_back, should_stop, lambda _tokens, _seconds: None)
    store.store_batch_size_prompts = 1  # at the end of the text a batch that is not full would be lost
    found: list[torch.Tensor] = []
    with suppress(StopIteration):
        while sum(map(len, found)) < HELD_OUT_TOKENS:
            found.append(store.get_filtered_llm_batch(raise_on_epoch_end=True))
    return torch.cat(found)[:HELD_OUT_TOKENS] if found else None


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
        held_out: torch.Tensor | None,
    ) -> None:
        super().__init__(cfg=cfg, sae=sae, data_provider=store)
        self._store, self._on_step, self._should_stop = store, on_step, should_stop
        self._checkpoints = checkpoints
        self._begun_at = 0
        self._held_out = held_out
        self._evaluated: tuple[int, Explained] | None = None
        self._stride = max(1, cfg.total_training_samples // cfg.train_batch_size_samples // EVALUATIONS)

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

    def _explained_held_out(self, step: int, tokens: int) -> Explained:
        """Return the last comparison; a new one every few steps and at the end."""
        if self._held_out is None:
            return Explained()
        is_last = tokens >= self.cfg.total_training_samples
        if self._evaluated is None or step - self._evaluated[0] >= self._stride or is_last:
            self._evaluated = (
                step,
                explained_by(self.sae, self.activation_scaler(self._held_out), self.cfg.train_batch_size_samples),
            )
        return self._evaluated[1]

    def _metrics(self, step: int, tokens: int, output: Any) -> Metrics:
        told = self.build_train_step_log_dict(output=output, n_training_samples=tokens)
        mse = float(told["losses/mse_loss"])
        if not math.isfinite(mse):
            raise TrainingDiverged(f"The loss is no finite number any more at step {step}.")
        batch, held_out = explained(output.sae_in, output.sae_out), self._explained_held_out(step, tokens)
        return Metrics(
            step=step,
            tokens=tokens,
            mse=mse,
            explained_variance=batch.pooled,
            explained_variance_per_token=batch.per_token,
            held_out_explained_variance=held_out.pooled,
            held_out_explained_variance_per_token=held_out.per_token,
            l0=_finite(told["metrics/l0"]),
            # Before so many steps none can have been silent for that long: that is no 0.
            dead_features=int(told["sparsity/dead_features"]) if step > self.cfg.dead_feature_window else None,
        )


def _config(run: TrainingRun, beginning: Beginning, tokenizer: Any) -> "LanguageModelSAERunnerConfig[Any]":
    steps = run.training_tokens // run.batch_tokens
    special = {*get_special_token_ids(tokenizer), beginning.token_id, beginning.separator_id} - {None}
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
        seqpos_slice=(run.skip_positions, None) if run.skip_positions else (None,),
        prepend_bos=beginning.token_id is not None,
        sequence_separator_token=beginning.separator_id,
        exclude_special_tokens=sorted(special),  # their activations are outliers
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
    sae: "TrainingSAE[Any]",
    run: TrainingRun,
    cfg: "LanguageModelSAERunnerConfig[Any]",
    beginning: Beginning,
    model_dtype: str,
) -> None:
    """Return what SAELens's own runner would write beside the weights, and where exactly the activations came from."""
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
    metadata.beginning_token = beginning.token
    metadata.beginning_token_id = beginning.token_id


def _dataset(texts: Callable[[], Iterable[str]]) -> Any:
    """Return the texts as a data set that is read while it is used, without a copy of it on the disk."""

    def rows() -> Iterator[dict[str, str]]:
        yield from ({"text": text} for text in texts())

    return datasets.IterableDataset.from_generator(rows)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
