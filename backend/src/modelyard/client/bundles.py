"""Carry bundles between a server and this machine: follow them, fetch their parts, send their files."""

import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.client.progress import Display, Shown, amounts, speed
from modelyard.core.bundle_tar import part_name, whole_name
from modelyard.core.errors import AlreadyExists, ChecksumMismatch, Conflict, DatabaseUnavailable, InvalidRequest
from modelyard.core.storage import ensure_free, storage_errors
from modelyard.core.units import size

if TYPE_CHECKING:
    from modelyard.client.answers import BundleProgress, BundleResponse, BundleUpload
    from modelyard.client.api_client import ApiClient, Json

POLL_SECONDS = 0.5
PIECE_BYTES = 8_000_000
_READ_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_WORDS = {"waiting": "waiting for a worker", "hashing": "hashing small files", "finishing": "adding the models"}


def start(client: "ApiClient", path: str, request: "Json") -> "BundleResponse":
    """Start an export or an import, or go on with the one that is there already."""
    from modelyard.client.api_client import ApiError

    try:
        bundle: BundleResponse = client.post(path, request)
    except ApiError as error:
        if error.code != AlreadyExists.code or "id" not in error.extra:
            raise
        bundle = client.get(f"/bundles/{error.extra['id']}")
    if bundle["status"] in ("paused", "failed", "cancelled"):
        bundle = client.post(f"/bundles/{bundle['id']}/resume")
    return bundle


def follow(client: "ApiClient", bundle: "BundleResponse", display: Display) -> "BundleResponse":
    """Return the bundle once it is ready. Raises ApiError with the reason when it will not be."""
    from modelyard.client.api_client import OUTAGE_SECONDS, ApiError, ServerUnreachable

    heard = time.monotonic()
    while True:
        display.update(_shown(bundle))
        if bundle["status"] == "ready":
            return bundle
        if (error := bundle["error"]) and bundle["status"] in ("failed", "paused"):
            raise ApiError(error["code"], error["message"], error["hint"], id=bundle["id"])
        if bundle["status"] not in ("pending", "running"):
            raise Conflict(f"{bundle['name']} is {bundle['status']}.", hint="The same command continues.")
        time.sleep(POLL_SECONDS)
        try:
            bundle = client.get(f"/bundles/{bundle['id']}")
            heard = time.monotonic()
        except (ServerUnreachable, ApiError) as problem:
            passes = isinstance(problem, ServerUnreachable) or problem.code == DatabaseUnavailable.code
            if not passes or time.monotonic() - heard > OUTAGE_SECONDS:
                raise


def fetch_parts(client: "ApiClient", bundle: "BundleResponse", output: Path, display: Display) -> list[Path]:
    """Write the parts of a bundle to `output`, or beside it with numbers; what is there of them is continued.

    Raises InvalidRequest where another file is in the way, DiskFull, ChecksumMismatch.
    """
    parts = bundle["parts"]
    paths = [output.with_name(part_name(output.name, number, len(parts))) for number in range(1, len(parts) + 1)]
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    for path, part in zip(paths, parts, strict=True):
        unfinished = _unfinished(path, part["sha256"] or "")
        if path.exists():
            if path.stat().st_size != part["size_bytes"] or _sha256(path) != part["sha256"]:
                raise InvalidRequest(f"{path} exists and is another file.", hint="Remove it, or choose another name.")
            done += part["size_bytes"]
        elif unfinished.exists():
            done += unfinished.stat().st_size
    ensure_free(output.parent, bundle["size_bytes"] - done, hint="Free space, or choose another disk.")
    progress = _Moved("fetching", bundle["name"], done, bundle["size_bytes"], display)
    for number, (path, part) in enumerate(zip(paths, parts, strict=True), 1):
        if path.exists():
            continue
        unfinished = _unfinished(path, part["sha256"] or "")
        with storage_errors(output.parent), unfinished.open("ab") as file:
            for chunk in client.read_from(f"/bundles/{bundle['id']}/parts/{number}", file.tell(), part["size_bytes"]):
                file.write(chunk)
                progress.add(len(chunk))
        if _sha256(unfinished) != part["sha256"]:
            unfinished.unlink()
            raise ChecksumMismatch(f"{path.name} arrived damaged.", hint="The same command fetches it again.")
        unfinished.replace(path)
    return paths


def local_parts(path: Path) -> list[Path]:
    """Find the files of a bundle on this machine, of which `path` is one."""
    whole = whole_name(path.name)
    base = path if whole is None else path.with_name(whole)
    parts = sorted(base.parent.glob(f"{_escaped(base.name)}.[0-9][0-9][0-9]"))
    return [path] if whole is None and path.is_file() else parts


def send(client: "ApiClient", paths: Sequence[Path], display: Display) -> str:
    """Send the files of a bundle; what the server has of them is not sent again. Returns their path there."""
    total = sum(path.stat().st_size for path in paths)
    with paths[0].open("rb") as first:
        mark = hashlib.sha256(first.read(_READ_BYTES)).hexdigest()[:12]
    progress = _Moved("sending", paths[0].name, 0, total, display)
    places = [_send_file(client, path, f"{mark}-{_UNSAFE.sub('-', path.name)}", progress) for path in paths]
    return places[0]


def _send_file(client: "ApiClient", path: Path, name: str, progress: "_Moved") -> str:
    whole = path.stat().st_size
    state: BundleUpload = client.send_piece(f"/bundles/uploads/{name}", b"", f"bytes */{whole}")
    progress.add(state["received_bytes"])
    with path.open("rb") as file:
        while (begin := state["received_bytes"]) < whole:
            file.seek(begin)
            piece = file.read(PIECE_BYTES)
            if not piece:
                raise InvalidRequest(f"{path} became shorter while it was sent.", hint="Import it again.")
            place = f"bytes {begin}-{begin + len(piece) - 1}/{whole}"
            state = client.send_piece(f"/bundles/uploads/{name}", piece, place)
            progress.add(len(piece))
    return state["path"]


class _Moved:
    """Progress of bytes that this process moves itself."""

    def __init__(self, phase: str, name: str, done: int, total: int, display: Display) -> None:
        self._phase, self._name, self._display = phase, name, display
        self._done, self._total, self._before = done, total, done
        self._began = time.monotonic()

    def add(self, moved: int) -> None:
        self._done += moved
        rate = (self._done - self._before) / max(time.monotonic() - self._began, 0.001)
        self._display.update(
            Shown(
                name=self._name,
                phase=self._phase,
                done=self._done,
                total=self._total,
                amounts=f"{size(self._done)} of {size(self._total)}",
                speed=f"{size(rate)}/s",
                ended=self._done == self._total,
            )
        )


def _shown(bundle: "BundleResponse") -> Shown:
    progress: BundleProgress | None = bundle["progress"]
    phase = bundle["status"] if progress is None else _WORDS.get(progress["phase"], progress["phase"])
    return Shown(
        name=bundle["name"],
        phase=phase,
        done=progress["bytes_done"] if progress else 0,
        total=progress["bytes_total"] if progress else None,
        amounts=amounts(progress),
        speed=speed(progress),
        ended=bundle["status"] == "ready",
    )


def _unfinished(path: Path, sha256: str) -> Path:
    return path.with_name(f".{path.name}.{sha256[:12]}.unfinished")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
