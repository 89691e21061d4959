"""Whether a processor computes in bfloat16: measured, on this one and on one whose abilities are switched off."""

import json
import os
import subprocess
import sys
from typing import Any

import torch

from ml.older_processor import ENVIRONMENT
from modelyard.services.inspection.fast_dtype import LEAST_SPEEDUP

PROGRAM = """
import json
from dataclasses import asdict
from modelyard.ml.inspect.dtype_speed import measure_dtype_speed
from modelyard.services.inspection.fast_dtype import processor_identity
print(json.dumps(asdict(measure_dtype_speed()) | {"identity": processor_identity()}))
"""


def measured(**environment: str) -> dict[str, Any]:
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"speedup": found["bfloat16_seconds"] / found["float32_seconds"]}


def test_a_processor_without_bfloat16_is_slower_in_it() -> None:
    here, older = measured(), measured(**ENVIRONMENT)
    assert older["speedup"] > LEAST_SPEEDUP
    assert here["identity"] != older["identity"], "the answer for one would be remembered for the other"
    if torch.cpu.get_capabilities().get("avx512_bf16", False):
        assert here["speedup"] < LEAST_SPEEDUP
