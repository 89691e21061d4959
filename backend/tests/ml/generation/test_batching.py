"""Many requests for one model at once: the same tokens as alone, in turns, and nothing left behind."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from ml.generation.generating import generate
from ml.zoo import scatter_norms, tiny_config
from modelyard.core.errors import ContextLengthExceeded, InvalidRequest, OutOfMemory
from modelyard.ml.generation import answer, batching, text_generation
from modelyard.ml.generation.batch_cache import can_batch
from modelyard.ml.generation.batching import Batcher
from modelyard.ml.generation.generation_request import Options, Prompt
from modelyard.ml.generation.one_by_one import run_one_by_one
from modelyard.ml.generation.sampling import TokenChooser
from modelyard.ml.generation.sequence import Sequence
from modelyard.ml.generation.waiting_line import WaitingLine
from modelyard.ml.loading import loaded_model, placement
from modelyard.ml.loading.loaded_model import LoadedModel
from modelyard.ml.model_loader import LoadSpec, ModelKey, ModelLoader
from support.samples import sample_models

CLIENTS = 8
WAIT_SECONDS = 120.0
NEAR = 1e-3
"""Where the two best logits differ by less, either token is right: a batch rounds differently."""


@pytest.fixture(scope="module")
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


@pytest.fixture(params=["tiny-llama", "tiny-gpt2"])
def model(request: pytest.FixtureRequest, loader: ModelLoader) -> Iterator[LoadedModel]:
    folder = sample_models() / request.param
    spec = LoadSpec(f"tests/{request.param}", "c" * 40, "none", folder, device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        yield loaded


@pytest.fixture
def llama(loader: ModelLoader) -> Iterator[LoadedModel]:
    spec = LoadSpec("tests/tiny-llama", "c" * 40, "none", sample_models() / "tiny-llama", device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        yield loaded


def prompts_of(count: int) -> list[list[int]]:
    """Prompts of different lengths."""
    return [[5 + (7 * place + step) % 200 for step in range(3 + 5 * place)] for place in range(count)]


@contextmanager
def held(model: PreTrainedModel) -> Iterator[Callable[[], None]]:
    """Keep the model from running until it is let go."""
    gate = threading.Event()
    hook = model.register_forward_pre_hook(lambda *_inputs: (gate.wait(WAIT_SECONDS), None)[1])
    try:
        yield gate.set
    finally:
        gate.set()
        hook.remove()


def run_together(loaded: LoadedModel, prompts: list[list[int]], **options: Any) -> list[list[dict[str, Any]]]:
    """The tokens of each prompt, asked for by as many threads; none is begun before all are in line."""
    with held(loaded.model) as let_go, ThreadPoolExecutor(len(prompts)) as pool:
        asked = [pool.submit(generate, loaded, token_ids=ids, logprobs=2, **options) for ids in prompts]
        while len(loaded.batcher._line) + 1 < len(prompts):
            assert not any(each.done() for each in asked)
            time.sleep(0.01)
        let_go()
        return [each.result(WAIT_SECONDS).tokens or [] for each in asked]


def require_same(found: list[dict[str, Any]], alone: list[dict[str, Any]]) -> None:
    for one, other in zip(found, alone, strict=True):
        if one["id"] != other["id"]:
            best, second = (each["logprob"] for each in other["top"])
            assert best - second < NEAR
            return  # from here on they are different texts
        assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-4)


def test_tokens_are_the_same_as_alone(model: LoadedModel) -> None:
    assert can_batch(model.model)
    prompts = prompts_of(CLIENTS)
    alone = [generate(model, token_ids=ids, max_new_tokens=12, logprobs=2).tokens or [] for ids in prompts]
    for found, expected in zip(run_together(model, prompts, max_new_tokens=12), alone, strict=True):
        require_same(found, expected)
    assert (model.batcher._rows, model.batcher._cache, model.batcher._prefill) == ([], None, None)


@pytest.mark.parametrize(("lengths", "first_rows"), [([3, 8, 13, 18], 4), ([60, 60], 1)])
def test_prompts_that_wait_are_read_before_the_next_token(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch, lengths: list[int], first_rows: int
) -> None:
    """As many as may be read at once: the others would write a token after each, and every token costs a pass."""
    monkeypatch.setattr(batching, "PIECE_TOKENS", 100)
    shapes: list[tuple[int, int]] = []

    def note(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        shapes.append(tuple(inputs["input_ids"].shape))

    hook = llama.model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        run_together(llama, [list(range(5, 5 + length)) for length in lengths], max_new_tokens=3)
    finally:
        hook.remove()
    assert next(rows for rows, tokens in shapes if tokens == 1) == first_rows


def test_the_first_text_is_made_known_at_once(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the second token is being written: nothing waits for more text to come."""
    monkeypatch.setattr(text_generation, "READ_SECONDS", WAIT_SECONDS)
    begun, seen = threading.Event(), threading.Event()

    def wait(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        is_prompt = inputs["input_ids"].shape[1] > 1
        assert (begun if is_prompt else seen).wait(WAIT_SECONDS / 4)

    hook = llama.model.register_forward_pre_hook(wait, with_kwargs=True)
    try:
        made = generate(
            llama, token_ids=[5, 6, 7], max_new_tokens=2, on_start=begun.set, on_delta=lambda _delta: seen.set()
        )
    finally:
        hook.remove()
    assert made.new_tokens == 2


def test_a_model_is_asked_once_whether_its_sequences_share_a_batch(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PreTrainedModel] = []

    def note(model: PreTrainedModel) -> bool:
        asked.append(model)
        return can_batch(model)

    monkeypatch.setattr(loaded_model, "can_batch", note)
    llama.__dict__.pop("can_batch", None)
    for _ in range(2):
        generate(llama, token_ids=[5, 6, 7], max_new_tokens=1)
    assert asked == [llama.model]


def test_a_choice_has_a_generator_of_its_own(llama: LoadedModel) -> None:
    def texts(seed: int | None, *, n: int) -> list[str]:
        options = Options(n=n, max_new_tokens=8, temperature=1.0, seed=seed)
        return [choice.text for choice in text_generation.generate(llama, [Prompt("The import")] * 2, options).choices]

    together = texts(3, n=3)
    assert len(set(together)) > 1
    assert together[:3] == texts(3, n=3)[:3]
    assert together[0] == texts(3, n=1)[0]


def test_a_short_request_does_not_wait_for_a_long_one(llama: LoadedModel) -> None:
    long_ended = threading.Event()
    begun = threading.Event()
    llama.model.generation_config.eos_token_id, ends = None, llama.model.generation_config.eos_token_id
    try:
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(
                generate, llama, token_ids=[5, 6, 7], max_new_tokens=100_000, should_stop=long_ended.is_set,
                on_start=begun.set,
            )  # fmt: skip
            assert begun.wait(WAIT_SECONDS)
            assert generate(llama, token_ids=[8, 9], max_new_tokens=3).new_tokens == 3
            assert not long.done() or long.result().finish_reason == "length"
            long_ended.set()
            long.result(WAIT_SECONDS)
    finally:
        llama.model.generation_config.eos_token_id = ends


def test_a_request_with_many_prompts_does_not_keep_others_out(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those that wait in line nor those that are being written, however long they become."""
    monkeypatch.setattr(batching, "MAX_ROWS", 3)
    alone = generate(llama, token_ids=[8, 9], max_new_tokens=3).text
    begun, enough = threading.Event(), threading.Event()
    prompts = [Prompt(token_ids=[5, 6, 7 + number]) for number in range(6)]
    llama.model.generation_config.eos_token_id, ends = None, llama.model.generation_config.eos_token_id
    try:
        with ThreadPoolExecutor(1) as pool:
            greedy = pool.submit(
                text_generation.generate, llama, prompts, Options(max_new_tokens=400), should_stop=enough.is_set,
                on_start=begun.set,
            )  # fmt: skip
            assert begun.wait(WAIT_SECONDS)
            while len(llama.batcher._rows) < 3:
                time.sleep(0.01)
            assert generate(llama, token_ids=[8, 9], max_new_tokens=3).text == alone
            waiting, ended = len(llama.batcher._line), greedy.done()
            enough.set()
            assert not ended
            assert waiting >= 3, "none of the first ones has ended"
            greedy.result(WAIT_SECONDS)
    finally:
        enough.set()
        llama.model.generation_config.eos_token_id = ends


def test_what_gave_way_goes_on_as_if_it_had_not(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_ROWS", 3)
    prompts = [Prompt(token_ids=ids) for ids in prompts_of(4)]
    options = Options(max_new_tokens=6)
    alone = [choice.text for choice in text_generation.generate(llama, prompts, options).choices]
    begun = threading.Event()
    with held(llama.model) as let_go, ThreadPoolExecutor(3) as pool:
        many = pool.submit(text_generation.generate, llama, prompts, options, on_start=begun.set)
        assert begun.wait(WAIT_SECONDS)
        others = [pool.submit(text_generation.generate, llama, [prompt], options) for prompt in prompts[:2]]
        while len(llama.batcher._line) < 5:
            time.sleep(0.01)
        let_go()
        assert [choice.text for choice in many.result(WAIT_SECONDS).choices] == alone
        assert [each.result(WAIT_SECONDS).choices[0].text for each in others] == alone[:2]


def test_a_short_request_gets_a_turn_among_long_ones(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_ROWS", 2)
    monkeypatch.setattr(batching, "TURN_TOKENS", 8)
    alone = generate(llama, token_ids=[8, 9], max_new_tokens=3).text
    enough = threading.Event()
    llama.model.generation_config.eos_token_id, ends = None, llama.model.generation_config.eos_token_id
    try:
        with ThreadPoolExecutor(4) as pool:
            long = [
                pool.submit(
                    generate, llama, token_ids=[5, 6, 7 + number], max_new_tokens=400, should_stop=enough.is_set
                )
                for number in range(4)
            ]
            while len(llama.batcher._line) < 2:
                time.sleep(0.01)
            assert generate(llama, token_ids=[8, 9], max_new_tokens=3).text == alone
            ended = [each.done() for each in long]
            enough.set()
            written = [each.result(WAIT_SECONDS).new_tokens for each in long]
    finally:
        enough.set()
        llama.model.generation_config.eos_token_id = ends
    assert not any(ended)
    assert max(written) < 400


def test_whose_turn_was_over_goes_on_as_if_it_had_not_been(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    options, prompts = Options(max_new_tokens=40), [Prompt(token_ids=ids) for ids in prompts_of(5)]
    alone = [text_generation.generate(llama, [prompt], options).choices[0].text for prompt in prompts]
    monkeypatch.setattr(batching, "MAX_ROWS", 2)
    monkeypatch.setattr(batching, "TURN_TOKENS", 5)
    turns = list[int]()
    add_back = WaitingLine.add_back

    def gives_way(line: WaitingLine, sequence: Sequence) -> None:
        turns.append(sequence.turn_tokens)
        add_back(line, sequence)

    monkeypatch.setattr(WaitingLine, "add_back", gives_way)
    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(lambda prompt: text_generation.generate(llama, [prompt], options).choices[0], prompts))
    assert [choice.text for choice in together] == alone
    assert turns
    assert min(turns) >= 5, "nobody reads a prompt again for less"


def test_a_sequence_waits_while_its_cache_would_not_fit(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, begins when the others have ended, and writes what it writes alone."""
    alone = [generate(llama, token_ids=ids, max_new_tokens=6).text for ids in prompts_of(2)]
    monkeypatch.setattr(placement, "free_bytes", lambda _device: 0)
    waited = [threading.Event(), threading.Event()]
    with held(llama.model) as let_go, ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(
                text_generation.generate, llama, [Prompt(token_ids=ids)], Options(max_new_tokens=6), on_wait=event.set
            )
            for ids, event in zip(prompts_of(2), waited, strict=True)
        ]
        while len(llama.batcher._line) < 1:
            assert not any(each.done() for each in asked)
            time.sleep(0.01)
        let_go()
        assert [each.result(WAIT_SECONDS).choices[0].text for each in asked] == alone
    assert any(event.is_set() for event in waited)


def test_who_came_last_makes_room_and_goes_on_later(llama: LoadedModel) -> None:
    """Memory that runs out in a pass of several rows ends none of them."""
    prompts = prompts_of(3)
    alone = [generate(llama, token_ids=ids, max_new_tokens=8, logprobs=2).tokens or [] for ids in prompts]
    failures = iter([True])

    def fail_once(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[0] == len(prompts) and next(failures, False):
            torch.empty(1 << 60, dtype=torch.uint8)  # more than any machine has

    hook = llama.model.register_forward_pre_hook(fail_once, with_kwargs=True)
    try:
        for found, expected in zip(run_together(llama, prompts, max_new_tokens=8), alone, strict=True):
            require_same(found, expected)
        assert next(failures, None) is None
    finally:
        hook.remove()


def test_one_that_fails_does_not_end_the_others(llama: LoadedModel) -> None:
    def fail(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[1] == 4:  # the prompt of one of them
            torch.empty(1 << 60, dtype=torch.uint8)

    hook = llama.model.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        with ThreadPoolExecutor(2) as pool:
            failing = pool.submit(generate, llama, token_ids=[5, 6, 7, 8], max_new_tokens=4)
            other = pool.submit(generate, llama, token_ids=[5, 6], max_new_tokens=4)
            with pytest.raises(OutOfMemory):
                failing.result(WAIT_SECONDS)
            assert other.result(WAIT_SECONDS).new_tokens > 0
    finally:
        hook.remove()


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_log_probabilities_are_those_of_the_model(loader: ModelLoader, quantization: Any) -> None:
    folder = sample_models() / "tiny-llama"
    spec = LoadSpec("tests/tiny-llama", "c" * 40, quantization, folder, device="cpu", dtype="float32")
    with loader.get(spec) as loaded:
        made = generate(loaded, prompt="The import statement", max_new_tokens=6, logprobs=3, echo=True, temperature=1.0)
        tokens = made.tokens or []
        assert len(tokens) == made.prompt_tokens + made.new_tokens
        assert made.text.startswith("The import statement")
        ids = torch.tensor([[token["id"] for token in tokens]])
        with torch.no_grad():
            expected = loaded.model(input_ids=ids).logits[0].float().log_softmax(-1)
        assert tokens[0]["logprob"] is None
        for place, token in enumerate(tokens[1:]):
            assert token["logprob"] == pytest.approx(float(expected[place, token["id"]]), abs=1e-4)
            assert [each["logprob"] for each in token["top"]] == pytest.approx(
                expected[place].topk(3).values.tolist(), abs=1e-4
            )
        echoed = generate(loaded, prompt="The import statement", max_new_tokens=0, logprobs=0, echo=True)
        assert (echoed.text, echoed.new_tokens) == ("The import statement", 0)
        assert len(echoed.tokens or []) == made.prompt_tokens


def test_stop_strings_are_cut_wherever_they_lie(llama: LoadedModel) -> None:
    plain = generate(llama, prompt="The import statement", max_new_tokens=10).text
    for start in (1, 4, len(plain) - 3):
        stop = plain[start : start + 3]
        deltas: list[str] = []
        made = generate(
            llama, prompt="The import statement", max_new_tokens=10, stop=[stop, "never"], on_delta=deltas.append
        )
        assert made.text == "".join(deltas) == plain[: plain.index(stop)]
        assert made.finish_reason == "stop"


def test_penalties_and_bias_change_what_is_chosen(llama: LoadedModel) -> None:
    llama.model.generation_config.eos_token_id, ends = None, llama.model.generation_config.eos_token_id
    try:
        banned = generate(llama, token_ids=[5, 6], max_new_tokens=1, logprobs=0).tokens or []
        token = banned[0]["id"]
        biased = generate(llama, token_ids=[5, 6], max_new_tokens=1, logprobs=0, logit_bias={token: -100.0}).tokens
        assert biased
        assert biased[0]["id"] != token
        forced = generate(llama, token_ids=[5, 6], max_new_tokens=4, logprobs=0, logit_bias={9: 1000.0}).tokens or []
        assert [each["id"] for each in forced] == [9] * 4
        never_again = generate(llama, token_ids=[5, 6], max_new_tokens=12, logprobs=0, presence_penalty=1000.0)
        ids = [each["id"] for each in never_again.tokens or []]
        assert len(set(ids)) == len(ids) == 12
    finally:
        llama.model.generation_config.eos_token_id = ends


def test_what_cannot_be_asked_for_is_refused(llama: LoadedModel) -> None:
    limit = llama.model.config.max_position_embeddings
    with pytest.raises(ContextLengthExceeded):
        generate(llama, token_ids=[5] * limit)
    with pytest.raises(InvalidRequest, match="max_new_tokens"):
        generate(llama, token_ids=[5], max_new_tokens=0)
    with pytest.raises(InvalidRequest, match="logit_bias"):
        generate(llama, token_ids=[5], logit_bias={10**6: 1.0})


TYPES = {
    "llama": True, "gpt2": True, "mixtral": True, "deepseek_v3": True, "qwen3": True, "phi": True,
    "bloom": False, "gemma2": False, "gpt_oss": False, "jamba": False, "mamba": False, "qwen3_next": False,
    "zamba2": False,
}  # fmt: skip
"""Whether sequences of a type share a batch: not with windows, recurrent states, or positions made of the mask."""


@pytest.mark.parametrize("model_type", TYPES)
def test_every_type_writes_what_it_writes_alone(model_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny_config(model_type)
    model = getattr(transformers, config.architectures[0])._from_config(config, dtype=torch.float32).eval()
    scatter_norms(model)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    loaded = LoadedModel(ModelKey(model_type, "c" * 40, "none", "cpu", "float32"), model, tmp_path, 0.0)
    changed = threading.Event()
    sequences = [
        Sequence(ids, 8, TokenChooser(model, model_type, Options()), frozenset(), changed) for ids in prompts_of(4)
    ]
    assert can_batch(model) is TYPES[model_type]
    if can_batch(model):
        with Batcher(loaded).running([[sequence] for sequence in sequences]):
            for sequence in sequences:
                assert sequence.has_ended.wait(WAIT_SECONDS)
    else:
        run_one_by_one(loaded, sequences)
    for sequence in sequences:
        assert sequence.error is None
        ids = torch.tensor([sequence.prompt])
        alone = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
        for token, expected, logits in zip(
            sequence.tokens, alone.sequences[0, len(sequence.prompt) :].tolist(), alone.logits, strict=True
        ):
            if token != expected:
                best, second = logits[0].topk(2).values.tolist()
                assert best - second < NEAR
                break


@pytest.mark.parametrize("way", [{"logprobs": 3}, {"logprobs": 3, "echo": True, "max_new_tokens": 0}, {"n": 8}])
def test_an_answer_that_becomes_too_long_ends_alone(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, way: dict[str, Any]
) -> None:
    """How long one may become is a matter of a stranger's tokenizer too, and each is held several times."""
    prompt = "The import statement" * 4
    expected = generate(model, prompt="A class", max_new_tokens=8).text
    monkeypatch.setattr(answer, "MAX_ANSWER_BYTES", 300)
    options = Options(**{"max_new_tokens": 200, "temperature": 1.0} | way)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(text_generation.generate, model, [Prompt(prompt)], options)
        short = pool.submit(generate, model, prompt="A class", max_new_tokens=8)
        with pytest.raises(InvalidRequest, match="would have more than 300 B"):
            long.result(WAIT_SECONDS)
        assert short.result(WAIT_SECONDS).text == expected


def test_tokens_are_counted_by_what_they_stand_for(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a stranger's vocabulary may have a megabyte each: they are counted before lists are made of them."""
    monkeypatch.setattr(model.tokenizer, "pieces", lambda ids: dict.fromkeys(ids, bytes(10**7)))
    with pytest.raises(InvalidRequest, match="would have more than 128 MB"):
        generate(model, prompt="The", max_new_tokens=1, logprobs=3)
