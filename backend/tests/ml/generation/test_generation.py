"""Text from real tiny models: streamed whole, the same for the same seed, stoppable."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from ml.generation.generating import generate
from modelyard.core.errors import InvalidRequest, NoTokenizer, OutOfMemory
from modelyard.ml.generation.text_stream import TextStream
from modelyard.ml.model_loader import LoadedModel, LoadSpec, ModelLoader
from support.samples import sample_models

TinyModel = Callable[[str], Path]
PROMPT = "The import statement binds a name in the local namespace"
MESSAGES = [{"role": "user", "content": "What does import do?"}]


@pytest.fixture(scope="module")
def samples() -> Path:
    return sample_models()


@pytest.fixture(scope="module")
def loader() -> Iterator[ModelLoader]:
    loader = ModelLoader()
    yield loader
    loader.close()


def spec(folder: Path, quantization: Any = "none") -> LoadSpec:
    return LoadSpec(f"tests/{folder.name}", "c" * 40, quantization, folder, device="cpu")


@pytest.fixture
def chat(loader: ModelLoader, samples: Path) -> Iterator[LoadedModel]:
    with loader.get(spec(samples / "tiny-llama")) as loaded:
        yield loaded


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
@pytest.mark.parametrize("name", ["tiny-llama", "tiny-gpt2", "tiny-qwen-moe"])
def test_every_kind_of_model_generates_in_every_precision(
    loader: ModelLoader, samples: Path, name: str, quantization: str
) -> None:
    with loader.get(spec(samples / name, quantization)) as loaded:
        deltas: list[str] = []
        result = generate(loaded, prompt=PROMPT, max_new_tokens=12, on_delta=deltas.append)
        assert result.text == "".join(deltas) != ""
        assert 1 <= result.new_tokens <= 12
        assert result.tokens_per_second > 0
        assert generate(loaded, prompt=PROMPT, max_new_tokens=12).text == result.text


def test_temperature_zero_is_what_transformers_decodes_greedily(chat: LoadedModel, samples: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(samples / "tiny-llama")
    inputs = tokenizer(PROMPT, return_tensors="pt")
    expected = chat.model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=16, do_sample=False
    )[0, inputs["input_ids"].shape[1] :]
    result = generate(chat, prompt=PROMPT, max_new_tokens=16)
    assert result.text == tokenizer.decode(expected, skip_special_tokens=True)
    assert result.prompt_tokens == inputs["input_ids"].shape[1]


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-7])
def test_a_temperature_that_float32_cannot_divide_by_takes_the_likeliest_token(
    chat: LoadedModel, temperature: float
) -> None:
    made = generate(chat, prompt=PROMPT, max_new_tokens=4, temperature=temperature, seed=1)
    assert made.text == generate(chat, prompt=PROMPT, max_new_tokens=4).text


def test_a_seed_decides_and_nothing_else(chat: LoadedModel) -> None:
    def text(seed: int) -> str:
        torch.manual_seed(torch.seed() % 2**32)  # the process-wide generator must not matter
        return generate(chat, prompt=PROMPT, max_new_tokens=16, temperature=1.0, seed=seed).text

    before = torch.get_rng_state()
    generate(chat, prompt=PROMPT, max_new_tokens=4, temperature=1.0, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1
    assert text(1) != generate(chat, prompt=PROMPT, max_new_tokens=16).text


def test_messages_go_through_the_chat_template(chat: LoadedModel, samples: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(samples / "tiny-llama")
    templated = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    assert generate(chat, messages=MESSAGES).text == generate(chat, prompt=templated).text


def test_stopping_ends_it_and_says_so(chat: LoadedModel) -> None:
    deltas: list[str] = []
    result = generate(
        chat, prompt=PROMPT, max_new_tokens=500, on_delta=deltas.append, should_stop=lambda: len(deltas) >= 3
    )
    assert result.finish_reason == "cancelled"
    assert result.new_tokens < 500
    assert result.text == "".join(deltas)


def test_the_end_is_named(chat: LoadedModel) -> None:
    assert generate(chat, prompt=PROMPT, max_new_tokens=3).finish_reason == "length"
    first = generate(chat, prompt=PROMPT, max_new_tokens=1)
    token = chat.tokenizer.encode(first.text, add_special_tokens=False)[-1]
    config = chat.model.generation_config
    previous, config.eos_token_id = config.eos_token_id, [token]
    try:
        assert generate(chat, prompt=PROMPT, max_new_tokens=9).finish_reason == "stop"
    finally:
        config.eos_token_id = previous


def test_the_context_is_a_limit(loader: ModelLoader, samples: Path) -> None:
    with loader.get(spec(samples / "tiny-gpt2")) as loaded:
        limit = loaded.model.config.max_position_embeddings
        with pytest.raises(InvalidRequest, match=str(limit - 1)):
            generate(loaded, prompt="name " * limit)
        (prompt,) = loaded.tokenizer.decode(loaded.tokenizer.encode("name " * limit)[: limit - 20])
        result = generate(loaded, prompt=prompt, max_new_tokens=1000)
        assert result.prompt_tokens + result.new_tokens <= limit


@pytest.mark.parametrize(
    "wrong",
    [{}, {"prompt": "a", "messages": MESSAGES}, {"prompt": "a", "max_new_tokens": 0}],
)
def test_requests_that_make_no_sense_are_refused(chat: LoadedModel, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        generate(chat, **wrong)


def test_an_empty_prompt_starts_from_nothing(chat: LoadedModel) -> None:
    assert generate(chat, prompt="", max_new_tokens=4).prompt_tokens == 1


def test_a_tokenizer_without_template_wants_a_prompt(loader: ModelLoader, samples: Path) -> None:
    with loader.get(spec(samples / "tiny-gpt2")) as loaded, pytest.raises(InvalidRequest, match="chat template"):
        generate(loaded, messages=MESSAGES)


def test_a_model_without_tokenizer_says_so(loader: ModelLoader, tiny_model: TinyModel) -> None:
    with loader.get(replace(spec(tiny_model("llama")), model_id="tests/none")) as loaded, pytest.raises(NoTokenizer):
        generate(loaded, prompt="a")


@pytest.mark.parametrize(
    "text",
    [
        "plain words, and 3 numbers: 1 22 333",
        "naïve café, Straße",
        "日本語のテキスト",
        "tears 😂 of 👩‍👩‍👧‍👦 joy",
        "  leading\n\n  spaces\tand tabs  ",
    ],
)
def test_streamed_text_is_the_decoded_text_whatever_the_script(chat: LoadedModel, text: str) -> None:
    ids = chat.tokenizer.encode(text, add_special_tokens=False)
    deltas: list[str] = []
    stream = TextStream(chat.tokenizer)
    for token in ids:
        before = stream.text
        stream.put([token])
        deltas.append(stream.text[len(before) :])
    stream.end()
    assert "".join(deltas) == stream.text == text
    assert not any("\ufffd" in delta for delta in deltas)


def test_running_out_of_memory_is_told_and_nothing_is_kept(chat: LoadedModel) -> None:
    def too_much(*_inputs: object) -> None:
        torch.empty(1 << 60, dtype=torch.uint8)  # more than any machine has

    hook = chat.model.register_forward_pre_hook(too_much)
    with pytest.raises(OutOfMemory, match="ran out of memory on cpu with a prompt of") as refused:
        generate(chat, prompt=PROMPT, max_new_tokens=4)
    hook.remove()
    assert refused.value.__context__ is None  # nothing keeps the cache's frames
    assert generate(chat, prompt=PROMPT, max_new_tokens=4).new_tokens > 0


def test_a_generation_that_waits_for_another_one_can_be_stopped(chat: LoadedModel) -> None:
    stop, started = threading.Event(), threading.Event()
    with chat.lock, ThreadPoolExecutor(1) as pool:  # the other one
        waiting = pool.submit(
            generate, chat, prompt=PROMPT, max_new_tokens=4, should_stop=stop.is_set, on_start=started.set
        )
        assert not started.wait(0.2)
        assert not waiting.done()
        stop.set()
        result = waiting.result(30)
    assert (result.finish_reason, result.text, result.new_tokens) == ("cancelled", "", 0)
    assert not started.is_set()
    generate(chat, prompt=PROMPT, max_new_tokens=1, on_start=started.set)
    assert started.is_set()
