"""Interventions: changes of what hook points of a model return."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modelyard.schemas.common import Schema

MAX_HOOK_POINT = 500
MAX_INTERVENTIONS = 1000
SAE_OPS = ("sae_clamp", "sae_replace")
HookPointName = Annotated[str, Field(min_length=1, max_length=MAX_HOOK_POINT)]
Place = Annotated[int, Field(ge=0, le=2**31 - 1)]


class InterventionSpec(Schema):
    """Change what one hook point returns, for chosen tokens, while this request runs."""

    hook_point: HookPointName | None = Field(
        default=None,
        description="A module's name as the architecture page lists it, or its name in TransformerLens. With an SAE"
        " it may be left out: it is the one that the SAE reads.",
        examples=["model.layers.4"],
    )
    op: Literal["add", "scale", "zero", "project_out", "sae_clamp", "sae_replace"] = Field(
        description="`add`: `value` times the vector; `scale`: times `value`; `zero`; `project_out`: the vector's"
        " direction is removed; `sae_clamp`: a feature's activation becomes `value`, and what the SAE does not"
        " reconstruct stays; `sae_replace`: the SAE's reconstruction.",
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
    value: float = Field(
        default=1.0, description="The factor of `add` and `scale`; the activation of `sae_clamp`.", examples=[4.0]
    )
    sae_id: str | None = Field(
        default=None,
        max_length=64,
        description="The sparse autoencoder of `sae_clamp` and `sae_replace`, which must fit the model.",
        examples=[None],
    )
    feature: int | None = Field(
        default=None, ge=0, lt=2**31, description="The feature's number, of `sae_clamp`.", examples=[None]
    )
    positions: Literal["all", "generated"] | Annotated[list[Place], Field(min_length=1, max_length=100_000)] = Field(
        default="all",
        description="All tokens, those after the prompt, or a list of positions counted from the prompt's first token.",
        examples=["all"],
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "InterventionSpec":
        if (self.op in SAE_OPS) != (self.sae_id is not None):
            raise ValueError(f"{self.op} needs a sae_id" if self.op in SAE_OPS else f"{self.op} takes no sae_id")
        if (self.op == "sae_clamp") != (self.feature is not None):
            raise ValueError("sae_clamp needs a feature" if self.feature is None else f"{self.op} takes no feature")
        if self.hook_point is None and self.sae_id is None:
            raise ValueError(f"{self.op} needs a hook_point")
        if self.sae_id is not None and (self.vector is not None or self.vector_path is not None):
            raise ValueError(f"{self.op} takes no vector")
        return self


InterventionsField = Annotated[
    list[InterventionSpec],
    Field(
        max_length=MAX_INTERVENTIONS,
        description="Changes of the model's activations for this request alone, in this order.",
        examples=[[]],
    ),
]
