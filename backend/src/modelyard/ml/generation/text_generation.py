"""Text from a loaded model, piece by piece, the same every time for the same request."""

import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from modelyard.core.errors import ContextLengthExceeded, InvalidRequest, no_language_head
from modelyard.ml.generation.answer import Answer, AnswerRoom
from modelyard.ml.generation.batching import Batcher
from modelyard.ml.generation.fair_lock import TURN_SECONDS
from modelyard.ml.generation.generation_request import Choice, Generated, Options, Prompt
from modelyard.ml.generation.one_by_one import run_one_by_one
from modelyard.ml.generation.sampling import TokenChooser, end_tokens, own_processors
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.hooks.interventions import Steering
from modelyard.ml.inspect import meta_model
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.loading.pretrained import read_config
from modelyard.ml.loading.read_model import LoadCancelled
from modelyard.ml.untrusted import Tokenizer, TokenizerStopped

READ_SECONDS = 0.1
"""How often new tokens are made into text after the first, which is as often as text is published; at once where they
may complete a stop string."""

Snapshot = Callable[[], list[Choice]]


def require_language_head(folder: Path) -> None:
    """Raise UnsupportedArchitecture for a model that cannot generate, before it is loaded."""
    _require_language_head(meta_model.model_class(meta_model.load_config(read_config(folder))))


def _require_language_head(cls: type[PreTrainedModel]) -> None:
    if not cls.can_generate():
        raise no_language_head(cls.__name__)


def generate(
    loaded: LoadedModel,
    prompts: SequenceOf[Prompt],
    options: Options,
    *,
    on_text: Callable[[Snapshot], None] = lambda _snapshot: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_start: Callable[[], None] = lambda: None,
    on_wait: Callable[[], None] = lambda: None,
) -> Generated:
    """Continue prompts, or answer messages with the tokenizer's chat template, beside other requests.

    `on_text` is called when there is more text, with what returns the choices as they are then. `should_stop` is asked
    several times a second; what was written until then is returned. `on_start` is called when the first prompt is
    being read, `on_wait` when a prompt waits for the memory of other generations. Raises NoTokenizer, TemplateFailed,
    ContextLengthExceeded, InvalidRequest, OutOfMemory, OutputNotFinite, and UnsupportedArchitecture for a model that
    cannot generate.
    """
    _require_language_head(type(loaded.model))
    _require_sensible(options, loaded.model)
    try:
        encoded = [_encode(loaded.tokenizer, prompt, should_stop) for prompt in prompts]
    except TokenizerStopped:
        return _nothing(len(prompts) * options.n)
    for ids, _ in encoded:
        require_known(ids, loaded.model)
    changed = threading.Event()
    try:
        steering = _steering(loaded, options, should_stop)
    except LoadCancelled:
        return _nothing(len(prompts) * options.n)
    groups = [
        _group(loaded, ids, options, changed, number * options.n, steering) for number, (ids, _) in enumerate(encoded)
    ]
    room = AnswerRoom()
    answers = [
        Answer(loaded, sequence, options, text, room)
        for group, (_, text) in zip(groups, encoded, strict=True)
        for sequence in group
    ]
    started = _follow(loaded, groups, answers, changed, on_text, should_stop, on_start, on_wait)
    seconds = time.monotonic() - started
    choices = [answer.choice() for answer in answers]
    new_tokens = sum(choice.new_tokens for choice in choices)
    return Generated(
        choices=choices,
        prompt_tokens=sum(len(ids) for ids, _ in encoded),
        new_tokens=new_tokens,
        tokens_per_second=new_tokens / seconds if seconds else 0.0,
    )


def _follow(
    loaded: LoadedModel,
    groups: SequenceOf[SequenceOf[Sequence]],
    answers: SequenceOf[Answer],
    changed: threading.Event,
    on_text: Callable[[Snapshot], None],
    should_stop: Callable[[], bool],
    on_start: Callable[[], None],
    on_wait: Callable[[], None],
) -> float:
    """Write the sequences and read their text until all have ended; return when the first prompt's reading began."""
    sequences = [sequence for group in groups for sequence in group]
    started: float | None = None
    has_waited = has_text = False
    with _running(loaded, groups):
        while True:
            changed.wait(TURN_SECONDS)
            changed.clear()
            have_ended = all(sequence.has_ended.is_set() for sequence in sequences)
            if started is None and any(sequence.is_started for sequence in sequences):
                started = time.monotonic()
                on_start()
            if not has_waited and any(sequence.waits_for_memory for sequence in sequences):
                has_waited = True
                on_wait()
            has_text = _read(answers, on_text) or has_text
            if error := next((sequence.error for sequence in sequences if sequence.error is not None), None):
                raise error
            if have_ended or should_stop():
                break
            if has_text and not any(answer.may_stop for answer in answers):
                sequences[-1].has_ended.wait(READ_SECONDS)
    _read(answers, on_text)  # what came until it ended
    return time.monotonic() if started is None else started


def _read(answers: SequenceOf[Answer], on_text: Callable[[Snapshot], None]) -> bool:
    """Make text of new tokens; return whether there is more to show."""
    news = [answer.read() for answer in answers]
    if any(news):
        on_text(lambda: [answer.choice() for answer in answers])
    return any(news)


@contextmanager
def _running(loaded: LoadedModel, groups: SequenceOf[SequenceOf[Sequence]]) -> Iterator[None]:
    """Have sequences written while the context lasts: together with others', or one by one."""
    if loaded.can_batch:
        steering = groups[0][0].steering
        batcher = loaded.batcher if steering is None else Batcher(loaded, steering)
        with batcher.running(groups):
            yield
        return
    sequences = [sequence for group in groups for sequence in group]
    thread = threading.Thread(target=run_one_by_one, args=(loaded, sequences), name="generation", daemon=True)
    thread.start()
    try:
        yield
    finally:
        for sequence in sequences:
            sequence.unwanted = True
        thread.join()


def _group(
    loaded: LoadedModel,
    ids: list[int],
    options: Options,
    changed: threading.Event,
    number: int,
    steering: Steering | None,
) -> list[Sequence]:
    """Return the sequences of one prompt, whose choices are numbered from `number`."""
    model = loaded.model
    wanted = _new_tokens_left(model.config, len(ids), options.max_new_tokens)
    processors = own_processors(model, len(ids), wanted) if loaded.can_batch else []
    return [
        Sequence(
            ids,
            wanted,
            TokenChooser(model, loaded.key.model_id, options, number + index, processors),
            end_tokens(model),
            changed,
            logprobs=options.logprobs,
            prompt_logprobs=options.echo and options.logprobs is not None,
            adapter=options.adapter,
            steering=steering,
        )
        for index in range(options.n)
    ]


def _steering(loaded: LoadedModel, options: Options, should_stop: Callable[[], bool]) -> Steering | None:
    """Raises InvalidRequest for interventions that do not fit the model, LoadCancelled."""
    if not options.interventions:
        return None
    with loaded.turn(should_stop, options.adapter) as is_ours:
        if not is_ours:
            raise LoadCancelled
        return Steering(loaded.model, options.interventions)


def _nothing(choices: int) -> Generated:
    none = Choice("", "cancelled", None, prompt_tokens=0, new_tokens=0)
    return Generated([none] * choices, prompt_tokens=0, new_tokens=0, tokens_per_second=0.0)


def _encode(tokenizer: Tokenizer, prompt: Prompt, should_stop: Callable[[], bool]) -> tuple[list[int], str | None]:
    """Return a prompt's token ids and its text; None for the text of ids."""
    given = (prompt.text, prompt.token_ids, prompt.messages)
    if sum(each is not None for each in given) != 1:
        raise InvalidRequest("There must be either a prompt or messages.", hint="Send one of the two.")
    text = prompt.text
    if prompt.token_ids is not None:
        ids = list(prompt.token_ids)
    elif prompt.messages is None:
        ids = tokenizer.encode(text or "", should_stop=should_stop)
    elif not tokenizer.has_chat_template(should_stop=should_stop):
        raise InvalidRequest("This model's tokenizer has no chat template.", hint="Use prompt instead of messages.")
    else:
        text = tokenizer.render_chat(prompt.messages, add_generation_prompt=True, should_stop=should_stop)
        ids = tokenizer.encode(text, add_special_tokens=False, should_stop=should_stop)
    if not ids:
        bos = tokenizer.bos_token_id(should_stop=should_stop)
        if bos is None:
            raise InvalidRequest("The prompt is empty.", hint="Send some text.")
        return [bos], text
    return ids, text


def _require_sensible(options: Options, model: PreTrainedModel) -> None:
    if options.max_new_tokens is not None and options.max_new_tokens < (0 if options.echo else 1):
        raise InvalidRequest("max_new_tokens is less than 1.", hint="Ask for at least 1.")
    if options.echo and options.logprobs is not None and model.config.is_encoder_decoder:
        raise InvalidRequest(
            "This model's prompt has no log-probabilities: it is read by an encoder.", hint="Leave echo out."
        )
    rows = _embedding_rows(model)
    if unknown := next((token for token in options.logit_bias if not 0 <= token < rows), None):
        raise InvalidRequest(
            f"logit_bias names token {unknown}; the model knows {rows:,} tokens.", hint="Leave it out."
        )


def _new_tokens_left(config: Any, prompt_tokens: int, wanted: int | None) -> int:
    """Return how many tokens may come: as many as wanted, or as the context has room for. Raises
    ContextLengthExceeded."""
    limit = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if config.is_encoder_decoder or not isinstance(limit, int) or limit <= 0:
        return _UNLIMITED if wanted is None else wanted
    most = limit if wanted == 0 else limit - 1
    if prompt_tokens > most:
        raise ContextLengthExceeded(f"The prompt has {prompt_tokens} tokens; this model reads at most {most}.")
    return limit - prompt_tokens if wanted is None else min(wanted, limit - prompt_tokens)


_UNLIMITED = 100_000
"""New tokens of a model that has no longest context, where no number was asked for."""


def _embedding_rows(model: PreTrainedModel) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def require_known(ids: SequenceOf[int], model: PreTrainedModel) -> None:
    """Raise InvalidRequest for ids that the embedding has no row for: the tokenizer belongs to other weights."""
    rows = _embedding_rows(model)
    unknown = next((token for token in ids if not 0 <= token < rows), None)
    if unknown is not None:
        raise InvalidRequest(
            f"The tokenizer makes token {unknown} of this text, and the model knows {rows:,} tokens.",
            hint="The tokenizer does not belong to these weights; leave out special tokens, or use another model.",
        )
