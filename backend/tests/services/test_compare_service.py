"""What a comparison asks of inference workers, and what it makes of their answers."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import ContextLengthExceeded, ModelyardError, OutOfMemory
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.models import Job, JobControl, JobState, Quantization
from modelyard.schemas.compare import CompareRequest, CompareResponse
from modelyard.services.compare_service import CompareService
from modelyard.services.inference import inference_service
from modelyard.services.inference.inference_service import InferenceService, StartedGeneration
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import GeneratePayload
from services.cache import MODEL_ID, OTHER_COMMIT, ready_row

PROMPT = [7, 8]
Answer = Mapping[str, Any] | ModelyardError


@pytest.fixture
def service(database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> CompareService:
    """Of an instance with two rows of one repository."""
    monkeypatch.setattr(inference_service.MemoryService, "options", lambda *_arguments, **_options: {})
    with database.session() as session:
        ready_row(session, cache)
        ready_row(session, cache, OTHER_COMMIT).quantization = Quantization.FOUR_BIT
    return CompareService(InferenceService(database))


def token(text: bytes, logprob: float | None = -1.0, number: int | None = None) -> dict[str, Any]:
    likely = {"id": text[0] if number is None else number, "text": text.decode("utf-8", "replace")}
    likely |= {"bytes": list(text), "logprob": logprob}
    return likely | {"top": [likely]}


def written(*texts: bytes, prompt: list[int] = PROMPT, reason: str = "length") -> dict[str, Any]:
    """The result of a generation of these tokens."""
    tokens = [token(text) for text in texts]
    text = b"".join(texts).decode("utf-8", "replace")
    choice = {"text": text, "tokens": tokens, "finish_reason": reason, "prompt_ids": prompt}
    return {"choices": [choice | {"prompt_tokens": len(prompt), "new_tokens": len(tokens)}]}


def scored(*tokens: dict[str, Any]) -> dict[str, Any]:
    """The result of reading a prompt and these tokens."""
    prompt = [token(b"p", None, number) for number in PROMPT]
    choice = {"text": "", "tokens": [*prompt, *tokens], "finish_reason": "length"}
    return {"choices": [choice | {"prompt_tokens": len(PROMPT) + len(tokens), "new_tokens": 0}]}


def jobs_of(database: Database) -> list[Job]:
    with database.reading() as session:
        return list(session.query(Job).order_by(Job.created_at))


def under_way(database: Database) -> list[Job]:
    return [job for job in jobs_of(database) if not job.ended]


def end(database: Database, job_id: str, answer: Answer) -> None:
    """Do what a worker does with a job."""
    with database.session() as session:
        claimed = JobService(session).claim(job_id, "worker")
        assert claimed is not None
        if isinstance(answer, ModelyardError):
            ended: dict[str, Any] = {"state": JobState.FAILED, "error": answer.as_dict()}
        else:
            ended = {"state": JobState.DONE, "result": answer}
        JobService(session).finish(job_id, claimed.owner or "", **ended)


def compare(service: CompareService, *answers: Answer) -> tuple[CompareResponse, list[tuple[Quantization, Any]]]:
    """Run a comparison whose generations end with these answers; the precision and payload of each one."""
    database, left = service.inference.database, list(answers)

    async def run() -> CompareResponse:
        request = CompareRequest(left=MODEL_ID, right=f"{MODEL_ID}:4bit", prompt="The", max_new_tokens=4)
        async with aclosing(service.follow(service.prepare(request))) as steps:
            async for step in steps:
                if step.result is not None:
                    return step.result
                assert len(under_way(database)) <= 1, "both models are in use at once"
                for job in under_way(database):
                    end(database, job.id, left.pop(0))
        raise AssertionError("it ended without a result")

    result = asyncio.run(run())
    assert left == []
    precisions = {result.left.id: Quantization.NONE, result.right.id: Quantization.FOUR_BIT}
    return result, [(precisions[job.subject_id], GeneratePayload.of(job)) for job in jobs_of(database)]


def test_each_model_writes_and_then_reads_what_the_other_wrote(service: CompareService) -> None:
    result, asked = compare(
        service,
        written(b"a", b"b"),
        written(b"a", b"c"),
        scored(token(b"a", -1.5), token(b"b", -3.0) | {"top": [token(b"c", -0.5)]}),
        scored(token(b"a", -1.25), token(b"c", -2.0)),
    )
    full, copy = Quantization.NONE, Quantization.FOUR_BIT
    assert [precision for precision, _ in asked] == [full, copy, copy, full], "a model is loaded once more than needed"
    assert [payload.inputs[0].token_ids for _, payload in asked] == [None, None, [7, 8, 97, 98], [7, 8, 97, 99]]
    assert [(payload.max_new_tokens, payload.echo) for _, payload in asked] == [(4, False)] * 2 + [(0, True)] * 2
    assert {payload.temperature for _, payload in asked} == {0}
    assert [found.other_logprob for found in result.left.tokens] == [-1.5, -3.0]
    assert [found.other_logprob for found in result.right.tokens] == [-1.25, -2.0]
    assert result.first_divergence == 1
    assert result.agreement is not None
    assert (result.agreement.tokens, result.agreement.same_choice) == (4, 3)
    assert (result.agreement.mean_difference, result.agreement.largest_difference) == (0.9375, 2.0)


def test_equal_texts_are_read_by_nobody(service: CompareService) -> None:
    result, asked = compare(service, written(b"a", b"b"), written(b"a", b"b"))
    assert (len(asked), result.first_divergence, result.reason) == (2, None, None)
    assert [found.other_logprob for found in result.left.tokens] == [-1, -1]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([written(b"a"), written(b"b", prompt=[7, 9])], "read the prompt as different tokens"),
        ([written(b"a"), written(b"b"), scored(token(b"x", number=97))], "token 97 is 'a' for one model and 'x' for"),
        ([written(b"a"), written(b"b"), ContextLengthExceeded("The prompt has 3 tokens.")], "The prompt has 3 tokens."),
    ],
)
def test_why_log_probabilities_are_missing_is_said(service: CompareService, answers: list[Answer], reason: str) -> None:
    result, asked = compare(service, *answers)
    assert result.reason is not None
    assert reason in result.reason
    assert (len(asked), result.agreement, result.first_divergence) == (len(answers), None, 0)
    assert [found.other_logprob for found in (*result.left.tokens, *result.right.tokens)] == [None, None]


def test_an_error_names_its_side_and_ends_the_comparison(service: CompareService) -> None:
    with pytest.raises(OutOfMemory) as refused:
        compare(service, written(b"a"), OutOfMemory("It needs 1.00 TB."))
    assert refused.value.extra["side"] == "right"
    assert [job.ended for job in jobs_of(service.inference.database)] == [True, True]


def test_a_text_that_ends_where_the_other_goes_on(service: CompareService) -> None:
    result, _ = compare(
        service, written(b"a"), written(b"a", b"b"), scored(token(b"a")), scored(token(b"a"), token(b"b"))
    )
    assert (result.left.first_divergence, result.right.first_divergence) == (1, 1)


def test_a_character_of_several_tokens_comes_with_the_last_one(service: CompareService) -> None:
    llama = "🦙".encode()
    texts = b"a", llama[:2], llama[2:], llama[:1]
    result, _ = compare(service, written(*texts), written(*texts))
    assert [found.text for found in result.left.tokens] == ["a", "", "🦙", "\ufffd"]


def test_leaving_stops_the_generation_that_is_under_way(service: CompareService) -> None:
    async def leave() -> None:
        request = CompareRequest(left=MODEL_ID, right=f"{MODEL_ID}:4bit", prompt="The")
        async with aclosing(service.follow(service.prepare(request))) as steps:
            async for step in steps:
                if step.side == "right":
                    break
                for job in under_way(service.inference.database):
                    end(service.inference.database, job.id, written(b"a"))

    asyncio.run(leave())
    first, second = jobs_of(service.inference.database)
    assert (first.state, second.control) == (JobState.DONE, JobControl.CANCEL)


def test_leaving_while_a_generation_is_being_queued_stops_it(
    service: CompareService, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_starting, may_start = threading.Event(), threading.Event()
    start: Callable[..., StartedGeneration] = InferenceService.start

    def held_back(self: InferenceService, *arguments: Any, **fields: Any) -> StartedGeneration:
        is_starting.set()
        assert may_start.wait(60)
        return start(self, *arguments, **fields)

    monkeypatch.setattr(InferenceService, "start", held_back)

    async def leave() -> None:
        request = CompareRequest(left=MODEL_ID, right=f"{MODEL_ID}:4bit", prompt="The")
        steps = service.follow(service.prepare(request))
        asking = asyncio.ensure_future(anext(steps))
        await asyncio.to_thread(is_starting.wait, 60)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        may_start.set()
        while not any(job.control is JobControl.CANCEL for job in jobs_of(service.inference.database)):
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(leave(), 60))
    assert len(jobs_of(service.inference.database)) == 1
