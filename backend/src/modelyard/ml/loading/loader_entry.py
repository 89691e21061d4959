"""One model of a loader's table: who uses it, until when it stays, and what is told of it."""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from modelyard.ml.loading.held_adapters import HeldAdapters
from modelyard.ml.loading.load_progress import LoadStep, OnStep
from modelyard.ml.loading.load_spec import AdapterSpec, LoadSpec, ModelKey
from modelyard.ml.loading.loaded_model import LoadedInfo, LoadedModel, Unloaded
from modelyard.ml.loading.placement import places
from modelyard.ml.loading.read_model import LoadCancelled

POLL_SECONDS = 0.05


def never() -> bool:
    """Return False: for a load that nobody takes back."""
    return False


class Entry:
    """A model that a loader holds or is loading, and who uses it."""

    def __init__(self, key: ModelKey, spec: LoadSpec, changed: threading.Condition) -> None:
        self.key, self.spec = key, spec
        self.ttl_seconds, self.pinned = spec.ttl_seconds, spec.pinned
        self.ready = threading.Event()
        self.loaded: LoadedModel | None = None
        self.adapters = HeldAdapters(changed)
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

    @property
    def expires_at(self) -> datetime | None:
        expires = self.expires
        return None if expires is None else datetime.now(UTC) + timedelta(seconds=expires - time.monotonic())

    def info(self, last_unload: Unloaded | None) -> LoadedInfo:
        """Return what is true of a model that is loaded."""
        assert self.loaded is not None  # noqa: S101 - callers look first
        return LoadedInfo(
            key=self.key,
            measured_bytes=self.loaded.measured_bytes,
            load_seconds=self.loaded.load_seconds,
            in_use=self.uses,
            pinned=self.pinned,
            expires_at=self.expires_at,
            last_unload=last_unload,
        )

    def adapter_infos(self, last_unloads: Mapping[ModelKey, Unloaded]) -> list[LoadedInfo]:
        """Return what is true of its adapters; they stay as long as it does."""
        return [
            LoadedInfo(
                key=(key := adapter_key(held.spec, self.key)),
                measured_bytes=held.measured_bytes or 0,
                load_seconds=held.load_seconds,
                in_use=held.uses,
                pinned=self.pinned,
                expires_at=self.expires_at,
                last_unload=last_unloads.get(key),
            )
            for held in self.adapters
        ]


def adapter_key(spec: AdapterSpec, base: ModelKey) -> ModelKey:
    """Return how an adapter beside a base is told of: where the base is, with its own name."""
    return ModelKey(spec.model_id, spec.commit, "none", base.device, base.dtype)


def may_go(entry: Entry, device: str) -> bool:
    """Return whether unloading a model would make room on a device, and harm nobody."""
    return entry.idle and not entry.pinned and is_on(entry, device)


def is_on(entry: Entry, device: str) -> bool:
    """Return whether a model is in memory, and in part on a device."""
    return entry.loaded is not None and bool(set(places(entry.key.device)) & set(places(device)))


def await_other(entry: Entry, on_step: OnStep, is_cancelled: Callable[[], bool]) -> None:
    """Wait for somebody else's load of the same model."""
    told: LoadStep | None = None
    while not entry.ready.wait(POLL_SECONDS):
        if is_cancelled():
            raise LoadCancelled
        if entry.step is not told:
            told = entry.step
            on_step(told)
