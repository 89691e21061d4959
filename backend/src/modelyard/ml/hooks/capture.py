"""Activations of texts: which tokens are kept, how rows form batches, and reading hook points of a loaded model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from modelyard.ml.hooks.points import HookShape, by_row, first_tensor, hooked, run

Positions = Literal["all", "last"] | Sequence[int]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BATCH_TOKENS = 8192
"""A batch has no more tokens than this, padding counted, unless one row alone has."""


@dataclass(frozen=True)
class Rows:
    """Token ids of many rows: all of them one after the other, and how many each row has."""

    ids: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Rows":
        """Return rows of token ids."""
        flat = [token for row in rows for token in row]
        return cls(torch.tensor(flat, dtype=torch.int32), torch.tensor([len(row) for row in rows], dtype=torch.int32))

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def ends(self) -> list[int]:
        """Return where each row ends in `ids`."""
        ends: list[int] = self.lengths.cumsum(0).tolist()
        return ends

    def row(self, number: int) -> torch.Tensor:
        """Return the ids of one row."""
        return self.ids[self.ends[number - 1] if number else 0 : self.ends[number]]

    def batches(self, size: int) -> Iterator[range]:
        """Yield rows that are run together, in their order: `size` at most. Depends on nothing but the rows."""
        start = longest = 0
        for number, length in enumerate(self.lengths.tolist()):
            longest = max(longest, length)
            count = number - start + 1
            if count > 1 and (count > size or count * longest > BATCH_TOKENS):
                yield range(start, number)
                start, longest = number, length
        if len(self):
            yield range(start, len(self))


def kept(length: int, positions: Positions) -> list[int]:
    """Return which positions of a row are kept; from its end where they are negative, and only those it has."""
    if positions == "all":
        return list(range(length))
    wanted = [-1] if positions == "last" else [each for each in positions if isinstance(each, int)]
    return sorted({position % length for position in wanted if -length <= position < length})


def padded(rows: Rows, numbers: Sequence[int], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids [rows, tokens] of a batch, padded on the right, and its attention mask."""
    ids = nn.utils.rnn.pad_sequence(
        [rows.row(number).long() for number in numbers], batch_first=True, padding_value=pad
    )
    lengths = rows.lengths[list(numbers)]
    return ids, (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()


def pad_token(model: PreTrainedModel) -> int:
    """Return the token that rows are padded with, which the attention mask hides."""
    pad = getattr(model.config.get_text_config(decoder=True), "pad_token_id", None)
    return pad if isinstance(pad, int) and pad >= 0 else 0


@torch.no_grad()
def capture(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, shapes: Mapping[str, HookShape]
) -> dict[str, torch.Tensor]:
    """Run a batch and return what each hook point gave, [rows, tokens, …]. The caller holds the model's lock."""
    found: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = first_tensor(output)
            assert tensor is not None  # noqa: S101 - probed
            # A copy: what comes after may add to the stream in place.
            found[path] = by_row(tensor, shapes[path], *ids.shape).detach().clone()

        return note

    with hooked(model, {path: keep(path) for path in shapes}):
        run(model, ids, mask, list(shapes))
    return found


def rows_kept(tensor: torch.Tensor, lengths: Sequence[int], positions: Positions, dtype: str) -> torch.Tensor:
    """Return the kept tokens of a batch's tensor, [tokens, …], on the CPU in the dtype that was asked for."""
    picked = [tensor[row, kept(length, positions)] for row, length in enumerate(lengths)]
    return torch.cat(picked).to(DTYPES[dtype]).cpu().contiguous()
