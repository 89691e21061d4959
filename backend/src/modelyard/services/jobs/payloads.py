"""What jobs need to know beside the row they work on: one structure per kind, for those that need anything."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modelyard.models import Job
from modelyard.schemas.cache import ImportMode
from modelyard.schemas.inference import Message
from modelyard.schemas.interventions import InterventionSpec


class Payload(BaseModel):
    """What is stored in a job's `payload`."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, job: Job) -> Self:
        """Read the payload of a job. Raises ValidationError when it is that of another kind."""
        return cls.model_validate(job.payload or {})


class ImportPayload(Payload):
    path: str
    mode: ImportMode


class LoadOptions(Payload):
    """How a model is put into memory; the fields are those of the loader's `LoadSpec`, where they are explained."""

    device: str = "auto"
    dtype: str = "auto"
    ttl_seconds: float | None = 3600
    pinned: bool = False
    allow_offload: bool = False
    option_bytes: dict[str, int] = {}
    any_dtype: bool = False
    sets_ttl: bool = False


class FasterLoad(Payload):
    """What replaces options of a load on a host that is slow in the dtype the model is stored in."""

    dtype: str
    option_bytes: dict[str, int]


class LoadPayload(LoadOptions):
    faster: FasterLoad | None = None


class UnloadPayload(Payload):
    only_idle: bool = False
    """Made room for something else: what is pinned or in use stays, and that is no error."""


class GenerateInput(Payload):
    """What one continuation begins with: a text, the token ids of one, or a conversation for the chat template."""

    text: str | None = None
    token_ids: list[int] | None = None
    messages: list[Message] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(given is not None for given in (self.text, self.token_ids, self.messages)) != 1:
            raise ValueError("an input is exactly one of text, token_ids and messages")
        return self


class GeneratePayload(Payload):
    """A request for text: `n` choices for each input. Log-probabilities are those of the model's unchanged logits."""

    inputs: list[GenerateInput] = Field(min_length=1)
    n: int = Field(default=1, ge=1)
    max_new_tokens: int | None = Field(default=None, ge=0)
    """None: up to the context's length. 0 only with `echo`."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """None: the model's own top-k and top-p."""
    seed: int | None = 0
    """Every choice draws with a generator of its own, made of this and the choice's number. None: a random one."""
    stop: list[str] = []
    """The text ends before any of these; the model's own stop strings end it and stay in it."""
    logprobs: int | None = Field(default=None, ge=0)
    """How many of the likeliest tokens are listed at each place, beside the one that was taken. None: no tokens."""
    echo: bool = False
    """The answer begins with the prompt."""
    prompt_ids: bool = False
    """Each choice names the token ids of its prompt."""
    logit_bias: dict[int, float] = {}
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    adapter: str | None = None
    """The id of an adapter's row; the job's own row is that of its base."""
    interventions: list[InterventionSpec] = []
    """Their hook points are paths of modules. Paths of vectors are checked by `path_rules`."""
    warnings: list[str] = []
    """What is to be said of them in the answer."""
    path_rules: dict[str, Any] = {}
    load: LoadPayload


class DriftPayload(Payload):
    text: str
    option_bytes: dict[str, int]


class EmbedPayload(Payload):
    """A request for embeddings: texts, or the token ids of texts."""

    inputs: list[str | list[int]] = Field(min_length=1)
    adapter: str | None = None
    """As in a GeneratePayload."""
    load: LoadPayload


class SaeTextPayload(Payload):
    """What a model reads for an SAE; the job's own row is that of the SAE."""

    path: str
    column: str
    tokens: int
    model_row_id: str
    hook_point: str
    held_out: bool
    dtype: str = "auto"
    """Auto: the one the SAE was trained in, else as the model is stored."""
    device: str = "auto"
    top: int = 0
    """Passages for each feature, where features are looked for."""
    final_norm: str | None = None


class DatasetSlice(Payload):
    """Rows of a text file's column, from `begin` on and before `end`."""

    path: str
    column: str
    begin: int = 0
    end: int | None = None


class FeaturesOfText(Payload):
    """Which SAE, and how many of its features are answered."""

    sae_id: str
    top: int


class ActivationsPayload(Payload):
    """A request for activations: exactly one of texts, token ids and rows of a data set."""

    hook_points: dict[str, str]
    """The paths of modules, by the names they were asked for."""
    texts: list[str] | None = None
    token_ids: list[list[int]] | None = None
    dataset: DatasetSlice | None = None
    path_rules: dict[str, Any] = {}
    positions: Literal["all", "last"] | list[int] = "all"
    dtype: str = "float32"
    max_tokens: int | None = None
    adapter: str | None = None
    """As in a GeneratePayload."""
    interventions: list[InterventionSpec] = []
    sae_features: FeaturesOfText | None = None
    """The features of an SAE are the answer, and not its input, which the only hook point returns."""
    load: LoadPayload


class CapturePayload(ActivationsPayload):
    """Activations that are written to files: `batch_size` rows are run together, `shard_bytes` go in a file."""

    batch_size: int
    shard_bytes: int


class LensPayload(Payload):
    """A request for what each layer would say next."""

    text: str
    top: int
    layers: list[str]
    """The paths of the blocks, in order."""
    final_norm: str
    adapter: str | None = None
    """As in a GeneratePayload."""
    load: LoadPayload
