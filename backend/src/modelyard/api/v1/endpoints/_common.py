"""Parts that the endpoints of models share."""

from typing import Annotated, Any

from fastapi import Path, Query

from modelyard.hub.search import MAX_CURSOR_CHARACTERS
from modelyard.schemas import examples
from modelyard.schemas.common import DtypeName
from modelyard.schemas.memory import EstimateParts

RowId = Annotated[
    str,
    Path(
        alias="id",
        description="A row's id, as in the list of models.",
        max_length=64,
        examples=[examples.MODEL_RESPONSE["id"]],
    ),
]
HubModelId = Annotated[
    str,
    Query(
        description="`owner/name`, a bare name such as `gpt2`, or a model page's address.",
        min_length=1,
        max_length=500,
        examples=["Qwen/Qwen3-0.6B"],
    ),
]
Revision = Annotated[
    str | None,
    Query(description="Branch, tag or commit; the default branch if left out.", max_length=200, examples=["main"]),
]
HubCursor = Annotated[
    str | None,
    Query(
        description="`next_cursor` of the page before; everything else as for that page.",
        min_length=1,
        max_length=MAX_CURSOR_CHARACTERS,
        examples=["eyIkb3IiOlt7ImRvd25sb2FkcyI6OTAwMDAwMH1dfQ=="],
    ),
]
PAGE_SIZE = "Maximum number of items on the page."
Offset = Annotated[int, Query(description="Number of items to skip.", ge=0, le=2**31)]
Context = Annotated[int, Query(description="Tokens per sequence.", ge=1, le=10_000_000)]
Batch = Annotated[int, Query(description="Sequences at once.", ge=1, le=4096)]
Dtype = Annotated[DtypeName, Query(description="Dtype of `none`; auto: the checkpoint's own.")]
Parts = Annotated[EstimateParts, Query(description="`weights` answers sooner, without KV cache and activations.")]
ACCEPTED: dict[int | str, dict[str, Any]] = {202: {"description": "Taken; progress comes over the WebSocket."}}
