"""What is told of a model before any of its weights are here."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelyard.core.adapters import Adapter, adapter_message
from modelyard.core.errors import (
    ModelyardError,
    NoWeights,
    UnsupportedAdapter,
    UnsupportedArchitecture,
)
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import Access
from modelyard.hub.model_info import HubModel
from modelyard.hub.names import validate_files
from modelyard.schemas.architecture import Dimensions
from modelyard.schemas.common import Reason
from modelyard.schemas.download import AdapterPreview, ModelInfo, Support
from modelyard.schemas.download import FilePlan as FilePlanRow
from modelyard.services.facts.adapter_facts import adapter_facts
from modelyard.services.facts.config_facts import ConfigFacts, read_config
from modelyard.services.facts.file_plan import FilePlan
from modelyard.services.facts.parameter_count import Described
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.inspection.hub_gguf import HubGguf
from modelyard.services.inspection.hub_repository import HubRepository, remote_files
from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService
from modelyard.services.model_files import bytes_to_fetch

SUPPORT_SECONDS = 10.0
"""How long a preview waits to hear whether transformers can build the model."""

REQUEST_SECONDS = 3.0
"""How long a download or an import waits for it; a preview has usually asked before."""

_ANYWAY = "Choose another model, or keep its files for other programs: allow_unsupported, `--allow-unsupported`."
_NO_HEAD, _INCOMPLETE, _FEW_TENSORS = "no_output_embedding", "weights_incomplete", "few_tensors"
_REFUSED: Mapping[str, type[ModelyardError]] = {
    UnsupportedArchitecture.code: UnsupportedArchitecture,
    _NO_HEAD: NoWeights,
    _INCOMPLETE: NoWeights,
}
"""What the installed transformers opens nowhere. What it opens with more packages, or in programs that run a
repository's code, is downloaded."""


_FEWEST_TENSORS = 12
"""Weight files with fewer tensors than the smallest model are not refused for what they lack: they are something that
config.json does not describe, which nobody here can judge."""


@dataclass(frozen=True)
class Found:
    """Whether a model can be loaded here, whether it needs code of its own, and what its configuration describes."""

    support: Support
    needs_custom_code: bool | None = None
    described: Described | None = None
    adapter: AdapterPreview | None = None


def preview(
    repository: HubRepository, access: Access, inspections: InspectionService, cache: HubCache, *, seconds: float
) -> ModelInfo:
    """Return what a model on a Hub is and which of its files would be fetched.

    Waits at most `seconds` for the inspector. Raises InvalidRepository and HubError, as a download would.
    """
    model = repository.model
    readable = access in ("open", "accepted")
    config = repository.config() if readable else None
    plan = repository.offered(readable=readable)
    facts = read_config(config or {})
    files = remote_files(plan)
    validate_files(files)
    found, counted = _support(repository, config, plan, inspections, readable=readable, seconds=seconds)
    return ModelInfo(
        model_id=model.model_id,
        canonical_id=model.canonical_id,
        commit=model.commit,
        endpoint=repository.client.endpoint,
        architecture=facts.architecture,
        model_type=facts.model_type,
        dimensions=Dimensions(**facts.dimensions),
        num_parameters=counted,
        dtype=facts.dtype,
        size_bytes=plan.size_bytes,
        missing_bytes=bytes_to_fetch(cache, model.model_id, model.commit, files),
        files=plan_rows(plan),
        licence=model.licence,
        access=access,
        tags=list(model.tags),
        downloads=model.downloads,
        likes=model.likes,
        last_modified=model.last_modified,
        has_tokenizer=plan.has_tokenizer,
        already_quantized=facts.quantization_method,
        support=found.support,
        adapter=found.adapter,
        gguf_files=HubGguf(repository).listed(readable=readable),
        training=static_verdict(model.model_id, config, repository.file_names),
        needs_custom_code=bool(found.needs_custom_code),
        warnings=_warnings(model, plan, facts, found),
    )


def require_loadable(
    repository: HubRepository, plan: FilePlan, inspections: InspectionService, *, seconds: float = REQUEST_SECONDS
) -> None:
    """Raise UnsupportedArchitecture or NoWeights for what the installed transformers opens nowhere.

    Where the inspector does not answer within `seconds`, nobody knows, and nothing is refused.
    """
    config = repository.config()
    found, _ = _support(repository, config, plan, inspections, readable=True, seconds=seconds)
    refuse_unloadable(repository.model.model_id, found)


def refuse_unloadable(model_id: str, found: Found) -> None:
    """Raise UnsupportedArchitecture or NoWeights for a model of which this was found."""
    reason = next((reason for reason in found.support.reasons if reason.code in _REFUSED), None)
    if reason is not None:
        raise _REFUSED[reason.code](f"{model_id} cannot be loaded here: {reason.message}", hint=_ANYWAY)


def _support(
    repository: HubRepository,
    config: dict[str, Any] | None,
    plan: FilePlan,
    inspections: InspectionService,
    *,
    readable: bool,
    seconds: float,
) -> tuple[Found, int | None]:
    """Return what is found of a model on a Hub, and its number of parameters."""
    if plan.is_adapter:
        return _adapter_support(repository, plan, readable=readable)
    model = repository.model
    counted, unscaled = model.num_parameters, None
    if plan.safetensors and readable:
        unscaled = repository.unscaled(plan, config or {})
        if counted is None:
            counted = sum(tensor.elements for tensor in repository.tensors(plan))
    if config is None and "config.json" in repository.file_names:
        found = _unread()
    else:
        found = support(
            inspections,
            model.model_id,
            model.commit,
            config,
            names=repository.file_names,
            weights_problem=plan.weights.problem,
            unscaled=unscaled,
            held=counted if read_config(config or {}).quantization_method is None else None,
            seconds=seconds,
        )
    if readable:
        lacking = repository.lacking(plan, config or {}, found.described, counted)
        counted = repository.count(plan, config or {}, found.described, counted)
        held = len(repository.tensors(plan)) if lacking else 0
        found = with_missing_weights(found, lacking, config or {}, tensors=held)
    return found, counted


def _unread() -> Found:
    reason = Reason(code="no_access", message="Its configuration cannot be read yet.")
    return Found(Support(level="unverified", reasons=[reason]))


def _adapter_support(repository: HubRepository, plan: FilePlan, *, readable: bool) -> tuple[Found, int | None]:
    """Return what is found of an adapter, and its number of parameters."""
    if not readable:
        return _unread(), None
    try:
        plan.require_weights(repository.model.model_id, allow_pickle=False)
        adapter = repository.adapter(plan)
    except UnsupportedAdapter as error:
        reason = Reason(code=error.code, message=error.message)
        return Found(Support(level="unsupported", reasons=[reason])), None
    reason = Reason(code="peft_adapter", message=adapter_message(adapter.config.base_model))
    found = Found(Support(level="supported", reasons=[reason]), adapter=adapter_preview(adapter))
    return found, adapter.weights.num_parameters


def adapter_preview(adapter: Adapter) -> AdapterPreview:
    """Return what is told of an adapter before its base was looked up."""
    memory = adapter.weights.memory_bytes
    return AdapterPreview(**adapter_facts(adapter).model_dump(), memory_bytes=memory, base=None)


def with_missing_weights(found: Found, lacking: int, config: Mapping[str, Any], *, tensors: int) -> Found:
    """Return what was found, where weight files with so many tensors lack so many of the described parameters."""
    if not lacking:
        return found
    dimensions, level = read_config(config).dimensions, found.support.level
    if lacking == (dimensions["vocab_size"] or 0) * (dimensions["hidden_size"] or 0):
        message = "The weight files have no output embedding, and config.json does not tie it to the input embedding."
        reason, level = Reason(code=_NO_HEAD, message=message), "unsupported"
    else:
        message = (
            f"The weight files lack {lacking:,} of the parameters that config.json describes. A load that finds tensors"
            " missing is refused."
        )
        if tensors >= _FEWEST_TENSORS:
            reason, level = Reason(code=_INCOMPLETE, message=message), "unsupported"
        else:
            reason = Reason(code=_FEW_TENSORS, message=message)
            level = "unverified" if level == "supported" else level
    return replace(found, support=Support(level=level, reasons=[*found.support.reasons, reason]))


def support(
    inspections: InspectionService,
    model_id: str,
    commit: str,
    config: Mapping[str, Any] | None,
    *,
    names: Sequence[str],
    weights_problem: str | None = None,
    unscaled: str | None = None,
    held: int | None = None,
    seconds: float = SUPPORT_SECONDS,
) -> Found:
    """Judge a model before it is here; `names` are all its files, `held` the parameters in its weights."""
    from modelyard.ml.inspect.support import static_support, worth_building

    static = static_support(config, names, weights_problem=weights_problem, unscaled=unscaled)
    verdict = asdict(static)
    if config is not None and worth_building(static):
        try:
            verdict = inspections.ask(
                "support", model_id, commit, config, seconds=seconds, files=list(names), held=held
            )
        except InspectionFailed as failure:
            if static.level != "unsupported":
                verdict["level"] = "unverified"
                verdict["reasons"] = [*verdict["reasons"], {"code": "not_inspected", "message": failure.message}]
    reasons = [Reason(code=reason["code"], message=reason["message"]) for reason in verdict["reasons"]]
    return Found(Support(level=verdict["level"], reasons=reasons), verdict["needs_custom_code"], Described.of(verdict))


def plan_rows(plan: FilePlan) -> list[FilePlanRow]:
    return [
        FilePlanRow(
            path=planned.file.path,
            size_bytes=planned.file.size_bytes,
            sha256=planned.file.sha256,
            fetch=planned.fetch,
            reason=planned.reason,
        )
        for planned in plan.files
    ]


def _warnings(model: HubModel, plan: FilePlan, facts: ConfigFacts, found: Found) -> list[str]:
    """Return what `support` does not tell already."""
    warnings = list(facts.problems)
    if not plan.has_tokenizer and not plan.is_adapter:
        warnings.append("No tokenizer in the repository.")
    for folder in plan.unusable_modules:
        warnings.append(
            f"The weights of {folder} are a pickle file and are not fetched: transformers loads the model,"
            " sentence-transformers cannot."
        )
    if "modelyard-sample" in model.tags:
        warnings.append("A sample with random weights, for trying Modelyard out.")
    if facts.auto_map and not found.needs_custom_code:
        warnings.append("Code in the repository is not downloaded and never run.")
    return warnings
