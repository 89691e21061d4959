"""What every context of a run begins with."""

from dataclasses import dataclass
from typing import Any

from modelyard.core.errors import InvalidRequest

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Beginning:
    """A token, or none. `separator_id` stands between two texts in one context."""

    token: str | None
    token_id: int | None
    separator_id: int | None


def find_beginning(tokenizer: Any, wanted: str) -> Beginning:
    """Return the beginning that `wanted` means: `auto`, `none`, or the text of a special token.

    Raises InvalidRequest for a token the tokenizer does not have.
    """
    own: int | None = tokenizer.bos_token_id
    if wanted == AUTO and own is not None:
        return Beginning(tokenizer.bos_token, own, own)
    if wanted in (AUTO, NONE):
        return Beginning(None, None, tokenizer.eos_token_id)
    token_id = tokenizer.get_vocab().get(wanted)
    if token_id is None:
        raise InvalidRequest(f"The tokenizer has no token {wanted!r}.", hint="Use auto, none, or one of its tokens.")
    return Beginning(wanted, token_id, token_id)
