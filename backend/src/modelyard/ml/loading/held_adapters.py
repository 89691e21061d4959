"""The adapters that are held beside one model in memory: loaded once, shared, and unloaded when nobody uses them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelyard.core.errors import ModelInUse, NotReady
from modelyard.ml.loading.load_spec import AdapterSpec
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.read_model import LoadCancelled


class HeldAdapter:
    """One adapter; `measured_bytes` are known once it is loaded."""

    def __init__(self, spec: AdapterSpec) -> None:
        self.spec = spec
        self.uses = 0
        self.last_used = time.monotonic()
        self.load_seconds = 0.0
        self.measured_bytes: int | None = None

    @property
    def idle(self) -> bool:
        return self.measured_bytes is not None and not self.uses


class HeldAdapters:
    """Those of one model.

    `changed` is the loader's condition, whose lock guards the table; the model's lock is taken before it, never after.
    """

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._table: dict[str, HeldAdapter] = {}

    def __iter__(self) -> Iterator[HeldAdapter]:
        """Yield those that are loaded; the caller holds the loader's lock."""
        return iter([held for held in self._table.values() if held.measured_bytes is not None])

    @contextmanager
    def using(
        self,
        loaded: LoadedModel,
        spec: AdapterSpec,
        make_room: Callable[[AdapterSpec], None],
        is_cancelled: Callable[[], bool],
    ) -> Iterator[None]:
        """Have an adapter in memory, which is not unloaded inside this context.

        `make_room` is called before it is loaded, with no lock held. Raises LoadCancelled, and what `make_room` and
        `Adapters.load` raise.
        """
        with self._changed:
            held = self._table.setdefault(spec.name, HeldAdapter(spec))
            held.uses += 1
        try:
            if held.measured_bytes is None:
                make_room(spec)
                _load(held, loaded, is_cancelled)
            yield
        finally:
            with self._changed:
                held.uses -= 1
                held.last_used = time.monotonic()
                if held.measured_bytes is None and not held.uses:
                    del self._table[spec.name]
                self._changed.notify_all()

    def unload(self, loaded: LoadedModel, spec: AdapterSpec) -> int:
        """Free an adapter; return its bytes. Raises NotReady if it is not loaded, ModelInUse."""
        with loaded.turn(lambda: False):
            with self._changed:
                held = self._table.get(spec.name)
                if held is None or held.measured_bytes is None:
                    raise NotReady(f"{spec.model_id} is not loaded.", hint="Load it first.")
                if held.uses:
                    raise ModelInUse(
                        f"{spec.model_id} is used by {held.uses}.", hint="Wait until it is done, then unload it."
                    )
                del self._table[spec.name]
            loaded.adapters.unload(spec.name)
            return held.measured_bytes


def _load(held: HeldAdapter, loaded: LoadedModel, is_cancelled: Callable[[], bool]) -> None:
    with loaded.turn(is_cancelled) as is_ours:
        if not is_ours:
            raise LoadCancelled
        if held.measured_bytes is not None:
            return  # by another request, meanwhile
        began = time.monotonic()
        loaded.adapters.load(held.spec)
        held.load_seconds = time.monotonic() - began
        held.measured_bytes = loaded.adapters.measured_bytes(held.spec.name)
