"""The models this process holds: each loaded once, shared by its users, and given back to the system when idle."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from modelyard.core import units
from modelyard.core.errors import ModelInUse, NotReady
from modelyard.ml.loading import devices
from modelyard.ml.loading.load_progress import LoadStep, OnStep, ignore_step
from modelyard.ml.loading.load_spec import LoadSpec, ModelKey
from modelyard.ml.loading.loaded_model import LoadedInfo, LoadedModel, Unloaded
from modelyard.ml.loading.mapped import mapped_bytes
from modelyard.ml.loading.placement import OFFLOADED, SPREAD, free_bytes, out_of_memory, places, resolve_device, where
from modelyard.ml.loading.read_model import LoadCancelled, read_model
from modelyard.ml.quantize.quantization import measured_bytes

__all__ = [
    "OFFLOADED", "SPREAD", "LoadCancelled", "LoadSpec", "LoadedInfo", "LoadedModel", "ModelKey", "ModelLoader",
    "Unloaded", "never",
]  # fmt: skip

logger = logging.getLogger(__name__)


POLL_SECONDS = 0.05


def never() -> bool:
    """For a load that nobody takes back."""
    return False


class _Entry:
    def __init__(self, key: ModelKey, spec: LoadSpec) -> None:
        self.key, self.spec = key, spec
        self.ttl_seconds, self.pinned = spec.ttl_seconds, spec.pinned
        self.ready = threading.Event()
        self.loaded: LoadedModel | None = None
        self.error: BaseException | None = None
        self.step = LoadStep("waiting", "waiting")
        self.uses = 0
        self.last_used = time.monotonic()

    @property
    def expires(self) -> float | None:
        """On the monotonic clock."""
        if self.loaded is None or self.uses or self.pinned or self.ttl_seconds is None:
            return None
        return self.last_used + self.ttl_seconds

    @property
    def idle(self) -> bool:
        return self.loaded is not None and not self.uses


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
        self._entries: dict[ModelKey, _Entry] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._memory = threading.RLock()
        self._memory_work = ""
        """What holds `_memory`, or did last, in words."""
        self._reaper: threading.Thread | None = None
        self._closed = False

    @classmethod
    def instance(cls) -> "ModelLoader":
        """The one of this process."""
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
        """The model, loaded if it is not; it is not unloaded inside this context.

        Models that nobody uses and nobody pinned are evicted for it, the least recently used first. `on_step` is told
        what the load does or waits for. Once `is_cancelled`, the load stops, unless another caller waits for the same
        model. Raises LoadCancelled, OutOfMemory before loading what cannot fit, and whatever `load_model` raises.
        """
        entry, is_first = self._enter(spec)
        try:
            if is_first:
                self._load(entry, on_step, is_cancelled)
            else:
                _await(entry, on_step, is_cancelled)
            if entry.loaded is None:
                raise entry.error or NotReady(f"{spec.model_id} could not be loaded.", hint="Load it again.")
            yield entry.loaded
        finally:
            with self._changed:
                entry.uses -= 1
                entry.last_used = time.monotonic()
                self._changed.notify_all()

    def load(
        self, spec: LoadSpec, *, on_step: OnStep = ignore_step, is_cancelled: Callable[[], bool] = never
    ) -> LoadedInfo:
        """Have the model in memory, with this spec's TTL and pin. Steps and cancelling as in `get`."""
        with self.get(spec, on_step=on_step, is_cancelled=is_cancelled) as loaded, self._changed:
            entry = self._entries[loaded.key]
            entry.ttl_seconds, entry.pinned = spec.ttl_seconds, spec.pinned
            return self._info(entry)

    def loaded(self) -> list[LoadedInfo]:
        """The models in memory, the most recently used first."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: -entry.last_used)
            return [self._info(entry) for entry in entries if entry.loaded is not None]

    def unload_model(self, key: ModelKey) -> Unloaded:
        """Free a model's memory for real, pinned or not.

        Raises NotReady if it is not loaded, ModelInUse if it is used or still being loaded.
        """
        with self._lock:
            self._idle(key)  # refused at once, not after somebody else's load
        with self._alone("an unload"):
            with self._lock:
                entry = self._idle(key)
                del self._entries[key]
            unloaded = self._free(entry, entry.loaded)
        self._tell([unloaded])
        return unloaded

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

    def _enter(self, spec: LoadSpec) -> tuple[_Entry, bool]:
        with self._lock:
            entry = self._find(spec)
            is_first = entry is None
            if entry is None:
                device = resolve_device(spec)
                key = ModelKey(spec.model_id, spec.commit, spec.quantization, device, spec.dtype)
                entry = self._entries[key] = _Entry(key, spec)
            elif spec.sets_ttl:
                entry.ttl_seconds = spec.ttl_seconds
            entry.uses += 1
            if self._reaper is None:
                self._reaper = threading.Thread(target=self._expire, name="model-expiry", daemon=True)
                self._reaper.start()
            return entry, is_first

    def _find(self, spec: LoadSpec) -> _Entry | None:
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

    def _load(self, entry: _Entry, on_step: OnStep, is_cancelled: Callable[[], bool]) -> None:
        evicted: list[Unloaded] = []

        def step(now: LoadStep) -> None:
            entry.step = now
            on_step(now)
            self._stop_if_unwanted(entry, is_cancelled)

        try:
            with self._alone("another load", step):
                self._make_it_fit(entry, evicted, step)
                loaded = read_model(entry.key, entry.spec, step)
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

    def _stop_if_unwanted(self, entry: _Entry, is_cancelled: Callable[[], bool]) -> None:
        """Raises LoadCancelled when it was cancelled and nobody else waits for the model."""
        if not is_cancelled():
            return
        with self._lock:
            if entry.uses > 1:
                return
            del self._entries[entry.key]  # whoever asks from here on begins anew
        raise LoadCancelled

    def _make_it_fit(self, entry: _Entry, evicted: list[Unloaded], step: OnStep) -> None:
        needed, device = entry.spec.needed_bytes, entry.key.device
        self._evict(device, needed, evicted, step)
        free = free_bytes(device)
        if needed > free:
            raise out_of_memory(
                entry.spec,
                device,
                f"needs about {units.size(needed)} {where(device)}, where {units.size(free)} are free",
            )

    def _evict(self, device: str, needed_bytes: int, evicted: list[Unloaded], step: OnStep) -> None:
        while free_bytes(device) < needed_bytes:
            with self._lock:
                candidates = [entry for entry in self._entries.values() if _may_go(entry, device)]
            if not candidates:
                return
            entry = min(candidates, key=lambda entry: entry.last_used)
            step(LoadStep("making_room", f"making room: unloading {entry.key.model_id}"))
            with self._lock:
                if not _may_go(entry, device):
                    continue  # used again in the meantime
                del self._entries[entry.key]
            evicted.append(self._free(entry, entry.loaded))

    def _idle(self, key: ModelKey) -> _Entry:
        entry = self._entries.get(key)
        if entry is None:
            raise NotReady(f"{key.model_id} is not loaded.", hint="Load it first.")
        if not entry.idle:
            doing = f"used by {entry.uses}" if entry.loaded is not None else "being loaded"
            raise ModelInUse(f"{key.model_id} is {doing}.", hint="Wait until it is done, then unload it.")
        return entry

    def _free(self, entry: _Entry, loaded: LoadedModel | None) -> Unloaded:
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

    def _info(self, entry: _Entry) -> LoadedInfo:
        assert entry.loaded is not None  # noqa: S101 - callers look first
        expires = entry.expires
        return LoadedInfo(
            key=entry.key,
            measured_bytes=entry.loaded.measured_bytes,
            load_seconds=entry.loaded.load_seconds,
            in_use=entry.uses,
            pinned=entry.pinned,
            expires_at=None if expires is None else datetime.now(UTC) + timedelta(seconds=expires - time.monotonic()),
            last_unload=self._last_unload.get(entry.key),
        )

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


def _may_go(entry: _Entry, device: str) -> bool:
    """Return whether unloading a model would make room on a device, and harm nobody."""
    return entry.idle and not entry.pinned and bool(set(places(entry.key.device)) & set(places(device)))


def _await(entry: _Entry, on_step: OnStep, is_cancelled: Callable[[], bool]) -> None:
    """Wait for somebody else's load of the same model."""
    told: LoadStep | None = None
    while not entry.ready.wait(POLL_SECONDS):
        if is_cancelled():
            raise LoadCancelled
        if entry.step is not told:
            told = entry.step
            on_step(told)
