"""What a model's configuration and weight headers tell, written into its row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from huggingface_hub.utils import SafetensorsFileMetadata

from modelyard.models import Model
from modelyard.services.facts import header_estimate
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.inspection.weight_memory import ExactFigures


def store_facts(
    row: Model,
    config: Mapping[str, Any],
    found: Sequence[header_estimate.Tensor],
    names: Sequence[str],
    *,
    num_parameters: int | None,
) -> None:
    """Fill the row's architecture, dimensions, parameter count, estimated memory and whether it could be trained on;
    unknown stays None. `names` are the repository's files.
    """
    facts = read_config(config)
    load_dtype = facts.dtype or header_estimate.checkpoint_dtype(found)
    row.architecture, row.model_type, row.dtype = facts.architecture, facts.model_type, load_dtype
    row.has_custom_code = facts.auto_map
    row.training = static_verdict(row.model_id, config, names).model_dump()
    for name, value in facts.dimensions.items():
        setattr(row, name, value)
    if found:
        row.num_parameters = num_parameters
        if load_dtype is not None and facts.quantization_method is None:
            figures = header_estimate.weight_figures(found, row.quantization.value, load_dtype)
            row.memory_estimated_bytes, row.memory_method = figures.weights_bytes, "approximate"


def store_figures(row: Model, figures: ExactFigures) -> None:
    """Write what was computed exactly into a row."""
    row.num_parameters = figures.num_parameters
    weights = figures.weights_bytes.get(row.quantization.value)
    if weights is not None:
        row.memory_estimated_bytes, row.memory_method = weights, "exact"


def tensors(headers: Iterable[SafetensorsFileMetadata]) -> list[header_estimate.Tensor]:
    return [
        header_estimate.Tensor(name, info.dtype, tuple(info.shape))
        for header in headers
        for name, info in header.tensors.items()
    ]
