"""Interventions: changes of what hook points of a model return."""

from typing import Annotated, Literal

from pydantic import Field

from modelyard.schemas.common import Schema

MAX_HOOK_POINT = 500
MAX_INTERVENTIONS = 1000
HookPointName = Annotated[str, Field(min_length=1, max_length=MAX_HOOK_POINT)]
Place = Annotated[int, Field(ge=0, le=2**31 - 1)]


class InterventionSpec(Schema):
    """Change what one hook point returns, for chosen tokens, while this request runs."""

    hook_point: HookPointName = Field(
        description="A module's name as the architecture page lists it, or its name in TransformerLens.",
        examples=["model.layers.4"],
    )
    op: Literal["add", "scale", "zero", "project_out", "sae_clamp", "sae_replace"] = Field(
        description="`add`: `value` times the vector; `scale`: times `value`; `zero`; `project_out`: the vector's"
        " direction is removed. `sae_clamp` and `sae_replace` need a sparse autoencoder and are not available yet.",
        examples=["add"],
    )
    vector: Annotated[list[float], Field(min_length=1, max_length=1_000_000)] | None = Field(
        default=None, description="As many values as the hook point has for a token.", examples=[None]
    )
    vector_path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="Absolute path, on the server's machine, of a safetensors file with one tensor, instead of vector.",
        examples=[None],
    )
    value: float = Field(default=1.0, description="The factor of `add` and `scale`.", examples=[4.0])
    sae_id: str | None = Field(default=None, max_length=64, description="Of `sae_clamp` and `sae_replace`.")
    feature: int | None = Field(default=None, ge=0, description="Of `sae_clamp`.")
    positions: Literal["all", "generated"] | Annotated[list[Place], Field(min_length=1, max_length=100_000)] = Field(
        default="all",
        description="All tokens, those after the prompt, or a list of positions counted from the prompt's first token.",
        examples=["all"],
    )


InterventionsField = Annotated[
    list[InterventionSpec],
    Field(
        max_length=MAX_INTERVENTIONS,
        description="Changes of the model's activations for this request alone, in this order.",
        examples=[[]],
    ),
]
