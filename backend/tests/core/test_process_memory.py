import mmap
import os

import pytest

from modelyard.core import process_memory
from modelyard.core.process_memory import proportional_bytes

MORE_BYTES = 50_000_000


def test_a_figure_counts_until_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_memory, "FRESH_SECONDS", -1.0)
    before = proportional_bytes(os.getpid())
    monkeypatch.setattr(process_memory, "FRESH_SECONDS", 3600.0)
    with mmap.mmap(-1, MORE_BYTES) as held:  # what is allocated may be memory that this process has already
        held.write(b"x" * MORE_BYTES)
        assert proportional_bytes(os.getpid()) == before
        monkeypatch.setattr(process_memory, "FRESH_SECONDS", -1.0)
        assert proportional_bytes(os.getpid()) > before + 0.9 * MORE_BYTES
