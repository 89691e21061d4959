"""Loading an SAE of the shelf to be run, with what its training says about how the model reads text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modelyard.core.errors import InvalidRepository
from modelyard.core.extras import Extra, require
from modelyard.ml.sae.beginning import AUTO, NONE

DEFAULT_CONTEXT = 128
MAX_CONTEXT = 4096
_HEADS = ("hook_q", "hook_k", "hook_v", "hook_z")


@dataclass(frozen=True)
class LoadedSae:
    """An SAE in memory: `sae.encode` and `sae.decode` take activations [..., d_in] and features [..., d_sae]."""

    sae: Any
    context_size: int
    skip_positions: int
    """So many positions at the beginning of a context were not trained on."""
    beginning: str
    """What every context begins with: auto, none, or a token."""
    excluded_tokens: tuple[int, ...]
    """Ids of tokens that were not trained on."""

    def encode(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the features [..., d_sae] of activations [..., d_in]; the SAE follows them to their device."""
        if self.sae.device != activations.device:
            self.sae.to(activations.device)
        features: torch.Tensor = self.sae.encode(activations)
        return features.to_dense() if features.is_sparse else features


def load_sae(folder: Path, device: "str | torch.device" = "cpu", dtype: str = "float32") -> LoadedSae:
    """Load an SAE in SAELens's format for inference; its scaling of activations is folded into its weights.

    Raises SaeEngineMissing, and InvalidRepository for files that SAELens does not load. Importing it takes seconds.
    """
    require(Extra.SAE)
    from sae_lens import SAE

    try:
        sae = SAE.load_from_disk(folder, device=str(device), dtype=dtype)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidRepository(f"SAELens cannot load the sparse autoencoder: {error}") from error
    sae.eval().requires_grad_(False)
    metadata = sae.cfg.metadata
    if metadata.get("hook_head_index") is not None or any(head in (metadata.hook_name or "") for head in _HEADS):
        raise InvalidRepository("The sparse autoencoder reads attention heads, which are no hook point here.")
    return LoadedSae(
        sae,
        context_size=max(2, min(int(metadata.context_size or DEFAULT_CONTEXT), MAX_CONTEXT)),
        skip_positions=_skipped(metadata.seqpos_slice),
        beginning=metadata.get("beginning_token") or (NONE if metadata.prepend_bos is False else AUTO),
        excluded_tokens=_ids(metadata.exclude_special_tokens),
    )


def _skipped(seqpos_slice: Any) -> int:
    first = seqpos_slice[0] if isinstance(seqpos_slice, list | tuple) and seqpos_slice else None
    return first if isinstance(first, int) and first > 0 else 0


def _ids(excluded: Any) -> tuple[int, ...]:
    return tuple(each for each in excluded if isinstance(each, int)) if isinstance(excluded, list | tuple) else ()
