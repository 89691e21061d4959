"""What a row's files on the disk say of it, written into the row."""

from functools import partial
from pathlib import Path

from huggingface_hub import parse_local_safetensors_file_metadata

from modelyard.core.adapters import read_adapter
from modelyard.core.database import Database
from modelyard.core.repository_json import read_config_inside
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.metadata import licence_of
from modelyard.models import Model
from modelyard.services.adapters import facts_of, note_adapter
from modelyard.services.facts.adapter_facts import store_adapter_facts
from modelyard.services.facts.folder_content import holds_adapter, require_checkpoint
from modelyard.services.facts.model_facts import store_facts, tensors
from modelyard.services.facts.parameter_count import parameter_count
from modelyard.services.facts.stored_tensors import compare_files
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.model_files import weight_files
from modelyard.services.model_service import ModelService


def store_snapshot_facts(database: Database, cache: HubCache, row_id: str) -> None:
    """Fill in what configuration, headers and card of a row's snapshot say. Raises ModelNotFound, OSError, and
    NoWeights for files that no load opens."""
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
    folder = cache.snapshot_path(row.model_id, row.commit)
    require_checkpoint(folder, row.model_id, allow_pickle=row.allow_pickle)
    licence, adapter = licence_of(folder), None
    if holds_adapter(folder):
        adapter = read_adapter(folder, row.model_id)
        store = partial(store_adapter_facts, adapter=adapter)
    else:
        store = _facts_of_model(database, row, folder)
    with database.session() as session:
        row = ModelService(session).get_by_id(row_id)
        store(row, names=[file["path"] for file in row.files or ()])
        if adapter is not None:
            note_adapter(session, row, facts_of(row))
        row.licence = row.licence or licence


def _facts_of_model(database: Database, row: Model, folder: Path) -> partial[None]:
    """Read configuration and headers of a model; returns what writes their facts into its row."""
    try:
        config = read_config_inside(folder, row.model_id)
    except FileNotFoundError:
        config = {}
    weights = weight_files(row, folder)
    found = tensors(map(parse_local_safetensors_file_metadata, weights.values()))
    described = InspectionService(database).described(row.model_id, row.commit)
    num_parameters = parameter_count(config, found, described, compare_files(weights))
    return partial(store_facts, config=config, found=found, num_parameters=num_parameters)
