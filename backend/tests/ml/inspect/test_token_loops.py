"""Loops over tokens that are not run in full give the figures of those that are."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import pytest
import torch
from torch import nn

from ml import known_exceptions, zoo
from modelyard.ml.inspect import activations, kv_cache, meta_model, token_loops
from modelyard.ml.inspect.token_loops import LoopNotUnderstood, TokenLoops

_WITH_LOOPS = ("falcon_mamba", "jamba", "mamba", "zamba")
_TOKENS = 131
Whole = Callable[[], None]


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Whole:
    """Let every loop be run in full from here on."""
    return lambda: monkeypatch.setattr(token_loops, "LEAST_TURNS", 10**9)


@pytest.mark.parametrize(
    "model_type", zoo.cases(sample={*zoo.SAMPLE, *_WITH_LOOPS}, without=known_exceptions.NOT_RUNNABLE)
)
def test_activations_and_caches_are_those_of_whole_loops(model_type: str, whole: Whole) -> None:
    config = zoo.tiny_config(model_type).to_dict()

    def figures() -> object:
        skeleton = meta_model.build(config)
        peaks = activations.measure_activations(
            skeleton, batch=2, sequence=_TOKENS, all_logits=True, quantizations=("8bit", "4bit")
        )
        return peaks, kv_cache.cache_meter(skeleton).bytes(_TOKENS) if peaks.kv_cache_bytes else None

    shortened = figures()
    whole()
    assert shortened == figures()


@pytest.mark.parametrize("model_type", _WITH_LOOPS)
def test_a_long_prompt_takes_no_more_turns_than_a_short_one(model_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    yielded = 0
    turns = TokenLoops._turns

    def counted(self: TokenLoops, numbers: range) -> Iterator[int]:
        nonlocal yielded
        for number in turns(self, numbers):
            yielded += 1
            yield number

    monkeypatch.setattr(TokenLoops, "_turns", counted)
    skeleton = meta_model.build(zoo.tiny_config(model_type).to_dict())
    found = activations.measure_activations(skeleton, batch=1, sequence=4096)

    assert found.activation_bytes is not None
    assert 0 < yielded < 100


@dataclass
class Skipped:
    """What a loop reported, and how many turns were run."""

    left: list[int] = field(default_factory=list)
    turns: int = 0
    ran: int = 0

    def note(self, left: Sequence[torch.UntypedStorage], turns: int) -> None:
        self.left, self.turns = [storage.nbytes() for storage in left], turns


_CODE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(4, device="meta")) for _ in range(200))

    def forward(self, x):
        return {body}(self, x)

def stacked(self, x):
    state, found = x[:, 0].clone(), []
    for index in range(x.shape[1]):
        self.seen.ran += 1
        state = state * x[:, index]
        found.append(state + 1)
    return torch.stack(found, dim=1)

def joined(self, x):
    return torch.cat([x[:, index : index + 1] + 1 for index in range(x.shape[1])], dim=1)

def written(self, x):
    found = torch.zeros_like(x)
    for index in range(x.shape[1]):
        self.seen.ran += 1
        found[:, index] = x[:, index] + 1
    return found

def growing(self, x):
    found = x[:, :0]
    for index in range(x.shape[1]):
        self.seen.ran += 1
        found = torch.cat([found, x[:, index : index + 1] + 1], dim=1)
    return found

def over_layers(self, x):
    for index in range(x.shape[1]):
        self.seen.ran += 1
        x = x * self.weights[index]
    return x

def used_one_by_one(self, x):
    total = x[:, 0] * 0
    for each in [x[:, index] + 1 for index in range(x.shape[1])]:
        total = total + each
    return total
"""


def model_of(body: str, seen: Skipped) -> nn.Module:
    code = ModuleType("transformers.models.made_for_a_test")
    sys.modules[code.__name__] = code
    exec(_CODE.format(body=body), vars(code))  # noqa: S102 - a model's own module, whose `range` is replaced
    model: nn.Module = code.Model()
    model.seen = seen  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("body", "ran", "left"),
    [
        ("stacked", 6, [32]),
        ("joined", None, [32]),
        ("written", 6, []),
        ("growing", 200, None),
        ("over_layers", 200, None),
    ],
)
def test_only_loops_whose_turns_are_alike_are_shortened(body: str, ran: int | None, left: list[int] | None) -> None:
    seen = Skipped()
    model = model_of(body, seen)
    x = torch.empty(2, 200, 4, device="meta")
    with TokenLoops(200, seen.note).over(model):
        found = model(x)

    assert found.shape == x.shape
    assert ran in (None, seen.ran)
    assert (seen.turns, seen.left) == ((0, []) if left is None else (194, left))
    assert "range" not in vars(sys.modules[type(model).__module__])


def test_a_list_that_is_not_joined_is_not_understood() -> None:
    model = model_of("used_one_by_one", Skipped())
    with TokenLoops(200).over(model), pytest.raises(LoopNotUnderstood):
        model(torch.empty(2, 200, 4, device="meta"))
