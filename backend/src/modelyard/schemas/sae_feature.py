"""The features of a sparse autoencoder: pages of what each stands for, and which are active in a text."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import sae_examples as examples
from modelyard.schemas.common import Schema

SaeFeatureSort = Literal["-density", "density", "-max", "max", "index"]
MAX_TEXT_TOKENS = 512


class SaeFeatureItem(Schema):
    """A feature in a list."""

    index: int
    density: float = Field(description="Share of the tokens that it is active on.")
    max: float = Field(description="Its largest activation.")
    top_token: str | None = Field(description="The token it is most active on; null where it is never active.")
    promoted: list[str] = Field(description="The first tokens it promotes.")


class SaeFeaturePage(Schema):
    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_FEATURE_PAGE]})

    items: list[SaeFeatureItem]
    total: int
    limit: int
    offset: int


class FeatureHistogram(Schema):
    """On how many tokens the feature has which activation; tokens without it are not counted."""

    edges: list[float]
    counts: list[int]


class FeatureToken(Schema):
    """A token of a passage, with the feature's activation on it."""

    id: int
    text: str
    activation: float


class FeaturePassage(Schema):
    """A part of a text around a token that the feature is very active on."""

    position: int = Field(description="Which of `tokens` is the most active one.")
    activation: float
    tokens: list[FeatureToken]


class TokenEffect(Schema):
    """How much one unit of a feature adds to a token's logit, but for the division by the final norm."""

    id: int
    text: str
    effect: float


class SaeFeature(Schema):
    """Everything about one feature."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_FEATURE]})

    index: int
    density: float = Field(description="Share of the tokens that it is active on.")
    max: float = Field(description="Its largest activation.")
    histogram: FeatureHistogram
    passages: list[FeaturePassage] = Field(description="The most active first; at most one of a context.")
    promoted: list[TokenEffect] | None = Field(
        description="Null where the SAE's width is not that of the output embedding."
    )
    suppressed: list[TokenEffect] | None


class SaeFeaturesForText(Schema):
    """Ask which features are active in a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_FEATURES_FOR_TEXT]})

    text: str = Field(min_length=1, max_length=20_000, description=f"Of at most {MAX_TEXT_TOKENS} tokens.")
    top: int = Field(default=50, ge=1, le=500, description="How many features are returned, the most active first.")
    model_id: str | None = Field(
        default=None, max_length=64, description="A row of `compatible_with`; null: the one most like the trained one."
    )


class TextToken(Schema):
    """A token of the text; one that is not `counted` was left out in training, and no feature is reported on it."""

    id: int
    text: str
    counted: bool


class ActiveFeature(Schema):
    index: int
    max: float
    position: int = Field(description="The token it is most active on.")
    density: float | None = Field(description="From the feature pages; null where there are none.")
    activations: list[float] = Field(description="On each token.")


class SaeTextFeatures(Schema):
    """The features that are active in a text."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SAE_TEXT_FEATURES]})

    model_id: str = Field(description="The row of the model that read it.")
    tokens: list[TextToken]
    features: list[ActiveFeature]
    active_features: int = Field(description="How many are active, those that are not returned too.")
