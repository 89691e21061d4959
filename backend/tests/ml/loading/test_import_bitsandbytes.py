import subprocess
import sys
from typing import Any

import pytest
import torch

from modelyard.ml.loading.import_bitsandbytes import compiling_at_first_call


@pytest.mark.parametrize("module", ["loading.import_bitsandbytes", "quantize.packed_experts"])
def test_bitsandbytes_is_imported_without_the_compiler(module: str) -> None:
    program = (
        f"import modelyard.ml.{module}, sys, torch\n"
        "wanted = ('bitsandbytes', 'torch._dynamo', 'torch._inductor.codecache')\n"
        "print(*(name for name in wanted if name in sys.modules))\n"
        "print(torch.compile.__module__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["bitsandbytes", "torch"]


def test_a_function_is_compiled_once_when_it_is_first_called(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[dict[str, Any]] = []

    def compile_now(function: Any, **options: Any) -> Any:
        compiled.append(options)
        return lambda number: function(number) + 0.5

    monkeypatch.setattr(torch, "compile", compile_now)
    with compiling_at_first_call():

        @torch.compile
        def double(number: float) -> float:
            return number * 2

        half = torch.compile(lambda number: number / 2, dynamic=False)
    assert torch.compile is compile_now
    assert compiled == []
    assert (double(2), double(3), half(8)) == (4.5, 6.5, 4.5)
    assert compiled == [{}, {"dynamic": False}]
