"""Ranges of parameter counts, as a Hub's `num_parameters` writes them."""

import pytest

from modelyard.hub.parameter_range import ANY_SIZE, ParameterRange


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("min:6B,max:128B", 6 * 10**9, 128 * 10**9),
        ("max:24B,min:0", 0, 24 * 10**9),
        ("min:3.75B", 3_750_000_000, None),
        ("max:16000000000", None, 16 * 10**9),
        ("min:1.5,max:1.5", 2, 1),
        ("min:500M, max:2T", 5 * 10**8, 2 * 10**12),
        ("max:999999999999999999T", None, 2**62),
    ],
)
def test_what_it_reads(text: str, least: int | None, most: int | None) -> None:
    assert ParameterRange.parse(text) == ParameterRange(least, most)


@pytest.mark.parametrize(
    "text", ["", "6B", "min:", "min:-1", "min:6G", "min:1,min:2", "min:1,", "avg:1", "min:٣", "min:1e9"]
)
def test_what_it_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a range"):
        ParameterRange.parse(text)


def test_what_it_writes_it_reads() -> None:
    assert str(ParameterRange(5, 7)) == "min:5,max:7"
    for bounds in (ParameterRange(0, None), ParameterRange(None, 2**53), ParameterRange(1, 2)):
        assert ParameterRange.parse(str(bounds)) == bounds
        assert bounds


def test_both_ends_belong_to_it() -> None:
    assert [count in ParameterRange(2, 3) for count in (1, 2, 3, 4)] == [False, True, True, False]
    assert 0 in ANY_SIZE
    assert not ANY_SIZE
