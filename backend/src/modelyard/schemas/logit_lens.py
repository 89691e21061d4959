"""The logit lens: what a model would say next after each of its layers."""

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema


class LogitLensRequest(Schema):
    """Read a prompt layer by layer."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LENS_REQUEST]})

    prompt: str = Field(
        min_length=1, max_length=200_000, description="The text, of at most 512 tokens.", examples=["The capital of"]
    )
    top: int = Field(default=5, ge=1, le=20, description="Tokens for each layer and position.")


class LensToken(Schema):
    id: int
    text: str


class LikelyNext(LensToken):
    probability: float


class LensLayer(Schema):
    """One layer: for each token of the prompt the likeliest next ones."""

    hook_point: str
    positions: list[list[LikelyNext]]


class LogitLensResponse(Schema):
    """The prompt's tokens, and the layers in their order; the last one's probabilities are the model's own."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.LENS_RESPONSE]})

    tokens: list[LensToken]
    layers: list[LensLayer]
