"""What TransformerLens calls a place in a model, for the architectures it has."""

# model types whose blocks TransformerLens loads with hook_attn_out, hook_mlp_out and hook_resid_post
KNOWN_TYPES = frozenset(
    {
        "bloom",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gptj",
        "llama",
        "mistral",
        "mixtral",
        "opt",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "stablelm",
    }
)
_BLOCK_NAMES = {"residual": "hook_resid_post", "attention": "hook_attn_out", "mlp": "hook_mlp_out"}


def transformer_lens_name(model_type: str, kind: str, layer: int | None) -> str | None:
    """Return the hook's name, or `None` where TransformerLens has none for the same tensor.

    The layer of the final norm is `None`. It has no name: `ln_final.hook_normalized` is its value before the weight.
    """
    if model_type not in KNOWN_TYPES or layer is None or kind not in _BLOCK_NAMES:
        return None
    return f"blocks.{layer}.{_BLOCK_NAMES[kind]}"
