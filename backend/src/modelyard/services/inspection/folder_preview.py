"""What is told of a model's folder that nobody manages, without reading its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError

from modelyard.core.adapters import ADAPTER_CONFIG, is_adapter
from modelyard.core.environment import expand_home
from modelyard.core.errors import InvalidRequest
from modelyard.core.paths import FoundFile, PathRules
from modelyard.core.repository_json import read_config_file
from modelyard.core.safetensors_header import read_header
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.download import ModelInfo
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import FilePlan, plan_files
from modelyard.services.facts.folder_content import commit_of, hub_files, index_of
from modelyard.services.facts.model_facts import tensors
from modelyard.services.facts.parameter_count import parameter_count
from modelyard.services.facts.stored_tensors import compare_files
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.inspection_service import InspectionService
from modelyard.services.inspection.model_preview import (
    REQUEST_SECONDS,
    Found,
    plan_rows,
    refuse_unloadable,
    support,
    with_missing_weights,
)
from modelyard.services.settings_service import LOCAL


def model_folder(text: str) -> Path | None:
    """Return the folder that a text names, not a model on a Hub: one with a config.json, or what looks like a path.

    Raises InvalidRequest for a path that leads to no such folder.
    """
    folder = expand_home(Path(text))
    if (folder / "config.json").is_file():
        return folder.resolve()
    if not text.startswith(("/", ".", "~")):
        return None
    if (folder / ADAPTER_CONFIG).is_file():
        message = f"{text} is a PEFT adapter, which works only with the model it changes."
        raise InvalidRequest(message, hint=f"Import it: modelyard import {text} --name local/my-adapter.")
    if any(folder.glob("*.gguf")):
        message = f"{text} holds only GGUF files, which are loaded only after they were converted."
        raise InvalidRequest(message, hint="Convert one: modelyard import FILE.gguf --name local/my-model.")
    raise InvalidRequest(f"{text} is not a folder with a config.json.", hint="Name a model's folder, or its id.")


@dataclass(frozen=True)
class LocalCheckpoint:
    """A model's folder that nobody manages, as far as its files tell without being read whole."""

    checkpoint: Checkpoint
    plan: FilePlan


def read_folder(folder: Path) -> LocalCheckpoint:
    """Return the configuration and the weight files' headers of a folder, which needs no weights.

    Raises InvalidRequest, InvalidRepository.
    """
    found = PathRules.of_this_user().list_folder(folder)
    return read_files(found, str(folder), commit_of(found))


def read_files(found: Mapping[str, FoundFile], name: str, commit: str) -> LocalCheckpoint:
    """Return the same of files that were found already. Raises InvalidRequest, InvalidRepository."""
    plan = plan_files(hub_files(found), allow_pickle=True, index=index_of(found, name))
    try:
        config = read_config_file(found["config.json"].real, name)
        for file in plan.safetensors:
            read_header(found[file.path].real, name, file.path)
        weights = {file.path: found[file.path].real for file in plan.safetensors}
        headers = [parse_local_safetensors_file_metadata(path) for path in weights.values()]
    except (ValueError, SafetensorsParsingError) as error:
        raise InvalidRequest(f"A file of {name} is damaged: {error}", hint="Copy or download it again.") from error
    checkpoint = Checkpoint(
        name,
        commit,
        config,
        tensors(headers),
        plan.size_bytes,
        files=sorted(found),
        weights_problem=plan.weights.problem,
        same=compare_files(weights),
    )
    return LocalCheckpoint(checkpoint, plan)


def preview_folder(local: LocalCheckpoint, inspections: InspectionService, *, seconds: float) -> ModelInfo:
    """Return what `get_model_info` tells, of a folder. Waits at most `seconds` for the inspector."""
    checkpoint, plan = local.checkpoint, local.plan
    facts = read_config(checkpoint.config)
    names = [planned.file.path for planned in plan.files]
    found = _support(local, inspections, seconds)
    return ModelInfo(
        model_id=checkpoint.model_id,
        canonical_id=checkpoint.model_id,
        commit=checkpoint.commit,
        endpoint=LOCAL,
        architecture=facts.architecture,
        model_type=facts.model_type,
        dimensions=Dimensions(**facts.dimensions),
        num_parameters=parameter_count(checkpoint.config, checkpoint.tensors, found.described, checkpoint.same),
        dtype=facts.dtype,
        size_bytes=plan.size_bytes,
        missing_bytes=0,
        files=plan_rows(plan),
        licence=None,
        access="open",
        tags=[],
        downloads=None,
        likes=None,
        last_modified=None,
        has_tokenizer=plan.has_tokenizer,
        needs_custom_code=bool(found.needs_custom_code),
        already_quantized=facts.quantization_method,
        support=found.support,
        adapter=None,
        gguf_files=[],
        training=static_verdict(checkpoint.model_id, checkpoint.config, names),
        warnings=list(facts.problems),
    )


def require_loadable_files(
    found: Mapping[str, FoundFile], name: str, commit: str, inspections: InspectionService
) -> None:
    """Refuse files that the installed transformers cannot load; adapters are not looked at.

    Raises UnsupportedArchitecture, NoWeights, InvalidRequest, InvalidRepository.
    """
    if not is_adapter(found):
        refuse_unloadable(name, _support(read_files(found, name, commit), inspections, REQUEST_SECONDS))


def _support(local: LocalCheckpoint, inspections: InspectionService, seconds: float) -> Found:
    checkpoint = local.checkpoint
    found = support(
        inspections,
        checkpoint.model_id,
        checkpoint.commit,
        checkpoint.config,
        names=[planned.file.path for planned in local.plan.files],
        weights_problem=checkpoint.weights_problem,
        unscaled=checkpoint.unscaled,
        held=checkpoint.held,
        seconds=seconds,
    )
    lacking = 0 if found.described is None else checkpoint.count(found.described).lacking
    return with_missing_weights(found, lacking, checkpoint.config, tensors=len(checkpoint.tensors))
