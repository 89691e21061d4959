"""What an adapter's configuration and header tell, written into its row."""

from collections.abc import Sequence

from modelyard.core.adapters import Adapter
from modelyard.models import Model, ModelKind
from modelyard.schemas.model import AdapterFacts
from modelyard.services.facts.training_verdict import static_verdict


def adapter_facts(adapter: Adapter) -> AdapterFacts:
    config, weights = adapter.config, adapter.weights
    return AdapterFacts(
        base_model=config.base_model,
        base_revision=config.base_revision,
        rank=weights.rank,
        target_modules=list(weights.target_modules),
    )


def store_adapter_facts(row: Model, adapter: Adapter, names: Sequence[str]) -> None:
    """Fill in the row of an adapter. `names` are the repository's files.

    The base keeps the name under which it was found when the adapter was asked for.
    """
    facts = adapter_facts(adapter)
    if row.adapter is not None:
        facts.base_model = row.adapter["base_model"]
    row.kind, row.adapter = ModelKind.ADAPTER, facts.model_dump()
    row.num_parameters, row.dtype = adapter.weights.num_parameters, adapter.weights.dtype
    row.memory_estimated_bytes, row.memory_method = adapter.weights.memory_bytes, "exact"
    row.training = static_verdict(row.model_id, None, names).model_dump()
