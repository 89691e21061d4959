"""Imports bitsandbytes without torch's compiler; all other modules get it from here.

bitsandbytes decorates four functions with `torch.compile`, for devices that it has no kernels for. The decorator
imports the compiler: hundreds of modules, a second of processor time and 50 MB. Imported from here, each of these
functions is compiled when it is first called.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import torch


@contextmanager
def compiling_at_first_call() -> Iterator[None]:
    """Have `torch.compile` return functions compiled when first called; for a process with one thread."""
    compile_now = torch.compile

    def compile_later(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled = cache(lambda: compile_now(function, **options))

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            return compiled()(*arguments, **named)

        return call

    torch.compile = compile_later  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compile_now


with compiling_at_first_call():
    from bitsandbytes import MatmulLtState
    from bitsandbytes.functional import QuantState, dequantize_4bit, quantize_4bit
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

__all__ = [
    "Linear4bit",
    "Linear8bitLt",
    "MatmulLtState",
    "QuantState",
    "compiling_at_first_call",
    "dequantize_4bit",
    "quantize_4bit",
]
