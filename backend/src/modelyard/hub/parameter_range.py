"""A range of parameter counts, as a Hub's `num_parameters` writes it: `min:6B,max:128B`."""

import re
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
"""What may follow a count of parameters, and what it is worth."""

_BOUND = re.compile(r"(?P<name>min|max):(?P<number>\d{1,18}(?:\.\d{1,18})?)(?P<unit>[KMBT]?)", re.ASCII)
_MOST = 2**62
"""Larger bounds mean the same, and no database takes them."""


@dataclass(frozen=True)
class ParameterRange:
    """From `least` to `most` parameters, both included; None is no limit."""

    least: int | None = None
    most: int | None = None

    @classmethod
    def parse(cls, text: str) -> "ParameterRange":
        """Read `min:X`, `max:Y` or both with a comma between. Raises ValueError."""
        bounds: dict[str, Decimal] = {}
        for part in text.split(","):
            bound = _BOUND.fullmatch(part.strip())
            if bound is None or bound["name"] in bounds:
                raise ValueError(f"not a range of parameters: {text!r}")
            bounds[bound["name"]] = Decimal(bound["number"]) * UNITS[bound["unit"]]
        least, most = bounds.get("min"), bounds.get("max")
        return cls(None if least is None else min(ceil(least), _MOST), None if most is None else min(int(most), _MOST))

    def __bool__(self) -> bool:
        return self.least is not None or self.most is not None

    def __contains__(self, count: int) -> bool:
        return (self.least is None or count >= self.least) and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        # Plain integers: the Hub takes them, too, and no unit rounds them.
        bounds = (("min", self.least), ("max", self.most))
        return ",".join(f"{name}:{bound}" for name, bound in bounds if bound is not None)


ANY_SIZE = ParameterRange()
