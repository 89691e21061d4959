"""EleutherAI's evaluation harness, unchanged, against a real server: a task of a few lines, offline."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from support.instance import Instance
from support.lm_eval import lm_eval
from support.smollm2 import NotAvailable
from support.tools import missing

pytestmark = pytest.mark.thorough

LLAMA = "modelyard-samples/tiny-llama"
GPT2 = "modelyard-samples/tiny-gpt2"
QUESTIONS = [
    {"question": "The capital of France is", "choices": ["Paris", "a river"], "answer": 0},
    {"question": "A list is made by", "choices": ["a comma", "brackets, as in [1, 2]"], "answer": 1},
    {"question": "Two and two are", "choices": ["four", "five, or so they say"], "answer": 0},
]
_TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {kind}
doc_to_text: "{{{{question}}}}"
metadata: {{version: 1}}
"""
CHOOSING = """
doc_to_choice: choices
doc_to_target: answer
metric_list: [{metric: acc}]
"""
WRITING = """
doc_to_target: "{{choices[answer]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]
"""


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    instance = Instance(tmp_path_factory.mktemp("harness")).start()
    instance.use_builtin_hub()
    for row in [instance.download(name) for name in (LLAMA, GPT2)]:
        instance.wait_for(row["id"], "ready")
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    for name, kind, more in (("choosing", "multiple_choice", CHOOSING), ("writing", "generate_until", WRITING)):
        (folder / f"{name}.yaml").write_text(_TASK.format(name=name, data=data, kind=kind) + more)
    return folder


def harness(tasks: Path, output: Path, *arguments: str) -> list[dict[str, Any]]:
    """The samples of a run, in the order of the questions."""
    try:
        command = lm_eval()
    except NotAvailable as reason:
        missing(f"lm_eval is not available here: {reason}")
    options = ["--include_path", str(tasks), "--output_path", str(output), "--log_samples"]
    environment = os.environ | {
        "HF_HOME": str(output / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OPENAI_API_KEY": "none",
    }
    run = subprocess.run(
        [*command, *arguments, *options], capture_output=True, text=True, timeout=500, check=False, env=environment
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    [samples] = output.rglob("samples_*.jsonl")
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    return sorted(found, key=lambda sample: sample["doc_id"])


def test_choices_are_scored(instance: Instance, tasks: Path, tmp_path: Path) -> None:
    row = next(row for row in instance.api.get("/models").json()["items"] if row["model_id"] == GPT2)
    settings = f"model={GPT2},base_url={instance.url}/v1/completions,tokenizer={row['snapshot_path']},num_concurrent=2"
    samples = harness(tasks, tmp_path, "--model", "local-completions", "--model_args", settings, "--tasks", "choosing")
    with openai.OpenAI(base_url=f"{instance.url}/v1", api_key="none", timeout=120) as client:
        for question, sample in zip(QUESTIONS, samples, strict=True):
            for choice, response in zip(question["choices"], sample["resps"], strict=True):  # type: ignore[call-overload]
                found, _is_greedy = response[0]
                assert float(found) == pytest.approx(score(client, str(question["question"]), f" {choice}"), abs=1e-4)


def score(client: openai.OpenAI, context: str, continuation: str) -> float:
    """The log-probability of a continuation, as a person would ask for it."""
    answer = client.completions.create(
        model=GPT2, prompt=context + continuation, max_tokens=0, echo=True, logprobs=0, temperature=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.text_offset is not None
    told = zip(logprobs.text_offset, logprobs.token_logprobs, strict=True)
    return sum(value for offset, value in told if offset >= len(context))


def test_texts_and_conversations_are_written(instance: Instance, tasks: Path, tmp_path: Path) -> None:
    address = f"{instance.url}/v1/chat/completions"
    chat = ["--model", "local-chat-completions", "--apply_chat_template", "--tasks", "writing"]
    answers = harness(tasks, tmp_path / "chat", *chat, "--model_args", f"model={LLAMA},base_url={address}")
    with openai.OpenAI(base_url=f"{instance.url}/v1", api_key="none", timeout=120) as client:
        for question, sample in zip(QUESTIONS, answers, strict=True):
            expected = client.chat.completions.create(
                model=LLAMA,
                messages=[{"role": "user", "content": str(question["question"])}],
                temperature=0,
                max_tokens=8,
                stop=["\n"],
            )
            assert sample["resps"][0][0] == expected.choices[0].message.content
