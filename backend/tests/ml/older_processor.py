"""Run in a process of its own: the peaks of quantized products as on a processor with AVX2 and nothing newer.

`python -m ml.older_processor <checkpoint> <result.json> 8bit:32 4bit:1` with `ENVIRONMENT` set.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import bitsandbytes
import torch

from ml import measure
from modelyard.ml.loading.cpu_kernels import cpu_kernels

ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def main(folder: Path, result: Path, cases: list[str]) -> None:
    # bitsandbytes' own library asks the processor, whatever the environment says.
    capabilities = dict(torch.cpu.get_capabilities()) | {"avx512_bf16": False}
    torch.cpu.get_capabilities = lambda: capabilities  # type: ignore[assignment]
    bitsandbytes.nn.modules.has_avx512bf16 = lambda: False
    torch.set_num_threads(1)
    peaks = {}
    for case in cases:
        quantization, sequence = case.split(":")
        peaks[case] = measure.quantized_peak(folder, quantization, int(sequence))
    result.write_text(json.dumps({"kernels": asdict(cpu_kernels()), "peaks": peaks}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
