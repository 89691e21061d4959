"""Activations written to files: the same files for the same request, however often the work was interrupted."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from modelyard.core.private_files import open_private
from modelyard.core.storage import DISK_RESERVE_BYTES, ensure_free, storage_errors, sync
from modelyard.ml.hooks.capture import DTYPES, Rows, kept, pad_token, padded, rows_kept
from modelyard.ml.hooks.direct import Wanted, prepare
from modelyard.ml.hooks.tensor_file import Layout, TensorFile, WrittenFile, file_bytes, write
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.loading.threads import end_team

TOKENS, INDEX, MANIFEST = "tokens.safetensors", "index.safetensors", "manifest.json"
_STATE = "state.json"


@dataclass(frozen=True)
class Plan:
    """How much there is to write; `size_bytes` are those of all files but the manifest."""

    rows: int
    tokens: int
    size_bytes: int


@dataclass(frozen=True)
class CaptureProgress:
    """Where the work is: batches, and bytes of activations."""

    batches_done: int
    batches: int
    bytes_done: int
    bytes_per_second: float | None


@dataclass(frozen=True)
class _Shard:
    """The batches of one file, and how many tokens of them are kept."""

    name: str
    batches: Sequence[range]
    tokens: int


class CaptureRun:
    """Writes the files of one request into a folder; `batch_size` rows are run together, `shard_bytes` go in a file.

    What was written before is kept: the rows as they were read first, and every file of activations that is complete.
    """

    def __init__(
        self,
        folder: Path,
        loaded: LoadedModel,
        wanted: Wanted,
        *,
        first_row: int,
        batch_size: int,
        shard_bytes: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self._folder, self._loaded, self._wanted = folder, loaded, wanted
        self._first_row, self._batch_size, self._shard_bytes = first_row, batch_size, shard_bytes
        self._should_stop = should_stop
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def plan(self, given: Callable[[], Iterable[list[int]]]) -> Plan:
        """Read the rows, count, and see that the disk has room. Raises DiskFull, LoadCancelled, and what `given` does.

        `given` is called where the rows were not read before.
        """
        self._prepared = prepare(self._loaded, self._wanted, self._should_stop)
        tokens = self._folder / TOKENS
        if not tokens.is_file():
            rows = Rows.of(self._until_stopped(given()))
            with storage_errors(self._folder):
                write(tokens, {"ids": rows.ids, "lengths": rows.lengths})
        self._rows = _read_rows(tokens)
        self._places = [kept(length, self._wanted.positions) for length in self._rows.lengths.tolist()]
        self._shards = self._make_shards()
        size = tokens.stat().st_size + file_bytes(self._index_layout())
        size += sum(file_bytes(self._layout(shard)) for shard in self._shards)
        plan = Plan(len(self._rows), self._tokens, size)
        self._require_room(plan)
        return plan

    def run(self, on_progress: Callable[[CaptureProgress], None], facts: dict[str, Any]) -> None:
        """Write all files, `facts` into the manifest. The model is free for others between two batches.

        Raises LoadCancelled when it is to stop, OutOfMemory, DiskFull.
        """
        with storage_errors(self._folder):
            files = self._written()
            meter = _Meter(on_progress, sum(len(shard.batches) for shard in self._shards))
            for shard in self._shards:
                if shard.name in files:
                    meter.skip(shard, self._bytes(shard.tokens))
                    continue
                files[shard.name] = self._write(shard, meter)
                self._store(_STATE, {"files": [asdict(file) for file in files.values()]})
            index = write(self._folder / INDEX, self._index())
            tokens = self._folder / TOKENS
            self._store(MANIFEST, self._manifest(facts, [*files.values(), index, _seen(tokens)]))
            (self._folder / _STATE).unlink(missing_ok=True)

    def _until_stopped(self, rows: Iterable[list[int]]) -> list[list[int]]:
        found = []
        for row in rows:
            if self._should_stop():
                raise LoadCancelled
            found.append(row)
        return found

    @property
    def activation_bytes(self) -> int:
        """Return the bytes of all activations; known after `plan`."""
        return self._bytes(self._tokens)

    @property
    def _tokens(self) -> int:
        return sum(map(len, self._places))

    def _bytes(self, tokens: int) -> int:
        return tokens * self._prepared.token_bytes(self._wanted.dtype)

    def _make_shards(self) -> list[_Shard]:
        shards: list[_Shard] = []
        batches: list[range] = []
        tokens = 0
        for batch in self._rows.batches(self._batch_size):
            batches.append(batch)
            tokens += sum(len(self._places[number]) for number in batch)
            if self._bytes(tokens) >= self._shard_bytes:
                shards.append(_Shard(_shard_name(len(shards)), batches, tokens))
                batches, tokens = [], 0
        if batches:
            shards.append(_Shard(_shard_name(len(shards)), batches, tokens))
        return shards

    def _layout(self, shard: _Shard) -> Layout:
        dtype, shapes = DTYPES[self._wanted.dtype], self._prepared.shapes
        return {
            name: (dtype, (shard.tokens, *shapes[path].shape)) for name, path in self._wanted.hook_points.items()
        }  # fmt: skip

    def _index_layout(self) -> Layout:
        return dict.fromkeys(("row", "position", "token_id"), (torch.int32, (self._tokens,)))

    def _index(self) -> dict[str, torch.Tensor]:
        numbers = [(number, place) for number, places in enumerate(self._places) for place in places]
        rows, places = torch.tensor(numbers, dtype=torch.int32).reshape(-1, 2).unbind(1)
        starts = torch.tensor([0, *self._rows.ends[:-1]])
        ids = self._rows.ids[starts[rows.long()] + places]
        return {"row": rows + self._first_row, "position": places, "token_id": ids}

    def _require_room(self, plan: Plan) -> None:
        there = sum(path.stat().st_size for path in self._folder.iterdir())
        ensure_free(
            self._folder.parent,
            max(0, plan.size_bytes - there),
            reserve_bytes=DISK_RESERVE_BYTES,
            hint="Free space, or ask for fewer rows, positions or hook points, or for a smaller dtype.",
        )

    def _written(self) -> dict[str, WrittenFile]:
        """Return the files of activations that are complete already."""
        with suppress(FileNotFoundError, ValueError):
            stored = json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
            files = [WrittenFile(**each) for each in stored["files"]]
            sizes = {path.name: path.stat().st_size for path in self._folder.iterdir()}
            return {file.name: file for file in files if sizes.get(file.name) == file.size_bytes}
        return {}

    def _write(self, shard: _Shard, meter: "_Meter") -> WrittenFile:
        with TensorFile(self._folder / shard.name, self._layout(shard)) as file:
            for batch in shard.batches:
                before = time.monotonic()
                for path, tensor in self._capture(batch).items():
                    lengths = [int(self._rows.lengths[number]) for number in batch]
                    values = rows_kept(tensor, lengths, self._wanted.positions, self._wanted.dtype)
                    for name, wanted in self._wanted.hook_points.items():
                        if wanted == path:
                            file.append(name, values)
                size = self._bytes(sum(len(self._places[number]) for number in batch))
                meter.add(size, time.monotonic() - before)
            return file.finish()

    def _capture(self, batch: range) -> dict[str, torch.Tensor]:
        ids, mask = padded(self._rows, batch, pad_token(self._loaded.model))
        with self._loaded.turn(self._should_stop, self._wanted.adapter) as is_ours:
            if not is_ours or self._should_stop():
                raise LoadCancelled
            try:
                return self._prepared.capture(self._loaded, ids, mask)
            finally:
                end_team()  # the next turn is another thread's

    def _manifest(self, facts: dict[str, Any], files: Sequence[WrittenFile]) -> dict[str, Any]:
        model = self._loaded.model
        return facts | {
            "dtype": self._wanted.dtype,
            "model_dtype": str(model.dtype).removeprefix("torch."),
            "device": self._loaded.key.device,
            "attention_implementation": model.config._attn_implementation,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "hook_points": [
                {"name": name, "path": path, "shape": list(self._prepared.shapes[path].shape)}
                for name, path in self._wanted.hook_points.items()
            ],
            "positions": self._wanted.positions,
            "batch_size": self._batch_size,
            "batches": [[batch.start, batch.stop] for batch in self._rows.batches(self._batch_size)],
            "padding": "right",
            "pad_token_id": pad_token(model),
            "rows": len(self._rows),
            "first_row": self._first_row,
            "tokens": self._tokens,
            "files": [asdict(file) for file in files],
        }

    def _store(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file that is there whole or not at all."""
        part = self._folder / f"{name}.part"
        with open_private(part, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        sync(part)
        part.replace(self._folder / name)
        sync(self._folder)


class _Meter:
    """Counts batches and bytes, and the rate of what this run did itself."""

    def __init__(self, on_progress: Callable[[CaptureProgress], None], batches: int) -> None:
        self._on_progress, self._batches = on_progress, batches
        self._done = self._bytes = self._own_bytes = 0
        self._seconds = 0.0

    def skip(self, shard: _Shard, size: int) -> None:
        self._done += len(shard.batches)
        self._bytes += size
        self._report()

    def add(self, size: int, seconds: float) -> None:
        self._done += 1
        self._bytes += size
        self._own_bytes += size
        self._seconds += seconds
        self._report()

    def _report(self) -> None:
        rate = self._own_bytes / self._seconds if self._seconds else None
        self._on_progress(CaptureProgress(self._done, self._batches, self._bytes, rate))


def _shard_name(number: int) -> str:
    return f"activations-{number + 1:05d}.safetensors"


def _read_rows(path: Path) -> Rows:
    from safetensors.torch import load_file

    stored = load_file(path)
    return Rows(stored["ids"], stored["lengths"])


def _seen(path: Path) -> WrittenFile:
    with path.open("rb") as file:
        return WrittenFile(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
