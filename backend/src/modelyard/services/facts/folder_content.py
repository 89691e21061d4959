"""What is in the files of a folder before they become a model here: an import's, or a snapshot's in the cache."""

from collections.abc import Mapping

from modelyard.core.errors import NoWeights
from modelyard.core.paths import FoundFile
from modelyard.core.repository_json import MAX_BYTES, parse_config
from modelyard.core.safetensors_header import (
    MAX_POINTER_BYTES,
    QUANTIZATION_FILE,
    is_lfs_pointer,
    parse_header,
    pointer_error,
    unscaled_message,
    unscaled_tensor,
)
from modelyard.core.weight_files import MAX_INDEX_BYTES, Index, index_to_read, parse_index
from modelyard.hub.client import HubFile
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import FilePlan


def hub_files(found: Mapping[str, FoundFile]) -> list[HubFile]:
    return [HubFile(name, file.status.st_size, None, None) for name, file in found.items()]


def index_of(found: Mapping[str, FoundFile], repository: str) -> Index | None:
    """What the index says that transformers would follow. Raises InvalidRequest, Conflict."""
    name = index_to_read(found)
    if name is None:
        return None
    with found[name].open() as file:
        return parse_index(file.read(MAX_INDEX_BYTES + 1), name, repository)


def require_content(found: Mapping[str, FoundFile], plan: FilePlan, repository: str) -> None:
    """Require whole weight files that are scaled as the configuration says, and no pointers of git-lfs.

    Raises NoWeights, InvalidRepository, InvalidRequest, Conflict.
    """
    dtypes = []
    for planned in plan.fetched:
        file = found[planned.path]
        with file.open() as content:
            if planned.path.endswith(".safetensors"):
                header = parse_header(content, file.status.st_size, planned.path, repository)
                dtypes += [(name, tensor.dtype) for name, tensor in header.items()]
            elif is_lfs_pointer(content.read(MAX_POINTER_BYTES), file.status.st_size):
                raise pointer_error(planned.path, repository)
    if "config.json" not in found:
        return
    with found["config.json"].open() as content:
        config = parse_config(content.read(MAX_BYTES + 1), repository)
    if read_config(config).quantization_method is None:
        seen = QUANTIZATION_FILE if QUANTIZATION_FILE in found else unscaled_tensor(dtypes)
        if seen is not None:
            raise NoWeights(f"{repository}: {unscaled_message(seen)}", hint="Choose another checkpoint of this model.")
