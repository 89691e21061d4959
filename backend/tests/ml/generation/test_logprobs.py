"""What is told of likely tokens: as `log_softmax` has it, the token that came before others that are as likely."""

import pytest
import torch

from modelyard.ml.generation.logprobs import LEAST, read_likely

LOGITS = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
LOGPROBS = LOGITS.log_softmax(-1)[0].tolist()


@pytest.mark.parametrize("token", [1, 2, 3])
@pytest.mark.parametrize("top", [1, 2, 3, 4])
def test_of_equally_likely_tokens_the_one_that_came_is_the_first(token: int, top: int) -> None:
    [likely] = read_likely(LOGITS, [token], top)
    assert likely.logprob == LOGPROBS[token]
    assert likely.top[0] == (token, LOGPROBS[token])
    assert [value for _, value in likely.top] == sorted(LOGPROBS, reverse=True)[:top]
    assert len({number for number, _ in likely.top}) == top


def test_an_unlikely_token_is_not_among_the_likeliest() -> None:
    [likely] = read_likely(LOGITS, [4], 3)
    assert (likely.logprob, {number for number, _ in likely.top}) == (LOGPROBS[4], {1, 2, 3})
    assert read_likely(LOGITS, [1], 0)[0].top == []


def test_what_never_comes_has_a_number() -> None:
    [likely] = read_likely(torch.tensor([[0.0, -torch.inf]]), [1], 2)
    assert (likely.logprob, likely.top) == (LEAST, [(0, 0.0), (1, LEAST)])
