"""What is done with an SAE and a model that reads a text: judging it, looking for its features. Needs no torch."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class SaeWork:
    """Everything about one piece of work. Paths are those of the machine that does it."""

    kind: Literal["evaluate", "features"]
    folder: str
    """Where it may write: the SAE's own."""
    sae_folder: str
    weights_folder: str
    model_id: str
    allow_pickle: bool
    dtype: str
    """Of the model: `auto` (as it is stored) or a torch name."""
    hook_point: str
    """A path in the model."""
    dataset_path: str
    dataset_column: str
    path_rules: dict[str, Any]
    held_out: bool
    """Read only the rows that a training run on this text keeps back."""
    tokens: int
    device: str
    top: int = 0
    """Passages per feature."""
    final_norm: str | None = None
    """The model's final norm, where it is known: features are compared with tokens through its weight."""
