"""Limits on what may come into being while a model is built from its configuration.

A configuration is a stranger's: a few digits in it ask for more layers than fit any memory. torch tells of every
parameter, buffer and module as it is registered, so a build that goes too far ends in the middle.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from modelyard.core.config_limits import MAX_PARAMETERS
from modelyard.core.errors import UnsupportedArchitecture

BUILD_ERRORS = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, TypeError, ValueError)
"""What transformers raises while it builds and fills a model from a configuration whose values it does not check."""

MAX_MODULES = 1_000_000
"""Far above the 150,000 of a mixture of 60 layers with 384 experts each."""

MAX_BUFFER_ELEMENTS = 4 * 10**9
CHECK_SECONDS = 0.1


@dataclass(frozen=True)
class BuildLimits:
    """What one build may take. `described` names the sizes of the configuration, for the message.

    `held` is how many parameters the weight files hold, where that is known. `tensors` limits how many parameters are
    registered, however small each is; None does not. `cpu_seconds` are those of the building
    thread, None is as many as it takes. `source` is the file that describes the model.
    """

    parameters: int = MAX_PARAMETERS
    described: str = ""
    held: int | None = None
    tensors: int | None = None
    cpu_seconds: float | None = None
    source: str = "config.json"


@dataclass
class _Count:
    limits: BuildLimits
    check: Callable[[], None]
    parameters: int = 0
    tensors: int = 0
    buffers: int = 0
    modules: int = 0
    started: float = field(default_factory=time.thread_time)
    checked: float = field(default_factory=time.monotonic)

    def on_parameter(self, _module: nn.Module, _name: str, parameter: Any) -> None:
        if isinstance(parameter, torch.Tensor) and parameter.is_meta:
            self.parameters += parameter.numel()
            self.tensors += 1
            if self.limits.tensors is not None and self.tensors > self.limits.tensors:
                raise self._too_large(f"more than {self.limits.tensors:,} tensors")
            if self.parameters > self.limits.parameters:
                raise self._too_large(f"more than {self.limits.parameters:,} parameters")
        self._look_up()

    def on_buffer(self, _module: nn.Module, _name: str, buffer: Any) -> None:
        if isinstance(buffer, torch.Tensor) and buffer.is_meta:
            self.buffers += buffer.numel()
            if self.buffers > MAX_BUFFER_ELEMENTS:
                raise self._too_large(f"buffers of more than {MAX_BUFFER_ELEMENTS:,} elements")
        self._look_up()

    def on_module(self, _module: nn.Module, _name: str, _submodule: Any) -> None:
        self.modules += 1
        if self.modules > MAX_MODULES:
            raise self._too_large(f"more than {MAX_MODULES:,} modules")
        self._look_up()

    def _look_up(self) -> None:
        now = time.monotonic()
        if now - self.checked < CHECK_SECONDS:
            return
        self.checked = now
        self.check()
        allowed = self.limits.cpu_seconds
        if allowed is not None and time.thread_time() - self.started > allowed:
            raise self._too_large(f"a model that takes more than {allowed:.0f} s of processor time to build")

    def _too_large(self, what: str) -> UnsupportedArchitecture:
        held = self.limits.held
        beside = f", where the weight files hold {held:,} parameters" if held else ""
        return UnsupportedArchitecture(
            f"{self.limits.source} describes {what} ({self.limits.described}){beside}.",
            hint="Choose another revision or model, or tell the author of this one.",
        )


def nothing() -> None:
    """Do nothing: for a build that nobody stops."""


@contextmanager
def bounded_build(limits: BuildLimits, check: Callable[[], None] = nothing) -> Iterator[None]:
    """While it lasts, what this thread builds on the meta device is counted.

    Beyond a limit the build ends with UnsupportedArchitecture. `check` is called every CHECK_SECONDS; what it raises
    ends the build, too.
    """
    count, thread = _Count(limits, check), threading.get_ident()

    def here(hook: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: Any) -> None:
            if threading.get_ident() == thread:
                hook(*arguments)

        return counted

    with ExitStack() as registered:
        for register, hook in (
            (register_module_parameter_registration_hook, count.on_parameter),
            (register_module_buffer_registration_hook, count.on_buffer),
            (register_module_module_registration_hook, count.on_module),
        ):
            registered.callback(register(here(hook)).remove)
        yield
