"""The values of enums, and the types that name them for the API and for commands."""

from enum import StrEnum
from typing import Any, get_args

import pytest

from modelyard.core import statuses


@pytest.mark.parametrize(
    ("enum", "names"),
    [
        (statuses.Quantization, statuses.QuantizationName),
        (statuses.ModelKind, statuses.KindName),
        (statuses.ModelStatus, statuses.StatusName),
        (statuses.EventKind, statuses.HistoryKindName),
        (statuses.EventName, statuses.HistoryEventName),
        (statuses.BundleKind, statuses.BundleKindName),
        (statuses.BundleStatus, statuses.BundleStatusName),
        (statuses.TrainingStatus, statuses.TrainingStatusName),
        (statuses.SaeSource, statuses.SaeSourceName),
    ],
)
def test_the_names_are_those_of_the_enum(enum: type[StrEnum], names: Any) -> None:
    assert list(get_args(names)) == [member.value for member in enum]


def test_a_copy_has_any_precision_but_the_full_one() -> None:
    assert ("none", *get_args(statuses.CopyQuantizationName)) == get_args(statuses.QuantizationName)
