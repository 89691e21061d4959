"""`modelyard.load`: a model of this instance's store in the caller's own process, a notebook's for example.

`modelyard.remote` and `modelyard.activations` use the server's model instead.
"""

import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelyard.core.errors import ChecksumMismatch, InvalidRequest, ModelNotFound, ModelyardError, NoTokenizer, NotReady
from modelyard.core.statuses import QuantizationName

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from modelyard.client.lock_file import LockedModel
    from modelyard.core.database import Database
    from modelyard.models import Model


@dataclass(frozen=True)
class _Found:
    """Where a model is. `quantization` is what remains to be done while loading."""

    folder: Path
    quantization: QuantizationName
    allow_pickle: bool = False
    files: "Sequence[Mapping[str, Any]]" = ()
    """Its manifest."""


def load(
    model: str | Path,
    quantization: QuantizationName = "none",
    revision: str | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    download: bool = False,
    lock: str | Path | None = None,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase | None]":
    """Return the model, ready for inference, and its tokenizer (None, with a warning, where it has none).

    `model` is the name of one that is ready in this instance's store, or a folder: a snapshot or a quantized copy,
    which is loaded as it is stored. `revision` is a branch, tag or commit (its first letters are enough); otherwise
    the newest that is here. `device` is auto (the GPU with the most free memory, else the CPU), cpu, mps or cuda:N.
    With `download`, a model that is not here is asked of the running server and waited for. `lock` is a lock file,
    which names the commit; other files than it lists are an error, other versions of libraries a warning.

    The tokenizer is transformers' own, in this process: none of the server's limits hold for it or its chat template.

    Raises ExtraMissing, ModelNotFound, NotReady, ServerUnreachable, InvalidRequest, InvalidLockFile, ChecksumMismatch
    for a model that is not as locked, and what reading the weights raises: AlreadyQuantized, NoWeights, UnsafeWeights,
    UnsupportedArchitecture; each says what to do next.
    """
    try:
        locked = None if lock is None else _locked(Path(lock), model, quantization, revision)
        return _load(model, quantization, locked.commit if locked else revision, device, dtype, download, locked)
    except ModelyardError as error:
        if error.hint:
            error.add_note(error.hint)
        raise


def _load(
    model: str | Path,
    quantization: QuantizationName,
    revision: str | None,
    device: str,
    dtype: str,
    download: bool,
    locked: "LockedModel | None",
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase | None]":
    from modelyard.core.extras import Extra, require
    from modelyard.services.inspection.folder_preview import model_folder

    require(Extra.TORCH)
    folder = model_folder(str(model))
    if folder is not None:
        found = _Found(folder, quantization)
    elif isinstance(model, Path):
        raise ModelNotFound(f"There is no model's folder at {model}.", hint="Name a folder with a config.json.")
    else:
        found = _find(model, quantization, revision, download=download)
        if locked is not None:
            _require_locked(found, locked)

    # It warns of a faster kernel on the Hub, which is not asked here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from modelyard.ml.loading.pretrained import load_model, load_tokenizer

    loaded = load_model(
        found.folder,
        quantization=found.quantization,
        device_map={"": _device(device)},
        dtype=dtype,
        allow_pickle=found.allow_pickle,
    )
    try:
        return loaded, load_tokenizer(found.folder)
    except NoTokenizer as error:
        warnings.warn(error.message, stacklevel=3)
        return loaded, None


def _locked(file: Path, model: str | Path, quantization: str, revision: str | None) -> "LockedModel":
    """Raises InvalidLockFile, InvalidRequest, and ModelNotFound for a model that the file does not name."""
    from modelyard.client.lock_file import LIBRARIES, library_differences, read_lock
    from modelyard.core.extras import installed_version

    if revision is not None or isinstance(model, Path):
        raise InvalidRequest(
            "A lock file names the commit of a model.", hint="Give the model's name, and no revision, with lock=."
        )
    lock = read_lock(file)
    found = lock.find(model, quantization)
    if found is None:
        there = sorted(each.quantization for each in lock.model if each.model_id == model)
        raise ModelNotFound(
            f"{file} does not name {model}"
            + (f" in precision {quantization}, only {', '.join(there)}." if there else "."),
            hint="Write it again with `modelyard lock -o FILE`.",
        )
    here = {name: installed_version(name) for name in LIBRARIES}
    for difference in library_differences(lock.libraries, here):
        warnings.warn(f"{difference.subject} is {difference.message}.", stacklevel=3)
    return found


def _require_locked(found: _Found, locked: "LockedModel") -> None:
    """Raise ChecksumMismatch where a model has other files than were locked."""
    from modelyard.client.lock_file import file_differences, locked_files

    if differences := file_differences(locked, locked_files(found.files)):
        raise ChecksumMismatch(
            f"{locked.name} is not as it was locked: {differences[0].message}.",
            hint="`modelyard lock --check FILE` lists what differs; `modelyard verify` fetches damaged files again.",
        )


def _find(name: str, quantization: QuantizationName, revision: str | None, *, download: bool) -> _Found:
    rows, server_url = _rows(name)
    ready = _matching(rows, revision)
    if not ready:
        if not download:
            raise _not_here(name, quantization, revision, rows)
        _download(server_url, name, quantization, revision)
        ready = _matching(_rows(name)[0], revision)
        if not ready:
            raise NotReady(
                f"{name} is ready on the server at {server_url}, but not in this process's store.",
                hint="Give this process the server's MODELYARD_HOME, MODELYARD_DATABASE_URL and HF_HUB_CACHE.",
            )
    exact = [row for row in ready if row.quantization.value == quantization]
    if exact:
        return _as_stored(exact[0])
    unquantized = next((row for row in ready if row.quantization.value == "none"), None)
    if unquantized is None:
        there = ready[0].quantization.value
        raise ModelNotFound(
            f"{name} is here in precision {there}, not {quantization}.",
            hint=f'Load it with quantization="{there}", or get the other: {_pull(name, quantization, revision)}.',
        )
    warnings.warn(
        f"{name} is being quantized to {quantization} for this process alone;"
        f" `modelyard quantize {name} -q {quantization}` keeps a copy that loads at once.",
        stacklevel=4,
    )
    stored = _as_stored(unquantized)
    return replace(stored, quantization=quantization)


def _rows(name: str) -> "tuple[Sequence[Model], str]":
    """Return the rows of a name, the newest first, and where the instance's server is. Raises DatabaseUnusable."""
    from modelyard.client.offline import database_exists, open_database
    from modelyard.client.settings import load_settings

    if not database_exists():
        return [], load_settings().local_url
    database = open_database()
    try:
        return _read(database, name)
    finally:
        database.dispose()


def _read(database: "Database", name: str) -> "tuple[Sequence[Model], str]":
    from modelyard.services.model_service import ModelService
    from modelyard.services.settings_service import SettingsService

    with database.reading() as session:
        return ModelService(session).get_by_model_id(name), SettingsService(session).server_url()


def _matching(rows: "Sequence[Model]", revision: str | None) -> "list[Model]":
    from modelyard.models import ModelStatus

    return [
        row
        for row in rows
        if row.status is ModelStatus.READY
        and (revision is None or row.revision == revision or row.commit.startswith(revision))
    ]


def _as_stored(row: "Model") -> _Found:
    """Raises NotReady when the files are gone."""
    from modelyard.services.inference.load_spec import load_spec
    from modelyard.services.jobs.payloads import LoadOptions

    spec = load_spec(row, LoadOptions())
    if not (spec.folder / "config.json").is_file():
        raise NotReady(
            f"The files of {row.model_id} are gone from {spec.folder}.",
            hint=f"Get them again: {_pull(row.model_id, row.quantization.value, None)}.",
        )
    return _Found(spec.folder, "none", row.allow_pickle, row.files or ())


def _not_here(name: str, quantization: str, revision: str | None, rows: "Sequence[Model]") -> ModelNotFound | NotReady:
    get = f"{_pull(name, quantization, revision)} gets it, or load(…, download=True)."
    if not rows:
        return ModelNotFound(f"{name} is not in this store.", hint=get)
    if revision is not None:
        return ModelNotFound(f"{name} is not in this store in revision {revision}.", hint=get)
    return NotReady(f"{name} is {rows[0].status}, not ready.", hint=get)


def _pull(name: str, quantization: str, revision: str | None) -> str:
    options = "" if quantization == "none" else f" -q {quantization}"
    return f"`modelyard pull {name}{options}{f' --revision {revision}' if revision else ''}`"


def _download(server_url: str, name: str, quantization: str, revision: str | None) -> None:
    """Raises ServerUnreachable, and ApiError with the reason when the model will not be ready."""
    from modelyard.client.api_client import ApiClient, ServerUnreachable
    from modelyard.client.follow import follow_model, start
    from modelyard.client.progress import Lines
    from modelyard.client.settings import load_settings

    key = load_settings().api_key
    request = {"model_id": name, "revision": revision, "quantization": quantization}
    with ApiClient(server_url, key.get_secret_value() if key else None) as client:
        try:
            row, _fresh = start(client, request, _note)
        except ServerUnreachable as error:
            raise ServerUnreachable(
                f"{name} is not in this store, and {error.message[0].lower()}{error.message[1:]}",
                hint=f"Start the server with `modelyard serve`, then {_pull(name, quantization, revision)} or this.",
            ) from error
        if row["status"] != "ready":
            follow_model(client, row, Lines(_note), _note, wait_for_disk=sys.stderr.isatty())


def _note(text: str) -> None:
    from modelyard.core.printable import printable

    print(printable(text), file=sys.stderr)


def _device(name: str) -> "torch.device":
    from modelyard.ml.loading import devices

    if name != "auto":
        return devices.parse_device(name)
    found = devices.accelerators()
    return max(found, key=devices.free_bytes) if found else devices.parse_device("cpu")
