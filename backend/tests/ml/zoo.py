"""Tiny random models of the causal-LM types that transformers knows, and the bytes a loaded model really holds."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import AutoConfig, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from modelyard.ml.quantize.packed_experts import FourBitConfig

# One of every kind: dense, tied, Conv1D, MoE, latent attention, windows, hybrids, state space, linear subclasses.
SAMPLE = (
    "bloom",
    "deepseek_v3",
    "falcon",
    "gemma2",
    "gpt2",
    "gpt_oss",
    "jamba",
    "llama",
    "mamba",
    "mixtral",
    "qwen3_next",
    "zamba2",
)

# Key spellings of transformers' configs, and a small value that keeps their arithmetic consistent.
_SMALL: dict[str, Any] = {
    r"hidden_size|n_embd|d_model|n_embed|dim|emb_dim|hidden_dim|attention_hidden_size|dim_model|embedding_size": 128,
    r"num_hidden_layers|n_layers?|num_layers|num_hidden_blocks|num_blocks": 2,
    r"(num_)?(decoder|encoder)_layers": 2,
    r"num_attention_heads|n_heads?|num_heads|(num_)?(decoder|encoder)_attention_heads": 4,
    r"intermediate_size|ffn_dim|(decoder|encoder)_ffn_dim|dim_ff|dff|mlp_hidden_size|ffn_hidden_size": 200,
    r"vocab_size": 320,
    r"head_dim|attention_head_dim|kv_channels|d_kv|global_head_dim": 32,
    r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_sequence_length|context_length": 512,
    r"num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_routed_experts": 4,
    r"num_experts_per_tok(en)?|moe_k|moe_topk|top_k_experts|num_selected_experts|experts_per_token": 2,
    r"moe_intermediate_size|expert_ffn_hidden_size|moe_ffn_hidden_size": 48,
    r"shared_expert_intermediate_size|shared_intermediate_size|moe_shared_expert_intermediate_size": 56,
    r"kv_lora_rank|q_lora_rank": 32,
    r"qk_rope_head_dim|qk_nope_head_dim": 16,
    r"v_head_dim|qk_head_dim": 32,
    r"sliding_window|attention_window_size|window_size|attention_chunk_size|local_window": 16,
    r"mamba_d_state|ssm_state_size|state_size": 16,
    r"n_group|topk_group|num_expert_groups|n_groups|mamba_n_groups": 1,
    r"pad_token_id|bos_token_id|decoder_start_token_id": 1,
    r"eos_token_id": 2,
    r"first_k_dense_replace": 1,
}
# A second shape: twice as wide, in whole blocks of 64 as real models are, and with other odd sizes.
_WIDE: dict[str, Any] = {
    r"hidden_size|n_embd|d_model|n_embed|dim|emb_dim|hidden_dim|attention_hidden_size|dim_model|embedding_size": 256,
    r"num_attention_heads|n_heads?|num_heads|(num_)?(decoder|encoder)_attention_heads": 8,
    r"intermediate_size|ffn_dim|(decoder|encoder)_ffn_dim|dim_ff|dff|mlp_hidden_size|ffn_hidden_size": 512,
    r"vocab_size": 1003,
    r"num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_routed_experts": 8,
    r"moe_intermediate_size|expert_ffn_hidden_size|moe_ffn_hidden_size": 128,
    r"shared_expert_intermediate_size|shared_intermediate_size|moe_shared_expert_intermediate_size": 128,
    r"kv_lora_rank|q_lora_rank": 64,
    r"qk_rope_head_dim|qk_nope_head_dim": 32,
    r"v_head_dim|qk_head_dim": 64,
}
_LAYERS = re.compile(r"(num_hidden_layers|n_layers?|num_layers|num_hidden_blocks|num_blocks|(num_)?decoder_layers)\Z")
_RULES = [(re.compile(rf"(?:{pattern})\Z"), value, _WIDE.get(pattern, value)) for pattern, value in _SMALL.items()]

# What the table cannot know: values tied to each other inside one type.
_LINEAR_AND_FULL = ["linear_attention", "full_attention"]
_MLA = {"head_dim": 16}  # transformers' name for the rotary part of the heads
_OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": _MLA,
    "bailing_hybrid": {"layer_group_size": 2, "num_expert_group": 1, "num_experts_per_token": 2},
    "bamba": {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 16},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4},
    "deepseek_v3": _MLA,
    "dots1": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "gemma3n_text": {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "vocab_size_per_layer_input": 320},
    "gemma4_text": {"vocab_size_per_layer_input": 320, "hidden_size_per_layer_input": 16, "per_layer_config": {}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 16},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 32},
    "hunyuan_v1_moe": {"head_dim": 32},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": _LINEAR_AND_FULL},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": _MLA,
    "mamba2": {"num_heads": 8},
    "ministral": {"head_dim": 32},
    "nemotron": {"num_key_value_heads": 2},
    "qwen3_5_moe_text": {"layer_types": _LINEAR_AND_FULL},
    "qwen3_5_text": {"layer_types": _LINEAR_AND_FULL},
    "qwen3_next": {"layer_types": _LINEAR_AND_FULL},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"is_decoder": True, "axial_pos_shape": [16, 32], "axial_pos_embds_dim": [64, 64]},
    "youtu": _MLA,
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 256,
        "attention_head_dim": 64,
        "num_hidden_layers": 3,
        "layer_types": ["mamba", "hybrid", "hybrid"],
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "attention_hidden_size": 256},
    "zaya": {"num_experts_per_tok": 1},
}

_WIDE_MLA = {"head_dim": 32}
_WIDE_OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": _WIDE_MLA,
    "deepseek_v3": _WIDE_MLA,
    "gemma3n_text": {"vocab_size_per_layer_input": 1003},
    "gemma4_text": {"vocab_size_per_layer_input": 1003},
    "longcat_flash": _WIDE_MLA,
    "mamba2": {"num_heads": 16},
    "reformer": {"axial_pos_embds_dim": [128, 128]},
    "youtu": _WIDE_MLA,
    "zamba": {"attention_hidden_size": 512},
    "zamba2": {"attention_hidden_size": 512},
}

# Composite configs whose causal LM is a type of its own in the list, and types without a small consistent config.
NOT_IN_ZOO = {
    "blt": "three models in one whose hash embeddings alone take 0.8 GB",
    "cohere_compass_text": "no consistent small configuration found",
    "dbrx": "the library's own default configuration does not build",
    "dots3_note": "no consistent small configuration found",
    "dots3_note_text": "no consistent small configuration found",
    "emu3": "covered by its text model's type",
    "gemma3n": "its vision tower needs timm and Pillow, which are not installed",
    "gemma4": "covered by gemma4_text and gemma4_unified",
    "gemma4_assistant": "no consistent small configuration found",
    "gemma4_unified_assistant": "no consistent small configuration found",
    "llama4": "covered by llama4_text",
    "mllama": "its text model cannot be loaded through the causal-LM classes",
    "musicgen": "the library maps it to a class its configuration does not fit",
    "musicgen_melody": "the library maps it to a class its configuration does not fit",
    "qwen3_5": "covered by qwen3_5_text",
    "qwen3_5_moe": "covered by qwen3_5_moe_text",
    "qwen4_exp": "no consistent small configuration found",
    "qwen4_exp_text": "no consistent small configuration found",
}
ALL_TYPES = tuple(name for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) if name not in NOT_IN_ZOO)


# Models that are no causal LMs: encoders, encoder-decoders, and models that see images.
OTHER_CLASSES = {
    "bart": "BartForConditionalGeneration",
    "bert": "BertForMaskedLM",
    "idefics3": "Idefics3ForConditionalGeneration",
    "llama4": "Llama4ForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
    "mllama": "MllamaForConditionalGeneration",
    "modernbert": "ModernBertForMaskedLM",
    "paligemma": "PaliGemmaForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "t5": "T5ForConditionalGeneration",
    "whisper": "WhisperForConditionalGeneration",
}


def cases(*, sample: Iterable[str] = SAMPLE, without: Iterable[str] = ()) -> list[Any]:
    """Return a test's parameters: every type but those in `without`; the ones outside the sample are `thorough`."""
    return [
        pytest.param(name, marks=() if name in sample else pytest.mark.thorough)
        for name in ALL_TYPES
        if name not in without
    ]


def tiny_config(model_type: str, class_name: str | None = None, *, wide: bool = False) -> Any:
    """Return a small config of one type, with the class name a checkpoint would carry: its causal LM's or the given."""
    cls = CONFIG_MAPPING[model_type]
    config = cls(**_shrunk(cls(), model_type, wide))
    config.architectures = [class_name or MODEL_FOR_CAUSAL_LM_MAPPING[cls].__name__]
    config.dtype = torch.bfloat16
    return config


def deep_config(model_type: str, times: int) -> dict[str, Any]:
    """Return a tiny `config.json` with `times` as many layers, of the same kinds in the same order."""
    return _deepened(tiny_config(model_type).to_dict(), times)


def _deepened(config: dict[str, Any], times: int) -> dict[str, Any]:
    layers = next((value for key, value in config.items() if _LAYERS.match(key) and isinstance(value, int)), None)
    deep: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and key.endswith("config"):
            deep[key] = _deepened(value, times)
        elif (_LAYERS.match(key) and isinstance(value, int)) or (
            isinstance(value, list) and len(value) == layers and key != "architectures"
        ):
            deep[key] = value * times
        else:
            deep[key] = value
    return deep


def _shrunk(default: Any, model_type: str, wide: bool) -> dict[str, Any]:
    heads = getattr(default, "num_attention_heads", None)
    values: dict[str, Any] = {}
    for key, value in default.to_dict().items():
        if isinstance(value, dict) and key in default.sub_configs:
            values[key] = _shrunk(getattr(default, key), f"{model_type}.{key}", wide)
        elif isinstance(value, int) and not isinstance(value, bool):
            small = next((large if wide else small for rule, small, large in _RULES if rule.match(key)), None)
            if re.match(r"num_key_value_heads|num_kv_heads|multi_query_group_num\Z", key):
                small = (8 if wide else 4) if value == heads else min(value, 2)
            if small is not None:
                values[key] = small
    if "is_decoder" in default.to_dict():
        values["is_decoder"] = True
    values.update(_OVERRIDES.get(model_type, {}))
    if wide:
        values.update(_WIDE_OVERRIDES.get(model_type, {}))
    return values


def make(model_type: str, folder: Path, class_name: str | None = None, *, wide: bool = False) -> Path:
    """Write a tiny random bfloat16 checkpoint of one type into `folder`."""
    torch.manual_seed(0)
    config = tiny_config(model_type, class_name, wide=wide)
    model = getattr(transformers, config.architectures[0])._from_config(config, dtype=torch.bfloat16)
    scatter_norms(model)
    model.save_pretrained(folder)
    return folder


@torch.no_grad()
def scatter_norms(model: nn.Module) -> None:
    """Give norms the uneven weights of trained models: as they are made, before and after one hardly differ."""
    for module in model.modules():
        if "Norm" in type(module).__name__:
            for parameter in module.parameters(recurse=False):
                parameter.add_(0.2 * torch.randn_like(parameter))


def make_large(folder: Path) -> int:
    """Save a Llama in bfloat16 whose values do not matter, large enough to measure; returns the bytes it holds."""
    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=1536,
        intermediate_size=6144,
        num_hidden_layers=7,
        num_attention_heads=16,
        num_key_value_heads=16,
    )
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(0.01)
    model.save_pretrained(folder)
    return resident_bytes(model)


def load(folder: Path, quantization: str, *, dtype: str = "auto") -> PreTrainedModel:
    """Load a checkpoint for real: `8bit`, `4bit` as Modelyard makes it, or `plain 4bit` as bitsandbytes alone does."""
    settings = {
        "4bit": FourBitConfig(bnb_4bit_compute_dtype=torch.bfloat16),
        "8bit": BitsAndBytesConfig(load_in_8bit=True),
        "plain 4bit": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    }.get(quantization)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    cls = getattr(transformers, config.architectures[0])
    return cls.from_pretrained(folder, quantization_config=settings, device_map="cpu", dtype=dtype)


def resident_bytes(model: nn.Module) -> int:
    """Unique storages of parameters, buffers, plain tensor attributes and bitsandbytes' state, in bytes."""
    storages: dict[int, int] = {}
    for tensor in _tensors(model):
        if tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        values = [*vars(module).values(), *module._parameters.values(), *module._buffers.values()]
        for value in values:
            if isinstance(value, torch.Tensor):
                yield value
                yield from _quantization_state(value)


def _quantization_state(parameter: torch.Tensor) -> Iterator[torch.Tensor]:
    for name in ("CB", "SCB"):
        value = vars(parameter).get(name)
        if value is not None:
            yield value
    state = vars(parameter).get("quant_state")
    while state is not None:
        yield from (value for value in vars(state).values() if isinstance(value, torch.Tensor))
        state = state.state2
