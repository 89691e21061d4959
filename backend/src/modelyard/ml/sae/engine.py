"""What a training engine is to the rest: it gets a model in memory and texts, and leaves a trained SAE in a folder.

This module needs neither torch nor an engine; `load_engine` does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from modelyard.core.extras import Extra, require
from modelyard.core.statuses import QuantizationName

SaeArchitecture = Literal["topk", "batchtopk", "matryoshka", "standard"]
OUTPUT_FOLDER = "sae"


@dataclass(frozen=True)
class TrainingRun:
    """Everything about a run. Paths are those of the machine that trains; `folder` is the run's own."""

    folder: str
    weights_folder: str
    model_id: str
    commit: str
    quantization: QuantizationName
    allow_pickle: bool
    dtype: str
    """Of the model: `auto` (as it is stored) or a torch name."""
    hook_point: str
    d_in: int
    d_sae: int
    architecture: SaeArchitecture
    k: int | None
    l1_coefficient: float | None
    dataset_path: str
    dataset_column: str
    path_rules: dict[str, Any]
    """What the data set's path must keep to: `PathRules.stored`."""
    training_tokens: int
    context_size: int
    batch_tokens: int
    learning_rate: float
    seed: int
    device: str
    """`auto` is the machine's first accelerator, or its CPU."""
    planned_bytes: int
    """What it will take of the device's memory, as planned."""
    checkpoint_seconds: float
    beginning: str = "auto"
    """What every context begins with: `auto` (the tokenizer's own), `none`, or a special token's text."""
    skip_positions: int = 0
    """So many positions at the beginning of every context are not trained on."""

    @property
    def steps(self) -> int:
        return max(1, -(-self.training_tokens // self.batch_tokens))

    @property
    def output(self) -> Path:
        """The finished SAE; it has this name only when it is whole."""
        return Path(self.folder) / OUTPUT_FOLDER


@dataclass(frozen=True)
class Metrics:
    """One step as the engine sees it. `mse` is the squared error of a token, summed over the width.

    Explained variance is that of the step's batch, pooled and as the mean over its tokens, and the same of text that is
    not trained on, as of a short time ago.
    """

    step: int
    tokens: int
    mse: float | None
    explained_variance: float | None
    explained_variance_per_token: float | None
    held_out_explained_variance: float | None
    held_out_explained_variance_per_token: float | None
    l0: float | None
    dead_features: int | None


class TrainingStopped(Exception):
    """Asked to stop; a checkpoint was written if there was anything to keep."""


class SaeEngine(Protocol):
    """One way to train a sparse autoencoder."""

    @property
    def name(self) -> str:
        """With its version."""

    def train(
        self,
        run: TrainingRun,
        model: Any,
        tokenizer: Any,
        texts: Callable[[], Iterable[str]],
        *,
        on_step: Callable[[int, int, Callable[[], Metrics]], None],
        on_gathered: Callable[[int, float], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Train from the run's last checkpoint, if there is one, and write the SAE into `run.output`.

        `texts` begins the data set anew with each call. `on_step` gets the step, the tokens so far and a function
        that computes the step's figures, which costs something. `on_gathered` gets the tokens whose activations were
        gathered from the model and the seconds this took, each time that it happens. Raises TrainingStopped,
        TrainingDiverged, InvalidRequest for a beginning the tokenizer does not have, and what torch raises when memory
        runs out.
        """


def load_engine() -> SaeEngine:
    """Raises SaeEngineMissing. Importing it takes seconds."""
    require(Extra.SAE)
    from modelyard.ml.sae.saelens_engine import SaeLensEngine

    return SaeLensEngine()
