"""What converting one GGUF file may take: it is a stranger's, and some megabytes of it can ask for all there is."""

from modelyard.core.errors import UnsupportedArchitecture
from modelyard.core.process_limits import Limits

_BASE_BYTES = 3 * 10**9
"""For the header and the tokenizer that is made of it: 2,000,000 texts take less than half."""
_BASE_SECONDS = 600
_MEMORY_FACTOR = 4
"""Times the converted weights, of which twice is needed at the peak."""
_SECONDS_PER_GIGABYTE = 600
"""Of processor time, of all threads; old processors compute in bfloat16 that slowly."""
_CLOCK_FACTOR = 3


def conversion_limits(weights_bytes: int) -> Limits:
    """Return the limits for a file whose converted weights take so much."""
    seconds = _BASE_SECONDS + _SECONDS_PER_GIGABYTE * weights_bytes // 10**9
    return Limits(_BASE_BYTES + _MEMORY_FACTOR * weights_bytes, seconds, float(_CLOCK_FACTOR * seconds))


def beyond_limits(name: str, what: str) -> UnsupportedArchitecture:
    """Return the error for a file whose conversion did `what`, such as "took more than 600 s"."""
    return UnsupportedArchitecture(
        f"Converting {name} {what}, far more than a file of its size needs.",
        hint="Choose another GGUF file, or the repository it was made from.",
    )
