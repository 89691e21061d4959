"""Commands about models on a Hub."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from modelyard.commands import _format
from modelyard.commands._adapter_facts import offered_adapter
from modelyard.commands._connect import ClientCommand, connect, note_if_slow
from modelyard.commands._options import HUB_PANEL, DtypeName, HubModelArgument, JsonOption, RevisionOption
from modelyard.commands._output import Cell, note, print_facts, print_json, print_table, say
from modelyard.commands.models import dimension_facts
from modelyard.commands.search import search

if TYPE_CHECKING:
    from pydantic import BaseModel

    from modelyard.client.answers import (
        GgufFile,
        MemoryEstimate,
        MemoryOption,
        ModelInfo,
        Support,
    )
    from modelyard.client.api_client import ApiClient
    from modelyard.services.huggingface_model_service import HuggingFaceModelService

SILENT_SECONDS = 1.0
"""How long a command waits for a server's answer before it says what it is waiting for."""

Figure = Literal[
    "weights_bytes",
    "kv_cache_bytes",
    "activation_bytes",
    "overhead_bytes",
    "total_bytes",
    "load_peak_bytes",
    "download_bytes",
    "disk_bytes",
]
_FIGURES: dict[str, Figure] = {
    "weights": "weights_bytes",
    "KV cache": "kv_cache_bytes",
    "activations": "activation_bytes",
    "overhead": "overhead_bytes",
    "total": "total_bytes",
    "load peak": "load_peak_bytes",
    "download": "download_bytes",
    "on disk": "disk_bytes",
}
_PARTS_OF_TOTAL = ("weights_bytes", "kv_cache_bytes", "activation_bytes", "total_bytes")


def register(app: typer.Typer) -> None:
    for command in (search, info, estimate):
        app.command(cls=ClientCommand, rich_help_panel=HUB_PANEL)(command)


def info(
    context: typer.Context, model_id: HubModelArgument, revision: RevisionOption = None, as_json: JsonOption = False
) -> None:
    """Show a model on the Hub, and which files a download would fetch."""
    folder = _folder(model_id)
    answer: ModelInfo
    if folder is not None:
        answer = _of_folder(folder)
    else:
        answer = _ask(
            context,
            lambda client: client.get(f"/models/info/{_quoted(model_id)}", revision=revision),
            lambda service: service.get_model_info(model_id, revision),
        )
    if as_json:
        print_json(answer)
        return
    size = answer["size_bytes"]
    print_facts(
        [
            ("model", answer["model_id"]),
            ("on the Hub", answer["canonical_id"] if answer["canonical_id"] != answer["model_id"] else None),
            ("commit", answer["commit"] if folder is None else None),
            ("from", answer["endpoint"] if folder is None else "this folder"),
            *offered_adapter(answer.get("adapter")),
            ("architecture", answer["architecture"]),
            ("parameters", _format.count(answer["num_parameters"])),
            ("stored as", answer["dtype"]),
            *dimension_facts(answer["dimensions"]),
            ("licence", answer["licence"]),
            ("access", _format.ACCESS[answer["access"]] if folder is None else None),
            ("quantized", answer["already_quantized"]),
            ("support", _support(answer["support"])),
            ("SAE training", _format.compatibility(answer["training"])),
            ("download" if folder is None else "size", _download(answer) if folder is None else _format.size(size)),
            *(("note", warning) for warning in answer["warnings"]),
        ]
    )
    print()
    if choices := answer.get("gguf_files"):
        _print_gguf(choices)
    print_table(
        ("FILE", "SIZE", "FETCHED" if folder is None else "USED", "BECAUSE"),
        [
            (file["path"], _format.size(file["size_bytes"]), "yes" if file["fetch"] else "no", file["reason"])
            for file in answer["files"]
        ],
        right=("SIZE",),
        wrap=("BECAUSE",),
    )


def _print_gguf(choices: "Sequence[GgufFile]") -> None:
    """Print what `pull --gguf` can be told, and why some of it cannot be converted."""
    print_table(
        ("GGUF FILE", "TYPE", "SIZE", "MEMORY", "REMARK"),
        [
            (
                choice["path"],
                choice["quantization_type"],
                _format.size(choice["size_bytes"]),
                _format.size(choice["weights_bytes"]),
                choice["problem"] or "",
            )
            for choice in choices
        ],
        right=("SIZE", "MEMORY"),
        wrap=("REMARK",),
    )
    print()


def estimate(
    context: typer.Context,
    model_id: HubModelArgument,
    revision: RevisionOption = None,
    tokens: Annotated[int, typer.Option("--context", help="Tokens per sequence.", min=1)] = 2048,
    batch: Annotated[int, typer.Option(help="Sequences at once.", min=1)] = 1,
    dtype: Annotated[DtypeName, typer.Option(help="Dtype of `none`; auto: as stored.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Estimate a model's memory in each precision, and whether it fits, before the download."""
    folder = _folder(model_id)
    answer: MemoryEstimate
    if folder is not None:
        answer = _estimate_of_folder(folder, tokens, batch, dtype)
    else:
        answer = _ask(
            context,
            lambda client: client.get(
                "/models/estimate-memory",
                model_id=model_id,
                revision=revision,
                context=tokens,
                batch=batch,
                dtype=dtype,
            ),
            lambda service: service.estimate_memory(model_id, revision, context=tokens, batch=batch, dtype=dtype),
        )
    if as_json:
        print_json(answer)
        return
    if answer["context"] < tokens:
        note(f"The model takes at most {answer['context']:,} tokens, so {answer['context']:,} are counted.")
    how = answer["method"] + (f" ({answer['method_reason']})" if answer["method_reason"] else "")
    say(
        f"{answer['model_id']}: {_format.count(answer['num_parameters'])} parameters in {answer['dtype'] or 'unknown'}."
    )
    sequences = "a sequence" if answer["batch"] == 1 else f"{answer['batch']} sequences"
    say(f"Memory for {sequences} of {answer['context']:,} tokens; {how}:")
    print()
    _print_options(answer["options"], without=("download_bytes",) if folder is not None else ())
    more = {option["quantization"]: option.get("fast_dtype_bytes") for option in answer["options"]}
    if faster := answer.get("fast_dtype"):
        say(f"{_format.faster(faster, more['none'])} (`modelyard load … --dtype {faster['dtype']}`)")
    for text in dict.fromkeys(option["note"] for option in answer["options"] if option["note"]):
        names = [option["quantization"] for option in answer["options"] if option["note"] == text]
        say(f"{', '.join(names)}: {text}")
    if answer.get("may_improve"):
        say("Some figures were not ready in time: run the command again for better ones.")


def _print_options(options: "Sequence[MemoryOption]", without: Collection[str]) -> None:
    """Print a column for each precision, so that it fits a terminal whatever is known and however many devices."""
    rows: list[tuple[Cell, ...]] = []
    for label, field in _FIGURES.items():
        # A part of the total has its line even where it is not known.
        if field not in without and (field in _PARTS_OF_TOTAL or any(option[field] is not None for option in options)):
            rows.append((label, *(_figure(option, field) for option in options)))
    for device in dict.fromkeys(verdict["device"] for option in options for verdict in option["verdicts"]):
        rows.append((_device(options, device), *(_verdict(option, device) for option in options)))
    names = [option["quantization"] for option in options]
    print_table(("QUANT", *names), rows, right=names)


def _ask(
    context: typer.Context,
    server: "Callable[[ApiClient], Any]",
    local: "Callable[[HuggingFaceModelService], BaseModel]",
) -> Any:
    """Return the server's answer, or this process's own if there is no server."""
    from modelyard.client.api_client import ServerUnreachable

    client = connect(context)
    remark = f"Waiting for {client.url}, which builds the model without its weights …"
    try:
        with note_if_slow(context, remark, SILENT_SECONDS):
            return server(client)
    except ServerUnreachable as error:
        from modelyard.client.offline import INSPECTION_SECONDS, database, own_inspector
        from modelyard.services.huggingface_model_service import HuggingFaceModelService
        from modelyard.services.settings_service import SettingsService

        with database() as found:
            with found.reading() as session:
                settings = SettingsService(session)
                endpoint, source = settings.endpoint_url(), settings.endpoint_source()
            if source == "builtin":
                raise ServerUnreachable(
                    f"{error.message} The Hub in use is the built-in one, which is a part of it."
                ) from error
            note(f"{error.message} Asking {endpoint} from this machine.")
            with own_inspector(note):
                service = HuggingFaceModelService(found, inspection_seconds=INSPECTION_SECONDS)
                return local(service).model_dump(mode="json")


def _folder(model: str) -> Path | None:
    """Return the folder that an argument names, None if it names a model on a Hub."""
    if not (model.startswith(("/", ".", "~")) or Path(model).is_dir()):
        return None
    from modelyard.services.inspection.folder_preview import model_folder

    return model_folder(model)


def _of_folder(folder: Path) -> Any:
    from modelyard.client.offline import INSPECTION_SECONDS, empty_database, own_inspector
    from modelyard.services.inspection.folder_preview import preview_folder, read_folder
    from modelyard.services.inspection.inspection_service import InspectionService

    local = read_folder(folder)
    with empty_database() as found, own_inspector(note):
        return preview_folder(local, InspectionService(found), seconds=INSPECTION_SECONDS).model_dump(mode="json")


def _estimate_of_folder(folder: Path, tokens: int, batch: int, dtype: str) -> Any:
    from modelyard.client.offline import INSPECTION_SECONDS, empty_database, own_inspector
    from modelyard.services import system_service
    from modelyard.services.inspection.folder_preview import read_folder
    from modelyard.services.inspection.memory_service import MemoryService

    checkpoint = read_folder(folder).checkpoint
    with empty_database() as found, own_inspector(note):
        return (
            MemoryService(found)
            .estimate(
                checkpoint,
                system_service.devices([os.getpid()]),
                context=tokens,
                batch=batch,
                dtype=dtype,
                seconds=INSPECTION_SECONDS,
            )
            .model_dump(mode="json")
        )


def _quoted(model_id: str) -> str:
    from urllib.parse import quote

    return quote(model_id, safe="/:")


def _support(support: "Support") -> str:
    reasons = " ".join(reason["message"] for reason in support["reasons"])
    return f"{support['level']}: {reasons}" if reasons else support["level"]


def _download(answer: "ModelInfo") -> str:
    whole, missing = answer["size_bytes"], answer["missing_bytes"]
    if missing == whole:
        return _format.size(whole)
    if missing == 0:
        return f"{_format.size(whole)}, all of it in the cache already"
    return f"{_format.size(whole)}, {_format.size(missing)} of it still to download"


def _figure(option: "MemoryOption", field: Figure) -> str:
    size = option[field]
    if size is None:
        return "unknown" if option["available"] and field in _PARTS_OF_TOTAL else "-"
    # A server of an older version does not say.
    at_least = field == "total_bytes" and option.get("total_is_lower_bound")
    return f"≥ {_format.size(size)}" if at_least else _format.size(size)


def _device(options: "Sequence[MemoryOption]", device: str) -> str:
    """CPU (19.7 GB free)."""
    known = [v["free_bytes"] for option in options for v in option["verdicts"] if v["device"] == device]
    free = next((size for size in known if size is not None), None)
    return device.upper() + (f" ({_format.size(free)} free)" if free is not None else "")


def _verdict(option: "MemoryOption", device: str) -> Text:
    if not option["available"]:
        return Text("-", "dim")
    verdict = next(v for v in option["verdicts"] if v["device"] == device)["verdict"]
    return Text(_format.VERDICTS[verdict], _format.VERDICT_STYLES[verdict])
