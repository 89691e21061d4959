"""Many continuations of one loaded model at once: sequences join between two tokens, and leave when they end."""

import threading
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from modelyard.core.errors import OutOfMemory
from modelyard.ml.generation.batch_cache import BatchCache
from modelyard.ml.generation.logprobs import read_likely
from modelyard.ml.generation.prefill import PIECE_TOKENS, Prefill, last_logits_only
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.generation.waiting_line import Group, WaitingLine
from modelyard.ml.hooks.interventions import Steering, steered
from modelyard.ml.loading import devices, placement

if TYPE_CHECKING:
    from modelyard.ml.loading.loaded_model import LoadedModel

MAX_ROWS = 32
"""Sequences that are written at once; more wait in line."""

AHEAD_TOKENS = 256
"""A sequence begins where there is memory for so many new tokens of all; most end long before the most they may."""

TURN_TOKENS = 64
"""A sequence keeps its row for so many tokens, and more after a long prompt, while requests wait that have none."""

TURN_SHARE = 4
"""A turn has at least one token for so many that are read again for it, so that little time goes into reading."""

MEMORY_SHARE = 0.8
"""How much of what is free the caches may take; the rest is for activations, and for others."""


class Batcher:
    """Runs one loaded model for all its requests, in a thread that is there while there are any.

    Between two tokens the model's lock is free, so that other work with the model gets its turn. Prompts are read
    between the others' tokens, PIECE_TOKENS at most before the next ones. Where memory runs short, the sequence that
    came last waits: its prompt and what it has written are read again later. `_changed` guards the line and the thread;
    all else belongs to the thread.
    """

    def __init__(self, loaded: "LoadedModel", steering: Steering | None = None) -> None:
        """With `steering` its sequences are those of one request; other batchers of the model run without it."""
        self._loaded = loaded
        self._steering = steering
        self._changed = threading.Condition()
        self._line = WaitingLine()
        self._thread: threading.Thread | None = None
        self._prefill: Prefill | None = None
        self._rows: list[Sequence] = []
        self._cache: BatchCache | None = None
        self._ended: list[tuple[Sequence, Exception | None]] = []

    @contextmanager
    def running(self, groups: SequenceOf[Group]) -> Iterator[None]:
        """Write sequences while the context lasts; those of a group have the same prompt.

        On leaving, what has not ended is ended, and the model is used for none of them any more.
        """
        with self._changed:
            self._line.add(groups)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            sequences = [sequence for group in groups for sequence in group]
            for sequence in sequences:
                sequence.unwanted = True
            self._leave_line()
            for sequence in sequences:
                sequence.has_ended.wait()

    def _leave_line(self) -> None:
        """End those that nobody wants and that have not begun; these wait for no turn of the model."""
        with self._changed:
            for sequence in self._line.take_unwanted():
                sequence.end()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not (self._line or self._prefill or self._rows):
                    self._thread = None
                    return
            with self._loaded.lock, steered(self._steering, self._loaded.model):
                self._step()
            # Not before the model is let go: who waits for the last one may unload it.
            ended, self._ended = self._ended, []
            for sequence, error in ended:
                sequence.end(error)

    @torch.no_grad()
    def _step(self) -> None:
        """Read a part of the prompts in line and write one token of each row."""
        self._drop_unwanted()
        self._read()
        self._write()

    def _drop_unwanted(self) -> None:
        self._leave_line()
        gone = [sequence for sequence in self._rows if sequence.unwanted]
        self._keep([sequence for sequence in self._rows if not sequence.unwanted])
        if self._prefill is not None:
            group = self._prefill.group
            gone += [sequence for sequence in group if sequence.unwanted]
            self._prefill.group = [sequence for sequence in group if not sequence.unwanted]
            if not self._prefill.group:
                self._prefill = None
        self._ended += [(sequence, None) for sequence in gone]

    def _read(self) -> None:
        """Read the prompts that are next in line, PIECE_TOKENS of them at most."""
        left = PIECE_TOKENS
        while (prefill := self._next_prefill()) is not None and prefill.next_tokens <= left:
            left -= prefill.next_tokens
            self._read_piece(prefill)

    def _next_prefill(self) -> Prefill | None:
        if self._prefill is None and (group := self._next_group()):
            self._prefill = Prefill(self._loaded.model, group)
            for sequence in group:
                sequence.start()
        return self._prefill

    def _read_piece(self, prefill: Prefill) -> None:
        try:
            self._loaded.adapters.use(prefill.group[0].adapter)
            logits = prefill.read_piece(self._loaded.model)
        except Exception as error:  # noqa: BLE001 - raised by the request, in its own thread
            self._prefill = None
            self._fail(prefill.group, error)
            return
        if logits is not None:
            self._prefill = None
            self._join(prefill, logits)

    def _next_group(self) -> Group | None:
        """Return who begins now: the first in line, where there is room."""
        with self._changed:
            group = self._line.first(Counter(sequence.request for sequence in self._rows))
            if group is None:
                return None
            while self._rows and not self._has_room(group):
                if not self._give_way(group):
                    for sequence in group:
                        sequence.note_waiting()
                    return None
            return self._line.take()

    def _give_way(self, group: Group) -> bool:
        """Let a sequence give up its row for a request that has none; return whether one does.

        It is the last one of the request with most rows, or where they have equally few, one whose turn is over.
        """
        rows = Counter(sequence.request for sequence in self._rows)
        if group[0].request in rows:
            return False
        (busiest, count), *_ = rows.most_common(1)
        if count > len(group):
            gives = next(sequence for sequence in reversed(self._rows) if sequence.request is busiest)
        else:
            gives = max(self._rows, key=lambda sequence: sequence.turn_tokens)
            if gives.turn_tokens < max(TURN_TOKENS, len(gives.ids) // TURN_SHARE):
                return False
        self._keep([sequence for sequence in self._rows if sequence is not gives])
        self._line.add_back(gives)
        return True

    def _has_room(self, group: Group) -> bool:
        assert self._cache is not None  # noqa: S101 - there are rows
        rows = len(self._rows) + len(group)
        longest = max(
            len(sequence.prompt) + len(sequence.tokens) + min(sequence.tokens_left, AHEAD_TOKENS)
            for sequence in (*self._rows, *group)
        )
        more = self._cache.bytes_for(rows, longest) - self._cache.held_bytes
        return rows <= MAX_ROWS and more <= self._free_bytes()

    def _join(self, prefill: Prefill, logits: torch.Tensor) -> None:
        """Let the sequences of a prompt that was read write their first tokens, and be rows from then on."""
        for sequence in prefill.group:
            sequence.turn_began_at = len(sequence.tokens)
        staying = [sequence for sequence in prefill.group if self._add(sequence, logits)]
        if not staying:
            return
        if self._cache is None:
            self._cache = prefill.cache
            if len(staying) > 1:
                self._cache.repeat(len(staying))
        else:
            self._cache.join(prefill.cache, len(staying))
        self._rows += staying

    def _write(self) -> None:
        """Write the next token of every row."""
        if not self._rows:
            return
        self._make_room()
        try:
            logits = self._forward(self._loaded.model)
        except Exception as error:  # noqa: BLE001 - raised by the requests, in their own threads
            self._after_error(error)
            return
        plain = self._plain_choices(logits)
        rows = enumerate(list(self._rows))
        self._keep([sequence for row, sequence in rows if self._add(sequence, logits[row], plain[row])])

    def _forward(self, model: PreTrainedModel) -> torch.Tensor:
        """Return the logits [rows, vocabulary] after each row's last token."""
        assert self._cache is not None  # noqa: S101 - there are rows
        device, length = devices.input_device(model), self._cache.length
        padding = torch.tensor(self._cache.padding, device=device)[:, None]
        if self._steering is not None:
            self._steering.at(length - padding, [len(sequence.prompt) for sequence in self._rows])
        output = self._loaded.adapters.run(
            [sequence.adapter for sequence in self._rows],
            input_ids=torch.tensor([[sequence.tokens[-1]] for sequence in self._rows], device=device),
            attention_mask=(torch.arange(length + 1, device=device)[None] >= padding).long(),
            position_ids=length - padding,
            past_key_values=self._cache.states,
            use_cache=True,
            **last_logits_only(model),
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _plain_choices(self, logits: torch.Tensor) -> list[int | None]:
        """Return the likeliest token of each row that takes that one, all at once."""
        if not any(sequence.chooser.is_plain for sequence in self._rows):
            return [None] * len(self._rows)
        best, tokens = logits.max(-1)
        finite = best.isfinite().tolist()
        return [
            token if sequence.chooser.is_plain and is_finite else None
            for sequence, token, is_finite in zip(self._rows, tokens.tolist(), finite, strict=True)
        ]

    def _add(self, sequence: Sequence, logits: torch.Tensor, plain: int | None = None) -> bool:
        """Choose the next token of a sequence; return whether more come."""
        try:
            if sequence.tokens_left:
                token = sequence.chooser.choose(logits, sequence.ids) if plain is None else plain
                top = sequence.logprobs
                sequence.add(token, None if top is None else read_likely(logits[None], [token], top)[0])
        except Exception as error:  # noqa: BLE001 - raised by the request, in its own thread
            self._fail([sequence], error)
            return False
        if sequence.finish_reason is None and sequence.tokens_left:
            return True
        self._ended.append((sequence, None))
        return False

    def _keep(self, rows: list[Sequence]) -> None:
        if not rows:
            self._cache = None
        elif len(rows) < len(self._rows):
            assert self._cache is not None  # noqa: S101 - there are rows
            kept = set(map(id, rows))
            self._cache.keep([row for row, sequence in enumerate(self._rows) if id(sequence) in kept])
        self._rows = rows

    def _make_room(self) -> None:
        """Let the sequences that came last wait until the next token of the others has room."""
        while len(self._rows) > 1:
            assert self._cache is not None  # noqa: S101 - there are rows
            growth = self._cache.growth_bytes()
            if not growth or growth <= self._free_bytes():
                return
            self._put_back()

    def _put_back(self) -> None:
        sequence = self._rows[-1]
        self._keep(self._rows[:-1])
        sequence.note_waiting()
        with self._changed:
            self._line.add_first([sequence])

    def _after_error(self, error: Exception) -> None:
        """Let the last sequence wait where memory ran out and there are others; otherwise all fail."""
        assert self._cache is not None  # noqa: S101 - there are rows
        if len(self._rows) > 1 and devices.is_out_of_memory(error):
            self._cache.crop(len(self._rows[0].ids) - 1 + self._cache.padding[0])
            self._put_back()
            error.with_traceback(None)
            devices.release_memory()
        else:
            rows, self._rows, self._cache = self._rows, [], None
            self._fail(rows, error)

    def _fail(self, group: Group, error: Exception) -> None:
        """End sequences with an error, without its traceback, which would hold caches and activations."""
        error = error.with_traceback(None)
        is_out_of_memory = devices.is_out_of_memory(error)
        for sequence in group:
            mine = out_of_memory(self._loaded, len(sequence.prompt)) if is_out_of_memory else error
            self._ended.append((sequence, mine))
        if is_out_of_memory:
            devices.release_memory()

    def _free_bytes(self) -> int:
        return int(placement.free_bytes(self._loaded.key.device) * MEMORY_SHARE)


def out_of_memory(loaded: "LoadedModel", prompt_tokens: int) -> OutOfMemory:
    """Return the error of a generation that memory ran out for."""
    return OutOfMemory(
        f"{loaded.key.model_id} ran out of memory on {loaded.key.device} with a prompt of {prompt_tokens} tokens.",
        hint="Ask with a shorter prompt or for fewer tokens, unload other models, or use a smaller precision.",
    )
