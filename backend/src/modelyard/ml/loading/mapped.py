"""How much of a model in main memory is only mapped from its files."""

import sys
from bisect import bisect_right

import psutil
from torch import nn

from modelyard.ml.quantize.quantization import unique_storages


def mapped_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's storages that are mapped from files and not in this process's memory.

    Weights on a CPU are mapped, and a page of theirs takes memory once it has been read. 0 where the system does not
    say which pages are in memory.
    """
    if sys.platform != "linux":
        return 0
    areas = sorted(
        (int(start, 16), int(end, 16), area.rss)
        for area in psutil.Process().memory_maps(grouped=False)
        if area.path.startswith("/")
        for start, end in [area.addr.split("-")]
    )
    starts = [start for start, _, _ in areas]
    inside = [0] * len(areas)
    for (device, address), size in unique_storages(model).items():
        index = bisect_right(starts, address) - 1
        if device.type == "cpu" and index >= 0 and address < areas[index][1]:
            inside[index] += size
    return sum(max(0, size - rss) for size, (_, _, rss) in zip(inside, areas, strict=True))
