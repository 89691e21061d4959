"""The inspector's child process: answers JSON lines on standard input with JSON lines on standard output."""

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType
from typing import Any

import psutil

from modelyard.core.errors import ModelyardError
from modelyard.ml.inspect.inspector import InspectorTimeout

logger = logging.getLogger(__name__)

_KEPT_SKELETONS = 4
_WARM_UP_CONFIG = {"model_type": "llama", "num_hidden_layers": 1}
_ADDRESS_SPACE_BYTES = 16 * 10**9  # far above what the largest skeleton takes; a config may ask for anything


class _TimeLimit(BaseException):
    """Not an Exception, so that no handler between here and the slow loop takes it for a failure of the model."""


def main() -> None:
    """Serve until standard input closes, which happens when the parent ends in any way."""
    # Libraries print; only replies may reach the pipe.
    signal.signal(signal.SIGALRM, _expire)  # before the parent may send it
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    os.nice(10)
    service = _Service()
    reply: Mapping[str, Any] = {"ready": True}
    while True:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        reply = service.reply(json.loads(requests.get()))


def _read_requests(requests: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)  # the main thread may be deep in a model


class _Service:
    def __init__(self) -> None:
        import torch
        import transformers

        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        _limit_memory()
        self._skeletons: OrderedDict[str, Any] = OrderedDict()
        self._functions: dict[str, Callable[..., Mapping[str, Any]]] = {
            "warm_up": self._warm_up,
            "support": self._support,
            "memory": self._memory,
            "kv_cache": self._kv_cache,
            "activations": self._activations,
            "architecture": self._architecture,
            "dtype_speed": self._dtype_speed,
        }

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with _time_limit(request["limit_seconds"]):
                result = self._functions[request["kind"]](request["config"], **request["options"])
            json.dumps(result)
            return {"ok": True, "result": result}
        except ModelyardError as error:
            return {"ok": False, "error": error.as_dict()}
        except _TimeLimit:
            limit = request["limit_seconds"]
            late = InspectorTimeout(f"No answer within {limit:.0f} s." if limit >= 1 else "No answer within a second.")
            return {"ok": False, "error": late.as_dict()}
        except Exception as error:  # whatever a configuration can make libraries raise
            logger.exception("the question %r failed", request["kind"])
            failed = ModelyardError(
                f"The inspector met an unexpected {type(error).__name__}.", hint="Details are in the log of the API."
            )
            return {"ok": False, "error": failed.as_dict()}

    def _skeleton(
        self,
        config: Mapping[str, Any],
        dtype: str = "auto",
        checkpoint_dtype: str | None = None,
        held: int | None = None,
    ) -> Any:
        from modelyard.ml.inspect import meta_model

        key = json.dumps([config, dtype, checkpoint_dtype, held], sort_keys=True)
        if key not in self._skeletons:
            self._skeletons[key] = meta_model.build(config, dtype=dtype, checkpoint_dtype=checkpoint_dtype, held=held)
            while len(self._skeletons) > _KEPT_SKELETONS:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(key)
        return self._skeletons[key]

    def _warm_up(self, _config: Mapping[str, Any]) -> dict[str, Any]:
        """Import all that a first question would have to wait for."""
        from modelyard.ml.inspect import activations, architecture, kv_cache, memory, meta_model  # noqa: F401

        architecture.inspect_architecture(meta_model.build(_WARM_UP_CONFIG))
        return {}

    def _support(self, config: Mapping[str, Any], files: list[str], held: int | None = None) -> dict[str, Any]:
        from modelyard.ml.inspect import support

        return asdict(support.full_support(config, files, held=held))

    def _memory(self, config: Mapping[str, Any], **built: Any) -> dict[str, Any]:
        from modelyard.ml.inspect import memory

        return asdict(memory.estimate_skeleton(self._skeleton(config, **built)))

    def _kv_cache(self, config: Mapping[str, Any], **built: Any) -> dict[str, Any]:
        from modelyard.ml.inspect import kv_cache

        return asdict(kv_cache.measure_kv_cache(self._skeleton(config, **built)))

    def _activations(
        self, config: Mapping[str, Any], batch: int, sequence: int, quantizations: Sequence[str] = (), **built: Any
    ) -> dict[str, Any]:
        from modelyard.ml.inspect import activations

        measured = activations.measure_activations(
            self._skeleton(config, **built), batch=batch, sequence=sequence, quantizations=quantizations
        )
        return asdict(measured)

    def _architecture(self, config: Mapping[str, Any]) -> dict[str, Any]:
        from modelyard.ml.inspect import architecture

        return architecture.inspect_architecture(self._skeleton(config, "bfloat16")).as_dict()

    def _dtype_speed(self, _config: Mapping[str, Any]) -> dict[str, Any]:
        from modelyard.ml.inspect.dtype_speed import measure_dtype_speed

        return asdict(measure_dtype_speed())


_limited = False
_REPEAT_SECONDS = 0.1  # a handler's exception is lost where Python calls back into a finalizer, and imports are ended


def _expire(_signal: int, frame: FrameType | None) -> None:
    # Half of an import would stay, and fail every later question that needs it. The clock comes again.
    if _limited and not _is_importing(frame):
        raise _TimeLimit


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End what runs in it after so many seconds, or as soon as the parent sends the signal of the clock."""
    global _limited
    _limited = True
    signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT_SECONDS)
    try:
        yield
    finally:
        _limited = False
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        used = psutil.Process().memory_info().vms
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE_BYTES, hard))


if __name__ == "__main__":
    main()
