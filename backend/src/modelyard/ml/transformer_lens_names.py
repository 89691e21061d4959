"""What TransformerLens calls a place in a model, for the architectures it has."""

# model types whose blocks TransformerLens loads with hook_attn_out, hook_mlp_out and hook_resid_post
_KNOWN_TYPES = frozenset(
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
    """The hook's name, or `None` where TransformerLens has none. The layer of the final norm is `None`."""
    if model_type not in _KNOWN_TYPES:
        return None
    if layer is None:
        return "ln_final.hook_normalized" if kind == "norm" else None
    return f"blocks.{layer}.{_BLOCK_NAMES[kind]}" if kind in _BLOCK_NAMES else None
