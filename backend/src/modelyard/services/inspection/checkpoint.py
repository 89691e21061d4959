"""What is known of a model's files without its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.core.safetensors_header import QUANTIZATION_FILE, unscaled_tensor
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.parameter_count import Compare, Count, Described, count_parameters


@dataclass(frozen=True)
class AdapterInMemory:
    """An adapter that is loaded on a model."""

    model_id: str
    commit: str
    memory_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a model's files; `tensors` is empty where there are no safetensors headers.

    `files` are the names of all of them. `config` is empty where there is no config.json.
    """

    model_id: str
    commit: str
    config: Mapping[str, Any]
    tensors: Sequence[Tensor]
    size_bytes: int
    files: Sequence[str]
    num_parameters: int | None = None
    weights_problem: str | None = None
    """Why its weight files are not a whole checkpoint."""
    adapter: AdapterInMemory | None = None
    """What is loaded on it as well."""
    same: Compare = field(default=lambda _first, _second: None, compare=False, repr=False)
    """Whether two of the tensors have the same content."""

    def count(self, described: Described) -> Count:
        """Return the parameters of the loaded model, where the configuration describes that many."""
        facts = read_config(self.config)
        if facts.quantization_method is not None:
            return Count(described.num_parameters)  # quantized tensors are packed: their elements are not parameters
        return count_parameters(described, self.tensors, facts.dimensions["num_layers"], self.same)

    @property
    def held(self) -> int | None:
        """The parameters in the weight files; None where they are packed, or nobody knows."""
        if read_config(self.config).quantization_method is not None:
            return None
        return sum(tensor.elements for tensor in self.tensors) or self.num_parameters

    @property
    def unscaled(self) -> str | None:
        """Return what shows that the weights are quantized while the configuration does not say so, or None."""
        if read_config(self.config).quantization_method is not None:
            return None
        if QUANTIZATION_FILE in self.files:
            return QUANTIZATION_FILE
        return unscaled_tensor((tensor.name, tensor.dtype) for tensor in self.tensors)
