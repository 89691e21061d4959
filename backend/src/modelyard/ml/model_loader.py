"""The models this process holds: each loaded once, shared by its users, and given back to the system when idle."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import ClassVar

from modelyard.core import units
from modelyard.core.errors import ModelInUse, NotReady, OutOfMemory
from modelyard.ml.loading import devices
from modelyard.ml.loading.load_progress import LoadStep, OnStep, ignore_step
from modelyard.ml.loading.load_spec import AdapterSpec, LoadSpec, ModelKey
from modelyard.ml.loading.loaded_model import LoadedInfo, LoadedModel, Unloaded
from modelyard.ml.loading.loader_entry import POLL_SECONDS, Entry, adapter_key, await_other, is_on, may_go, never
from modelyard.ml.loading.mapped import mapped_bytes
from modelyard.ml.loading.placement import OFFLOADED, SPREAD, free_bytes, out_of_memory, places, resolve_device, where
from modelyard.ml.loading.read_model import LoadCancelled, read_model
from modelyard.ml.loading.threads import end_team
from modelyard.ml.quantize.quantization import measured_bytes

__all__ = [
    "OFFLOADED", "SPREAD", "LoadCancelled", "LoadSpec", "LoadedInfo", "LoadedModel", "ModelKey", "ModelLoader",
    "Unloaded", "never",
]  # fmt: skip

logger = logging.getLogger(__name__)


class ModelLoader:
    """Loads models at most once and shares them; thread-safe.

    Locks: `_memory` is held for as long as a load or an unload takes, so that measurements are of one model; `_lock`
    guards the table and is held for moments only, and never while waiting for `_memory`.
    """

    _instance: ClassVar["ModelLoader | None"] = None
    _instance_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, *, on_unload: Callable[[Unloaded], None] | None = None) -> None:
        """`on_unload` hears of every unload, evictions and expiries included; it is called with no lock held."""
        self.on_unload = on_unload
        self._last_unload: dict[ModelKey, Unloaded] = {}
        self._entries: dict[ModelKey, Entry] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._memory = threading.RLock()
        self._memory_work = ""
        """What holds `_memory`, or did last, in words."""
        self._reaper: threading.Thread | None = None
        self._closed = False

    @classmethod
    def instance(cls) -> "ModelLoader":
        """Return the process-wide loader."""
        with cls._instance_lock:
            if cls._instance is None:
                # Hundreds of thousands of objects of the libraries: every unload would look through them again, and
                # stop all threads for half a second.
                gc.collect()
                gc.freeze()
                cls._instance = cls()
            return cls._instance

    @contextmanager
    def get(
        self, spec: LoadSpec, *, on_step: OnStep = ignore_step, is_cancelled: Callable[[], bool] = never
    ) -> Iterator[LoadedModel]:
        """Yield the model, loaded if it is not, and the spec's adapter; neither is unloaded inside this context.

        Models that nobody uses and nobody pinned are evicted for it, the least recently used first. `on_step` is told
        what the load does or waits for. Once `is_cancelled`, the load stops, unless another caller waits for the same
        model. Raises LoadCancelled, OutOfMemory before loading what cannot fit, and whatever `load_model` raises.
        """
        entry, is_first = self._enter(spec)
        try:
            if is_first:
                self._load(entry, on_step, is_cancelled)
            else:
                await_other(entry, on_step, is_cancelled)
            if entry.loaded is None:
                raise entry.error or NotReady(f"{spec.model_id} could not be loaded.", hint="Load it again.")
            if spec.adapter is None:
                yield entry.loaded
            else:
                room = partial(self._make_room_for, entry, on_step)
                with entry.adapters.using(entry.loaded, spec.adapter, room, is_cancelled):
                    yield entry.loaded
        finally:
            with self._changed:
                entry.uses -= 1
                entry.last_used = time.monotonic()
                self._changed.notify_all()

    def load(
        self, spec: LoadSpec, *, on_step: OnStep = ignore_step, is_cancelled: Callable[[], bool] = never
    ) -> LoadedInfo:
        """Have the model in memory, with this spec's TTL and pin. Steps and cancelling as in `get`.

        Returns what is true of the adapter, where the spec has one; its base has the TTL and the pin.
        """
        with self.get(spec, on_step=on_step, is_cancelled=is_cancelled) as loaded, self._changed:
            entry = self._entries[loaded.key]
            entry.ttl_seconds, entry.pinned = spec.ttl_seconds, spec.pinned
            if spec.adapter is not None:
                return next(
                    info for info in entry.adapter_infos(self._last_unload) if info.key.commit == spec.adapter.commit
                )
            return entry.info(self._last_unload.get(entry.key))

    def loaded(self) -> list[LoadedInfo]:
        """Return the models in memory, the most recently used first, and after each its adapters.

        An adapter that several models have is one, with the bytes of all.
        """
        found: dict[ModelKey, LoadedInfo] = {}
        with self._lock:
            for entry in sorted(self._entries.values(), key=lambda entry: -entry.last_used):
                if entry.loaded is None:
                    continue
                for info in (entry.info(self._last_unload.get(entry.key)), *entry.adapter_infos(self._last_unload)):
                    known = found.get(info.key)
                    found[info.key] = info if known is None else known.plus(info)
        return list(found.values())

    def unload_model(self, key: ModelKey) -> Unloaded:
        """Free the memory of a model, with its adapters, or of an adapter, for real, pinned or not.

        Raises NotReady if it is not loaded, ModelInUse if it is used or still being loaded.
        """
        with self._lock:
            if not self._bases_of(key):
                self._idle(key)  # refused at once, not after somebody else's load
        with self._alone("an unload"):
            with self._lock:
                bases = self._bases_of(key)
                entry = None if bases else self._idle(key)
                if entry is not None:
                    del self._entries[key]
            unloaded = self._free_adapter(bases) if entry is None else self._free(entry, entry.loaded)
        self._tell([unloaded])
        return unloaded

    def _bases_of(self, key: ModelKey) -> list[tuple[Entry, AdapterSpec]]:
        """Return the models that have the adapter of a key."""
        return [
            (entry, held.spec)
            for entry in self._entries.values()
            for held in entry.adapters
            if adapter_key(held.spec, entry.key) == key
        ]

    def close(self) -> None:
        """Stop watching for expiry and unload what is idle."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._reaper is not None:
            self._reaper.join()
        with self._lock:
            idle = [entry.key for entry in self._entries.values() if entry.idle]
        for key in idle:
            self.unload_model(key)

    def _enter(self, spec: LoadSpec) -> tuple[Entry, bool]:
        with self._lock:
            entry = self._find(spec)
            is_first = entry is None
            if entry is None:
                device = resolve_device(spec)
                key = ModelKey(spec.model_id, spec.commit, spec.quantization, device, spec.dtype)
                entry = self._entries[key] = Entry(key, spec, self._changed)
            elif spec.sets_ttl:
                entry.ttl_seconds = spec.ttl_seconds
            entry.uses += 1
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._expire, name="model-expiry", daemon=True)
                self._reaper.start()
            return entry, is_first

    def _find(self, spec: LoadSpec) -> Entry | None:
        device = spec.device if spec.device == SPREAD else str(devices.parse_device(spec.device))
        found = [
            entry
            for key, entry in self._entries.items()
            if (key.model_id, key.commit, key.quantization) == (spec.model_id, spec.commit, spec.quantization)
            and (spec.any_dtype or key.dtype == spec.dtype)
            and device in (key.device, SPREAD)
        ]
        # As asked for goes before another dtype, and what is there before what is being loaded.
        return min(found, key=lambda entry: (entry.key.dtype != spec.dtype, entry.loaded is None), default=None)

    def _load(self, entry: Entry, on_step: OnStep, is_cancelled: Callable[[], bool]) -> None:
        evicted: list[Unloaded] = []

        def step(now: LoadStep) -> None:
            entry.step = now
            on_step(now)
            self._stop_if_unwanted(entry, is_cancelled)

        try:
            with self._alone("another load", step):
                self._make_it_fit(entry, evicted, step)
                try:
                    loaded = read_model(entry.key, entry.spec, step)
                finally:
                    end_team()
                on_step(LoadStep("finishing", "finishing", is_last=True))
                taken_back = is_cancelled()
                try:
                    self._stop_if_unwanted(entry, lambda: taken_back)
                except LoadCancelled:
                    self._free(entry, loaded)
                    raise
                with self._lock:
                    entry.loaded = loaded
        except BaseException as error:
            with self._lock:
                if self._entries.get(entry.key) is entry:
                    del self._entries[entry.key]
            # A traceback would keep half a model alive.
            entry.error = error.with_traceback(None)
            raise
        finally:
            entry.ready.set()
            self._tell(evicted)
        if taken_back:  # it was finished for others who wait for it
            raise LoadCancelled

    @contextmanager
    def _alone(self, work: str, step: OnStep = ignore_step) -> Iterator[None]:
        """Hold `_memory`; while somebody else does, `step` is told, and may raise."""
        while not self._memory.acquire(timeout=POLL_SECONDS):
            step(LoadStep("waiting", f"waiting for {self._memory_work}"))
        try:
            self._memory_work = work
            yield
        finally:
            self._memory.release()

    def _stop_if_unwanted(self, entry: Entry, is_cancelled: Callable[[], bool]) -> None:
        """Raises LoadCancelled when it was cancelled and nobody else waits for the model."""
        if not is_cancelled():
            return
        with self._lock:
            if entry.uses > 1:
                return
            del self._entries[entry.key]  # whoever asks from here on begins anew
        raise LoadCancelled

    def _make_it_fit(self, entry: Entry, evicted: list[Unloaded], step: OnStep) -> None:
        needed, device = entry.spec.needed_bytes, entry.key.device
        self._evict(device, needed, evicted, step)
        free = free_bytes(device)
        if needed > free:
            raise out_of_memory(
                entry.spec,
                device,
                f"needs about {units.size(needed)} {where(device)}, where {units.size(free)} are free",
            )

    def _make_room_for(self, entry: Entry, step: OnStep, adapter: AdapterSpec) -> None:
        """Have room for an adapter beside its base. Raises OutOfMemory."""
        evicted: list[Unloaded] = []
        try:
            with self._alone("another load", step):
                self._evict(entry.key.device, adapter.needed_bytes, evicted, step)
        finally:
            self._tell(evicted)
        free = free_bytes(entry.key.device)
        if adapter.needed_bytes > free:
            raise OutOfMemory(
                f"{adapter.model_id} needs {units.size(adapter.needed_bytes)} beside its base"
                f" {where(entry.key.device)}, where {units.size(free)} are free.",
                hint="Unload other models, or use a smaller precision of the base.",
            )

    def _evict(self, device: str, needed_bytes: int, evicted: list[Unloaded], step: OnStep) -> None:
        while free_bytes(device) < needed_bytes:
            with self._lock:
                candidates = [entry for entry in self._entries.values() if may_go(entry, device)]
            if not candidates:
                if not self._evict_adapter(device, evicted, step):
                    return
                continue
            entry = min(candidates, key=lambda entry: entry.last_used)
            step(LoadStep("making_room", f"making room: unloading {entry.key.model_id}"))
            with self._lock:
                if not may_go(entry, device):
                    continue  # used again in the meantime
                del self._entries[entry.key]
            evicted.append(self._free(entry, entry.loaded))

    def _evict_adapter(self, device: str, evicted: list[Unloaded], step: OnStep) -> bool:
        """Unload the least recently used adapter that stands beside a model in use; return whether there was one."""
        with self._lock:
            idle = [
                (held, entry)
                for entry in self._entries.values()
                if is_on(entry, device) and not entry.pinned
                for held in entry.adapters
                if held.idle
            ]
        if not idle:
            return False
        held, entry = min(idle, key=lambda each: each[0].last_used)
        step(LoadStep("making_room", f"making room: unloading {held.spec.model_id}"))
        with suppress(NotReady, ModelInUse):  # used again in the meantime
            evicted.append(self._free_adapter([(entry, held.spec)]))
        return True

    def _idle(self, key: ModelKey) -> Entry:
        entry = self._entries.get(key)
        if entry is None:
            raise NotReady(f"{key.model_id} is not loaded.", hint="Load it first.")
        if not entry.idle:
            doing = f"used by {entry.uses}" if entry.loaded is not None else "being loaded"
            raise ModelInUse(f"{key.model_id} is {doing}.", hint="Wait until it is done, then unload it.")
        return entry

    def _free(self, entry: Entry, loaded: LoadedModel | None) -> Unloaded:
        """Unload the model of an entry that is out of the table; the caller holds `_memory`."""
        assert loaded is not None  # noqa: S101 - only idle entries are unloaded
        held_by = places(entry.key.device)
        devices.release_memory()  # what is garbage already is not this model's
        held_before, mapped = measured_bytes(loaded.model), mapped_bytes(loaded.model)
        before = sum(map(devices.held_bytes, held_by))
        entry.loaded = None
        loaded.drop()
        devices.release_memory()
        freed = max(0, before - sum(map(devices.held_bytes, held_by)))
        unloaded = Unloaded(entry.key, freed, held_before, mapped)
        self._last_unload[entry.key] = unloaded
        return unloaded

    def _free_adapter(self, bases: Sequence[tuple[Entry, AdapterSpec]]) -> Unloaded:
        """Unload an adapter of models that stay; the caller holds `_memory`. Raises NotReady, ModelInUse."""
        key = adapter_key(bases[0][1], bases[0][0].key)
        held_by = {place for entry, _ in bases for place in places(entry.key.device)}
        devices.release_memory()
        before = sum(map(devices.held_bytes, held_by))
        size = 0
        for entry, spec in bases:
            assert entry.loaded is not None  # noqa: S101 - it has adapters, and is unloaded by who holds `_memory`
            size += entry.adapters.unload(entry.loaded, spec)
        devices.release_memory()
        freed = max(0, before - sum(map(devices.held_bytes, held_by)))
        unloaded = self._last_unload[key] = Unloaded(key, freed, size, 0)
        return unloaded

    def _tell(self, unloaded: list[Unloaded]) -> None:
        if self.on_unload is not None:
            for each in unloaded:
                self.on_unload(each)

    def _expire(self) -> None:
        """The reaper thread: unloads what has expired, waits for the next."""
        while True:
            with self._changed:
                if self._closed:
                    return
                expiries = {key: entry.expires for key, entry in self._entries.items()}
                due = {key: expires for key, expires in expiries.items() if expires is not None}
                key = min(due, key=lambda key: due[key], default=None)
                left = None if key is None else due[key] - time.monotonic()
                if key is None or left is None or left > 0:
                    self._changed.wait(left)
                    continue
            try:
                self._unload_expired(key)
            except Exception:  # the thread has to go on; the next model is not to blame
                logger.exception("Unloading %s after its time failed", key.model_id)

    def _unload_expired(self, key: ModelKey) -> None:
        with self._alone("an unload"):
            with self._lock:
                entry = self._entries.get(key)
                if entry is None or entry.expires is None or entry.expires > time.monotonic():
                    return  # used or unloaded in the meantime
                del self._entries[key]
            unloaded = self._free(entry, entry.loaded)
        self._tell([unloaded])
