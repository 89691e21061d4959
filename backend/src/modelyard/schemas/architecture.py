"""Answers about a model's architecture."""

from typing import Literal

from pydantic import ConfigDict, Field

from modelyard.schemas import examples
from modelyard.schemas.common import Schema


class Dimensions(Schema):
    """Sizes of a transformer, as far as its configuration has them."""

    hidden_size: int | None = None
    num_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    vocab_size: int | None = None
    max_position_embeddings: int | None = None


class HookPoint(Schema):
    """A module whose output can be hooked."""

    path: str
    layer: int | None
    kind: Literal["residual", "attention", "mlp", "mixer", "norm"]
    shape: list[str | int]
    width: int
    output: Literal["tensor", "tuple"]
    verified: bool = Field(description="Whether a forward pass confirmed it.")
    transformer_lens: str | None = Field(description="Name of the same point in TransformerLens; null if it has none.")


class ModuleNode(Schema):
    """A module and its children."""

    name: str
    type: str
    num_parameters: int
    children: list["ModuleNode"]


class Architecture(Schema):
    """A model's modules, dimensions and hook points."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ARCHITECTURE]})

    model_id: str
    commit: str
    model_class: str
    model_type: str
    num_parameters: int
    method: Literal["meta"] = Field(description="meta: the model was built without its weights.")
    verified: bool
    reason: str | None = Field(description="Why the hook points could not be verified.")
    dimensions: Dimensions
    layers_path: str | None = Field(description="Path of the list of decoder blocks.")
    final_norm: str | None
    tied: list[tuple[str, str]] = Field(description="Pairs of tied parameters.")
    flags: list[str] = Field(description="Properties that affect the residual stream, such as post_norm.")
    hook_points: list[HookPoint]
    tree: ModuleNode
