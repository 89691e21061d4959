"""What a row's files on the disk say of it, written into the row."""

from huggingface_hub import parse_local_safetensors_file_metadata

from modelyard.core.database import Database
from modelyard.core.repository_json import read_config_inside
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.server.metadata import licence_of
from modelyard.services.facts.folder_content import require_checkpoint
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
    try:
        config = read_config_inside(folder, row.model_id)
    except FileNotFoundError:
        config = {}
    weights = weight_files(row, folder)
    found, licence = tensors(map(parse_local_safetensors_file_metadata, weights.values())), licence_of(folder)
    described = InspectionService(database).described(row.model_id, row.commit)
    num_parameters = parameter_count(config, found, described, compare_files(weights))
    with database.session() as session:
        row = ModelService(session).get_by_id(row_id)
        names = [file["path"] for file in row.files or ()]
        store_facts(row, config, found, names, num_parameters=num_parameters)
        row.licence = row.licence or licence
