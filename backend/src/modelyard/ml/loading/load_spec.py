"""What to load, where to, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modelyard.core.checkpoint_folder import weight_files
from modelyard.core.statuses import QuantizationName


class ModelKey(NamedTuple):
    """What makes two loaded models the same."""

    model_id: str
    commit: str
    quantization: QuantizationName
    device: str
    dtype: str


@dataclass(frozen=True)
class AdapterSpec:
    """An adapter that may be loaded: its folder, and the name it has in memory, which no other adapter has."""

    name: str
    model_id: str
    commit: str
    folder: Path
    needed_bytes: int


@dataclass(frozen=True)
class LoadSpec:
    """What to load and how long to keep it.

    `folder` is the snapshot, or the artifact of this quantization. `option_bytes` are the estimated resident bytes of
    each quantization there is for this model: the budget, and what an out-of-memory hint chooses from.
    `ttl_seconds` after its last use an unpinned model is unloaded; None keeps it until memory is needed; with
    `sets_ttl` also a copy that is in memory already.
    `allow_offload` lets a model that the accelerators cannot hold stay in system memory in part, which is slow; with it
    the device must be `auto`, and the model not quantized. With `any_dtype` a copy that is in memory already will do,
    whatever its dtype; `dtype` is for the case that there is none. `adapter` is to be in memory beside the model.
    """

    model_id: str
    commit: str
    quantization: QuantizationName
    folder: Path
    device: str = "auto"
    dtype: str = "auto"
    allow_pickle: bool = False
    option_bytes: Mapping[str, int] = field(default_factory=dict)
    ttl_seconds: float | None = 3600
    pinned: bool = False
    allow_offload: bool = False
    any_dtype: bool = False
    sets_ttl: bool = False
    adapter: AdapterSpec | None = None

    @property
    def needed_bytes(self) -> int:
        """The estimate for this quantization; without one, the size of the files. The adapter is counted."""
        known = self.option_bytes.get(self.quantization)
        adapter = 0 if self.adapter is None else self.adapter.needed_bytes
        return adapter + (
            known if known is not None else sum(path.stat().st_size for path in weight_files(self.folder))
        )
