"""What two texts with their log-probabilities say of two models."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.schemas.compare import (
    Agreement,
    ComparedSide,
    ComparedToken,
    CompareResponse,
    PossibleToken,
)
from modelyard.services.inference.generation_result import Choice, LikelyToken, WrittenToken
from modelyard.services.inference.served import Served
from modelyard.services.openai.answers import finish_reason

OTHER_PROMPT = (
    "The two models read the prompt as different tokens, so the log-probabilities of the texts cannot be compared."
)


@dataclass(frozen=True)
class Written:
    """What one model wrote. `scored` are the same tokens with the other model's log-probabilities, where known."""

    served: Served
    choice: Choice
    scored: Sequence[WrittenToken] | None = None

    @property
    def tokens(self) -> list[WrittenToken]:
        return self.choice["tokens"] or []

    @property
    def ids(self) -> list[int]:
        return [token["id"] for token in self.tokens]


def difference_of_tokens(tokens: Sequence[WrittenToken], scored: Sequence[WrittenToken]) -> str | None:
    """Return why the same ids are not the same tokens for two models; None where they are."""
    for mine, other in zip(tokens, scored, strict=True):
        if (mine["id"], mine["bytes"]) != (other["id"], other["bytes"]):
            texts = f"{mine['text']!r} for one model and {other['text']!r} for the other"
            return f"The tokenizers differ: token {mine['id']} is {texts}."
    return None


def compare(left: Written, right: Written, reason: str | None) -> CompareResponse:
    """Put two texts beside each other; `reason` says why log-probabilities under the other model are missing.

    Raises Conflict where one of them was stopped before its end.
    """
    sides = _side(left, right), _side(right, left)
    return CompareResponse(
        left=sides[0],
        right=sides[1],
        first_divergence=sides[0].first_divergence,
        agreement=_agreement([token for side in sides for token in side.tokens]),
        reason=reason,
    )


def _side(written: Written, other: Written) -> ComparedSide:
    named, choice = written.served.named, written.choice
    scored = written.scored if written.scored is not None else [None] * len(written.tokens)
    texts = _texts(written.tokens)
    return ComparedSide(
        id=named.id,
        model_id=named.model_id,
        commit=named.commit,
        quantization=written.served.row.quantization.value,
        text=choice["text"],
        tokens=[_token(*each) for each in zip(written.tokens, texts, scored, strict=True)],
        finish_reason=finish_reason(choice),
        first_divergence=_first_divergence(written, other),
    )


def _token(token: WrittenToken, text: str, scored: WrittenToken | None) -> ComparedToken:
    logprob = token["logprob"]
    assert logprob is not None  # noqa: S101 - only the first token of a prompt has none
    return ComparedToken(
        id=token["id"],
        text=text,
        logprob=logprob,
        other_logprob=None if scored is None else scored["logprob"],
        other_choice=None if scored is None else _possible(scored["top"][0]),
    )


def _possible(token: LikelyToken) -> PossibleToken:
    assert token["logprob"] is not None  # noqa: S101
    return PossibleToken(id=token["id"], text=token["text"], logprob=token["logprob"])


def _texts(tokens: Sequence[WrittenToken]) -> list[str]:
    """Return what each token adds: the token that completes a character adds the whole character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = len(tokens) - 1
    return [decoder.decode(bytes(token["bytes"]), final=place == last) for place, token in enumerate(tokens)]


def _first_divergence(mine: Written, other: Written) -> int | None:
    """Return the index of the first token that the other text has not; None where the texts are equal."""
    if mine.choice["text"] == other.choice["text"]:
        return None
    contents = [b"".join(bytes(token["bytes"]) for token in side.tokens) for side in (mine, other)]
    if contents[0] == contents[1]:
        return None
    common, end = _common(*contents), 0
    for place, token in enumerate(mine.tokens):
        end += len(token["bytes"])
        if end > common:
            return place
    return len(mine.tokens)


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    different = (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(different, min(len(one), len(other)))


def _agreement(tokens: Sequence[ComparedToken]) -> Agreement | None:
    known = [token for token in tokens if token.other_logprob is not None and token.other_choice is not None]
    if not known:
        return None
    differences = [abs(token.logprob - token.other_logprob) for token in known if token.other_logprob is not None]
    return Agreement(
        tokens=len(known),
        same_choice=sum(token.other_choice is not None and token.other_choice.id == token.id for token in known),
        mean_difference=sum(differences) / len(differences),
        largest_difference=max(differences),
    )
