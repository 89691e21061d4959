"""The examples shown in the API's description; a test keeps them valid."""

from typing import Any

MODEL_RESPONSE: dict[str, Any] = {
    "id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
    "model_id": "Qwen/Qwen3-0.6B",
    "canonical_id": "Qwen/Qwen3-0.6B",
    "name": "Qwen3-0.6B",
    "endpoint": "https://huggingface.co",
    "revision": "main",
    "commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "kind": "model",
    "base_id": None,
    "adapter": None,
    "status": "downloading",
    "quantization": "none",
    "architecture": "Qwen3ForCausalLM",
    "model_type": "qwen3",
    "num_parameters": 596049920,
    "dtype": "bfloat16",
    "hidden_size": 1024,
    "num_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "size_bytes": 1519209472,
    "downloaded_bytes": 402653184,
    "disk_bytes": 402653184,
    "shared_bytes": 0,
    "original_bytes": 0,
    "memory_estimated_bytes": 1192099840,
    "memory_method": "exact",
    "memory_measured_bytes": None,
    "progress": {
        "work": "download",
        "phase": "downloading",
        "bytes_done": 402653184,
        "bytes_total": 1519209472,
        "bytes_per_second": 52428800.0,
        "eta_seconds": 21.3,
        "files_done": 4,
        "files_total": 6,
        "waiting": False,
        "stopping": False,
        "started_at": "2026-11-24T10:00:00.000Z",
        "step": None,
        "message": None,
    },
    "error": None,
    "restarts_with": None,
    "last_load_seconds": None,
    "loaded": False,
    "last_unload": None,
    "unloading": False,
    "used_by": [],
    "drift": None,
    "has_chat_template": None,
    "generates_text": True,
    "adopted": False,
    "gated": False,
    "licence": "apache-2.0",
    "converted_from": None,
    "gguf_file": None,
    "merged_from": None,
    "has_custom_code": False,
    "training": {"compatible": True, "reasons": []},
    "remarks": [],
    "latest_commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "update_available": False,
    "checked_at": "2026-11-24T10:00:00.000Z",
    "tags": ["baseline"],
    "note": "",
    "favourite": True,
    "pinned_commit": None,
    "replaced_by": None,
    "previous_commit": None,
    "job_id": "0b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e",
    "snapshot_path": None,
    "created_at": "2026-11-24T10:00:00.000Z",
    "updated_at": "2026-11-24T10:00:21.000Z",
}

PROBLEMS: dict[str, dict[str, Any]] = {
    "invalid_request": {
        "detail": "limit: Input should be less than or equal to 500.",
        "hint": "Correct the request; /docs describes every field.",
        "errors": [{"field": "limit", "message": "Input should be less than or equal to 500"}],
    },
    "unsupported_parameter": {"detail": "tools is not supported.", "param": "tools"},
    "context_length_exceeded": {"detail": "The prompt has 2060 tokens; this model reads at most 2047."},
    "unauthorized": {"detail": "This server needs its key."},
    "forbidden_origin": {
        "detail": "A page of 'https://example.org' may not use this server, which was asked for as '127.0.0.1:8000'."
    },
    "too_many_attempts": {"detail": "Too many wrong keys came from this address.", "retry_after_seconds": 6},
    "payload_too_large": {"detail": "The body is larger than 1.00 MB.", "limit_bytes": 1000000},
    "database_unavailable": {"detail": "The database does not answer.", "retry_after_seconds": 2},
    "database_damaged": {
        "detail": "The database /home/ada/.local/share/modelyard/modelyard.db is damaged: file is not a database.",
        "path": "/home/ada/.local/share/modelyard/modelyard.db",
    },
    "database_too_new": {
        "detail": "The database /home/ada/.local/share/modelyard/modelyard.db was written by a newer version of"
        " Modelyard (schema 0042)."
    },
    "invalid_bundle": {
        "detail": "model.safetensors of Qwen/Qwen3-0.6B is damaged in the bundle: it does not have the hash that the"
        " manifest gives."
    },
    "bundle_not_found": {"detail": "There is no bundle with the id '0c9f1d6f'."},
    "path_not_allowed": {
        "detail": "/root/model is not below a folder that this server reads for users.",
        "hint": "Allowed are /data/models and /home/ada/.cache/huggingface/hub. Name a folder below an allowed one, or"
        " add it to MODELYARD_ALLOWED_PATHS (folders with : between) on the server.",
    },
    "model_not_found": {"detail": "There is no model with the id '6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f'."},
    "sae_not_found": {"detail": "There is no sparse autoencoder with the id '7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d'."},
    "training_not_found": {"detail": "There is no training run with the id '1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f'."},
    "activations_not_found": {"detail": "There are no activations with the id '9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b'."},
    "dataset_not_found": {"detail": "There is no data set 'corpus-3f9a1c2b4d5e.jsonl' here."},
    "hub_model_not_found": {"detail": "There is no model 'no/such' on https://huggingface.co."},
    "revision_not_found": {"detail": "Qwen/Qwen3-0.6B has no revision 'v9'."},
    "gated_no_token": {
        "detail": "meta-llama/Llama-3.2-1B is gated and there is no token for https://huggingface.co.",
        "url": "https://huggingface.co/meta-llama/Llama-3.2-1B",
    },
    "gated_not_accepted": {
        "detail": "meta-llama/Llama-3.2-1B is gated and its terms are not accepted yet.",
        "url": "https://huggingface.co/meta-llama/Llama-3.2-1B",
    },
    "token_invalid": {"detail": "https://huggingface.co does not accept the stored token."},
    "already_exists": {
        "detail": "Qwen/Qwen3-0.6B is here already, in precision none.",
        "hint": "Use it as it is, or delete it first.",
        "id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
    },
    "model_in_use": {
        "detail": "Qwen/Qwen3-0.6B is in use.",
        "hint": "Wait until it is done, or unload it first.",
        "used_by": [{"kind": "loaded", "id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f", "name": "cuda:0"}],
    },
    "shared_cache": {"detail": "The files of openai-community/gpt2 were in the Hugging Face cache before."},
    "not_ready": {"detail": "Qwen/Qwen3-0.6B is downloading."},
    "conflict": {
        "detail": "Qwen/Qwen3-0.6B is ready and cannot be paused.",
        "hint": "Only work under way can be: `modelyard ps` shows it.",
    },
    "no_weights": {"detail": "openai/clip-notes holds no weights for transformers."},
    "unsafe_weights": {"detail": "old/model has only pickle weights, which can run code when they are read."},
    "invalid_repository": {
        "detail": "config.json of owner/model is not valid JSON, line 12: Expecting ',' delimiter.",
        "file": "config.json",
    },
    "unsupported_architecture": {"detail": "transformers 5.23.0 has no model class for 'some_new_type'."},
    "needs_custom_code": {"detail": "some/model needs code of its own repository."},
    "unsupported_adapter": {"detail": "some/adapter uses DoRA (use_dora)."},
    "base_missing": {
        "detail": "some/adapter changes Qwen/Qwen3-0.6B, which is not here.",
        "hint": "Fetch it: modelyard pull Qwen/Qwen3-0.6B.",
        "base_model": "Qwen/Qwen3-0.6B",
        "base_revision": None,
    },
    "already_quantized": {"detail": "some/model-AWQ is quantized already (awq)."},
    "no_tokenizer": {"detail": "some/model has no tokenizer files."},
    "output_not_finite": {"detail": "The output of some/model is not finite in float16."},
    "template_failed": {"detail": "The chat template of some/model took more than 5 s of processor time."},
    "extra_missing": {
        "detail": "modelyard[torch] is not installed.",
        "hint": "Exact figures, the architecture, loading, generating, quantizing and the sample models need it. Run:"
        " /opt/my/bin/python -m pip install 'modelyard[torch]' and restart Modelyard.",
        "extra": "torch",
    },
    "sae_engine_missing": {"detail": "modelyard[sae] is not installed.", "extra": "sae"},
    "training_incompatible": {
        "detail": "The blocks of Mamba2ForCausalLM have no attention to hook.",
        "reason": "no_hook_points",
    },
    "too_many_files": {"detail": "owner/collection has 99002 files; at most 10000 are managed."},
    "hub_busy": {"detail": "16 other requests are waiting for the Hub already.", "retry_after_seconds": 10},
    "hub_rate_limited": {"detail": "https://huggingface.co asks to be called less often."},
    "hub_unreachable": {"detail": "https://huggingface.co cannot be reached: the host name cannot be resolved."},
    "hub_misbehaved": {"detail": "The Hub names no size or hash for 'model.safetensors'."},
    "checksum_mismatch": {
        "detail": "'model.safetensors' arrived twice with another hash than the Hub announces (f47f71177f32…)."
    },
    "disk_full": {
        "detail": "16.1 GB are needed and 500 MB must stay free, but the disk of /home/ada/.cache/huggingface/hub has"
        " 9.20 GB free.",
        "folder": "/home/ada/.cache/huggingface/hub",
        "needed_bytes": 16060522496,
        "free_bytes": 9200000000,
        "reserve_bytes": 500000000,
    },
    "storage_denied": {
        "detail": "The server's user ada (uid 1000) may not use /data/hub/models--Qwen--Qwen3-0.6B/blobs.",
        "folder": "/data/hub/models--Qwen--Qwen3-0.6B/blobs",
    },
    "out_of_memory": {
        "detail": "Qwen/Qwen3-0.6B needs 1.19 GB on cuda:0, where 800 MB are free.",
        "hint": "Unload other models, or use 8bit.",
        "needed_bytes": 1192099840,
        "free_bytes": 800000000,
    },
}

MODEL_DOWNLOAD_REQUEST: dict[str, Any] = {
    "model_id": "Qwen/Qwen3-0.6B",
    "revision": "main",
    "quantization": "4bit",
    "keep_original": True,
    "allow_pickle": False,
    "with_base": False,
}

MODEL_IMPORT_REQUEST: dict[str, Any] = {"path": "/data/my-model", "model_id": "local/my-model", "mode": "link"}

QUANTIZE_REQUEST: dict[str, Any] = {"quantization": "4bit", "keep_original": True}

LOAD_REQUEST: dict[str, Any] = {
    "device": "auto",
    "dtype": "auto",
    "ttl_seconds": 3600,
    "pinned": False,
    "allow_offload": False,
}

GENERATE_REQUEST: dict[str, Any] = {
    "prompt": "The capital of France is",
    "max_new_tokens": 64,
    "temperature": 0.0,
    "seed": 0,
    "stream": False,
}

SETTINGS_UPDATE: dict[str, Any] = {"endpoint": "https://huggingface.co", "parallel_downloads": 3, "connections": 8}

HUB_TEST_REQUEST: dict[str, Any] = {"endpoint": "https://huggingface.co"}

SESSION_REQUEST: dict[str, Any] = {"api_key": "the key in MODELYARD_API_KEY"}

TRAINING_CREATE: dict[str, Any] = {
    "model_id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
    "hook_point": "model.layers.14",
    "dataset": {"path": "/data/corpus.jsonl", "column": "text"},
    "architecture": "topk",
    "expansion_factor": 8,
    "k": 64,
    "training_tokens": 2000000,
    "context_size": 256,
    "learning_rate": 0.0003,
    "batch_tokens": 4096,
    "seed": 0,
    "device": "auto",
    "beginning": "auto",
    "skip_positions": 2,
    "checkpoint_seconds": 600,
}

DELETION_PLAN_REQUEST: dict[str, Any] = {"ids": ["0f8fad5bd9cb469fa16570867728950e"], "confirm_shared": False}

LABEL_CHANGE: dict[str, Any] = {"tags": ["baseline", "small"], "favourite": True}

UPDATE_PLAN: dict[str, Any] = {
    "commit": "e6de91484c29aa9480d55605af694f39b081c455",
    "changed": ["template", "readme"],
    "fetch_bytes": 14210,
    "id": None,
    "makes_copy": False,
}

ROLLBACK_REQUEST: dict[str, Any] = {"commit": None}

MODEL_PAGE: dict[str, Any] = {"items": [MODEL_RESPONSE], "total": 1, "limit": 50, "offset": 0}

MODEL_INFO: dict[str, Any] = {
    "model_id": "gpt2",
    "canonical_id": "openai-community/gpt2",
    "commit": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "endpoint": "https://huggingface.co",
    "architecture": "GPT2LMHeadModel",
    "model_type": "gpt2",
    "dimensions": {
        "hidden_size": 768,
        "num_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "head_dim": 64,
        "intermediate_size": 3072,
        "vocab_size": 50257,
        "max_position_embeddings": 1024,
    },
    "num_parameters": 137022720,
    "dtype": "float32",
    "size_bytes": 550989000,
    "missing_bytes": 550989000,
    "files": [
        {
            "path": "model.safetensors",
            "size_bytes": 548105171,
            "sha256": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
            "fetch": True,
            "reason": "weights",
        },
        {
            "path": "pytorch_model.bin",
            "size_bytes": 548118077,
            "sha256": "7c5d3f4b8b76583b422fcb9189ad6c89d5d97a094541ce8932dce3ecabde1421",
            "fetch": False,
            "reason": "pickle: the safetensors files hold the same weights",
        },
    ],
    "licence": "mit",
    "access": "open",
    "tags": ["transformers", "safetensors", "gpt2", "text-generation"],
    "downloads": 12000000,
    "likes": 2900,
    "last_modified": "2024-02-19T10:57:45.000Z",
    "has_tokenizer": True,
    "needs_custom_code": False,
    "already_quantized": None,
    "support": {"level": "supported", "reasons": []},
    "adapter": None,
    "gguf_files": [
        {
            "path": "gpt2.Q4_K_M.gguf",
            "size_bytes": 112858336,
            "quantization_type": "Q4_K_M",
            "weights_bytes": 248879616,
            "num_parameters": 124439808,
            "dtype": "bfloat16",
            "architecture": "gpt2",
            "context_length": 1024,
            "has_chat_template": False,
            "problem": None,
        }
    ],
    "training": {"compatible": True, "reasons": []},
    "warnings": [],
}

COLLECTION: dict[str, Any] = {
    "slug": "HuggingFaceTB/smollm2-6723884218bcda64b34d7db9",
    "title": "SmolLM2",
    "model_ids": ["HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-360M"],
    "left_out": 1,
}

SEARCH_PAGE: dict[str, Any] = {
    "items": [
        {
            "model_id": "Qwen/Qwen3-0.6B",
            "downloads": 9000000,
            "likes": 800,
            "num_parameters": 751632384,
            "size_bytes": 1519209472,
            "access": "open",
            "pipeline_tag": "text-generation",
            "licence": "apache-2.0",
            "model_type": "qwen3",
            "weights_bytes": 1503264768,
            "fits": "fits",
            "installed": False,
            "is_sample": False,
        }
    ],
    "next_cursor": "eyIkb3IiOlt7ImRvd25sb2FkcyI6OTAwMDAwMH1dfQ==",
}

MEMORY_ESTIMATE: dict[str, Any] = {
    "model_id": "unsloth/Llama-3.2-1B",
    "commit": "9c1a2b3c4d5e6f708192a3b4c5d6e7f809a1b2c3",
    "method": "approximate",
    "method_reason": "computed from the weight files' headers alone: No answer within 19 s; "
    "the activations are not known: No answer within 9 s",
    "may_improve": True,
    "num_parameters": 1235814400,
    "dtype": "bfloat16",
    "kv_cache_segments": [{"from_tokens": 0, "bytes_at_from": 0, "bytes_per_token": 32768}],
    "context": 2048,
    "batch": 1,
    "options": [
        {
            "quantization": "none",
            "weights_bytes": 2471628928,
            "quantization_state_bytes": 0,
            "quantized_fraction": 0.0,
            "kv_cache_bytes": 67108864,
            "activation_bytes": None,
            "overhead_bytes": None,
            "total_bytes": 2538737792,
            "total_is_lower_bound": True,
            "load_peak_bytes": None,
            "download_bytes": 2488783467,
            "disk_bytes": 2488783467,
            "fast_dtype_bytes": None,
            "available": True,
            "note": None,
            "verdicts": [
                {"device": "cpu", "verdict": "fits", "free_bytes": 21000000000, "total_bytes": 25000000000},
            ],
        }
    ],
}

DELETION_REPORT: dict[str, Any] = {
    "freed_bytes": 0,
    "kept_bytes": 1519209472,
    "kept_because": [
        {"bytes": 1519209472, "reason": "kept as the original of the quantized copy (4bit), which runs without it"},
    ],
    "original_bytes": 1519209472,
    "shared_cache": False,
    "used_by": [],
    "adapters": ["some/adapter"],
}

DELETION_PLAN: dict[str, Any] = {
    "freed_bytes": 1519209472,
    "original_bytes": 0,
    "items": [
        {
            "id": "0f8fad5bd9cb469fa16570867728950e",
            "stays": False,
            "freed_bytes": 1519209472,
            "kept_bytes": 0,
            "kept_because": [],
            "original_bytes": 0,
            "shared_cache": False,
            "used_by": [],
            "adapters": [],
        },
    ],
}

HUB_ANSWER: dict[str, Any] = {
    "endpoint": "https://huggingface.co",
    "reachable": True,
    "reason": None,
    "user": "ada",
    "token": "valid",
    "token_note": None,
}

HUB_STATUS: dict[str, Any] = HUB_ANSWER | {"endpoint_source": "default"}

SAE_INSTALL = "/opt/my/bin/python -m pip install 'modelyard[sae]' torch==2.13.0 transformers==5.23.0"

SYSTEM: dict[str, Any] = {
    "version": "0.1.0",
    "devices": [
        {
            "id": "cuda:0",
            "name": "NVIDIA GeForce RTX 4090",
            "total_bytes": 25757220864,
            "free_bytes": 24100000000,
            "used_by_us_bytes": 0,
        },
        {
            "id": "cpu",
            "name": "Memory of lab-box (x86_64, 16 cores)",
            "total_bytes": 67000000000,
            "free_bytes": 51000000000,
            "used_by_us_bytes": 410000000,
        },
    ],
    "disks": [
        {
            "path": "/home/ada/.cache/huggingface/hub",
            "total_bytes": 1000000000000,
            "free_bytes": 420000000000,
            "used_by_us_bytes": 35000000000,
            "purpose": "models, quantized models and data",
            "places": [
                {"path": "/home/ada/.cache/huggingface/hub", "purpose": "models"},
                {"path": "/home/ada/.local/share/modelyard", "purpose": "quantized models and data"},
            ],
        }
    ],
    "hub": HUB_STATUS,
    "extras": {"torch": True, "sae": False, "sae_install": SAE_INSTALL},
    "missing": [
        {"extra": "sae", "needed_for": "Training sparse autoencoders needs it.", "install": SAE_INSTALL},
    ],
    "libraries": {"python": "3.12.4", "torch": "2.13.0", "transformers": "5.23.0", "sae-lens": None},
    "workers": [
        {
            "name": "lab-box:1f2e3d4c:downloads",
            "host": "lab-box",
            "pid": 4242,
            "queues": ["downloads"],
            "alive": True,
            "started_at": "2026-11-24T09:00:00.000Z",
            "seen_at": "2026-11-24T10:00:21.000Z",
        }
    ],
    "warm": True,
    "needs_key": False,
    "uptime_seconds": 3600.0,
}

SETTINGS_RESPONSE: dict[str, Any] = {
    "endpoint": "https://huggingface.co",
    "endpoint_source": "default",
    "parallel_downloads": 3,
    "connections": 8,
    "bandwidth_limit_bytes_per_second": None,
    "download_order": "oldest_first",
    "token_set": True,
    "token_note": None,
    "defaults": {"quantization": None},
    "prefer_fast_dtype": False,
}

NOT_READY: dict[str, Any] = {
    "ready": False,
    "database": False,
    "reason": "The database does not answer.",
}

METRICS = """# HELP modelyard_models Models per status.
# TYPE modelyard_models gauge
modelyard_models{status="ready"} 12
"""

CACHE_LISTING: dict[str, Any] = {
    "items": [
        {
            "model_id": "openai-community/gpt2",
            "commit": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
            "revisions": ["main"],
            "size_bytes": 550989000,
            "importable": True,
            "problem": None,
        }
    ],
    "leftovers": [
        {
            "model_id": "Qwen/Qwen3-0.6B",
            "path": "/home/ada/.cache/huggingface/hub/models--Qwen--Qwen3-0.6B/blobs/f47f7117….modelyard.part",
            "size_bytes": 402653184,
            "age_seconds": 86400.0,
        }
    ],
}

ARCHITECTURE: dict[str, Any] = {
    "model_id": "unsloth/Llama-3.2-1B",
    "commit": "9c1a2b3c4d5e6f708192a3b4c5d6e7f809a1b2c3",
    "model_class": "LlamaForCausalLM",
    "model_type": "llama",
    "num_parameters": 1235814400,
    "method": "meta",
    "verified": True,
    "reason": None,
    "dimensions": {
        "hidden_size": 2048,
        "num_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    },
    "layers_path": "model.layers",
    "final_norm": "model.norm",
    "tied": [["lm_head.weight", "model.embed_tokens.weight"]],
    "flags": [],
    "hook_points": [
        {
            "path": "model.layers.0",
            "layer": 0,
            "kind": "residual",
            "shape": ["batch", "seq", 2048],
            "width": 2048,
            "output": "tensor",
            "verified": True,
            "transformer_lens": "blocks.0.hook_resid_post",
        }
    ],
    "tree": {"name": "", "type": "LlamaForCausalLM", "num_parameters": 1235814400, "children": []},
}

INSTALLED_FILES: dict[str, Any] = {
    "items": [
        {
            "path": "model.safetensors",
            "size_bytes": 1503300328,
            "sha256": "f47f71177f32bcd101b7573ec9171e6a57f4f4d31148d38e382306f42996874b",
            "git_sha1": None,
            "present": True,
        }
    ]
}

MODEL_CARD: dict[str, Any] = {
    "html": "<h3>Qwen3-0.6B</h3>\n<p>A causal language model with 0.6 B parameters.</p>\n",
    "text": "---\nlicense: apache-2.0\n---\n# Qwen3-0.6B\n\nA causal language model with 0.6 B parameters.\n",
    "truncated": False,
}

TEXT_FILE: dict[str, Any] = {
    "path": "generation_config.json",
    "text": '{\n  "do_sample": true,\n  "temperature": 0.6\n}\n',
    "size_bytes": 46,
    "truncated": False,
}

HISTORY_PAGE: dict[str, Any] = {
    "items": [
        {
            "at": "2026-11-24T10:02:10.000Z",
            "kind": "download",
            "event": "done",
            "seconds": 41.2,
            "bytes": 1519209472,
            "moved_bytes": 1116556288,
            "freed_bytes": None,
            "error": None,
        },
        {
            "at": "2026-11-24T10:01:29.000Z",
            "kind": "download",
            "event": "resumed",
            "seconds": None,
            "bytes": None,
            "moved_bytes": None,
            "freed_bytes": None,
            "error": None,
        },
        {
            "at": "2026-11-24T10:00:21.000Z",
            "kind": "download",
            "event": "failed",
            "seconds": 20.9,
            "bytes": 402653184,
            "moved_bytes": 402653184,
            "freed_bytes": None,
            "error": {
                "code": "hub_unreachable",
                "message": "https://huggingface.co did not answer in time.",
                "hint": "Check the connection, then retry.",
            },
        },
    ],
    "total": 4,
    "limit": 3,
    "offset": 0,
}

LOADED_PAGE: dict[str, Any] = {
    "items": [
        {
            "id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
            "model_id": "Qwen/Qwen3-0.6B",
            "quantization": "4bit",
            "device": "cuda:0",
            "dtype": "auto",
            "host": "lab-box",
            "measured_bytes": 545123456,
            "load_seconds": 0.9,
            "in_use": 0,
            "pinned": False,
            "expires_at": "2026-11-24T11:00:21.000Z",
            "last_unload": {"freed_bytes": 545100000, "held_before_bytes": 545123456, "mapped_bytes": 0},
        }
    ]
}

DRIFT_REQUEST: dict[str, Any] = {"text": "It was the best of times, it was the worst of times."}

DRIFT: dict[str, Any] = {
    "prompts": 1,
    "tokens": 14,
    "compared_dtype": "bfloat16",
    "kl_mean": 0.0342,
    "kl_max": 0.194,
    "top1_agreement": 0.929,
    "perplexity": 25.1,
    "source_perplexity": 24.6,
    "residual_cosine": [1.0, 0.9998, 0.9996],
    "output_cosine": None,
    "reason": None,
}

GENERATE_RESPONSE: dict[str, Any] = {
    "text": " Paris.",
    "new_tokens": 3,
    "tokens_per_second": 41.5,
    "load_seconds": 0.0,
    "finish_reason": "stop",
}

GENERATE_STREAM = """data: {"delta": " Paris"}

data: {"delta": "."}

data: {"done": true, "text": " Paris.", "new_tokens": 3, "tokens_per_second": 41.5, "load_seconds": 0.0}
"""

COMPARE_REQUEST: dict[str, Any] = {
    "left": "Qwen/Qwen3-0.6B",
    "right": "Qwen/Qwen3-0.6B:4bit",
    "prompt": "The capital of France is",
    "max_new_tokens": 2,
}

_COMPARED: dict[str, Any] = {
    "id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
    "model_id": "Qwen/Qwen3-0.6B",
    "commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "quantization": "none",
    "text": " Paris.",
    "tokens": [
        {
            "id": 12095,
            "text": " Paris",
            "logprob": -0.21,
            "other_logprob": -0.34,
            "other_choice": {"id": 12095, "text": " Paris", "logprob": -0.34},
        },
        {
            "id": 13,
            "text": ".",
            "logprob": -0.63,
            "other_logprob": -1.21,
            "other_choice": {"id": 11, "text": ",", "logprob": -0.58},
        },
    ],
    "finish_reason": "length",
    "first_divergence": 1,
}

COMPARE_RESPONSE: dict[str, Any] = {
    "left": _COMPARED,
    "right": _COMPARED
    | {
        "id": "0b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e",
        "quantization": "4bit",
        "text": " Paris,",
        "tokens": [
            {
                "id": 12095,
                "text": " Paris",
                "logprob": -0.34,
                "other_logprob": -0.21,
                "other_choice": {"id": 12095, "text": " Paris", "logprob": -0.21},
            },
            {
                "id": 11,
                "text": ",",
                "logprob": -0.58,
                "other_logprob": -0.95,
                "other_choice": {"id": 13, "text": ".", "logprob": -0.63},
            },
        ],
    },
    "first_divergence": 1,
    "agreement": {"tokens": 4, "same_choice": 2, "mean_difference": 0.3, "largest_difference": 0.58},
    "reason": None,
}

COMPARE_STREAM = """data: {"step": {"side": "left", "work": "write", "waiting": false, "phase": "loading",\
 "message": "reading weights", "bytes_done": 0, "bytes_total": 1192099840}}

data: {"done": true, "result": {"left": {}, "right": {}, "first_divergence": 1, "agreement": null, "reason": null}}
"""

TRAINING_PLAN: dict[str, Any] = {
    "d_in": 1024,
    "d_sae": 8192,
    "parameters": 16786432,
    "steps": 489,
    "k": 64,
    "model_bytes": 545123456,
    "forward_bytes": 142606336,
    "sae_bytes": 268582912,
    "batch_bytes": 637534208,
    "buffer_bytes": 209715200,
    "process_bytes": 600000000,
    "total_bytes": 2403562112,
    "checkpoint_bytes": 201437184,
    "output_bytes": 67145728,
    "device": "cuda:0",
    "free_bytes": 24100000000,
    "usable_bytes": 21690000000,
    "unloads": [],
    "fits": True,
    "dataset_column": "text",
    "dataset_columns": ["title", "text"],
    "fast_dtype": None,
    "fast_dtype_bytes": None,
    "beginning_token": "<|endoftext|>",
    "beginning_tokens": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "dataset_tokens": 5200000,
    "dataset_counted": False,
    "epochs": 0.38,
    "refusal": None,
}

TRAINING_RESPONSE: dict[str, Any] = {
    "id": "1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f",
    "status": "running",
    "model_id": "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f",
    "model_name": "Qwen/Qwen3-0.6B",
    "commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "quantization": "4bit",
    "hook_point": "model.layers.14",
    "dataset": {"path": "/data/corpus.jsonl", "column": "text"},
    "architecture": "topk",
    "expansion_factor": 8,
    "k": 64,
    "l1_coefficient": None,
    "training_tokens": 2000000,
    "context_size": 256,
    "learning_rate": 0.0003,
    "batch_tokens": 4096,
    "seed": 0,
    "device": "auto",
    "dtype": "auto",
    "beginning": "auto",
    "skip_positions": 2,
    "checkpoint_seconds": 600,
    "d_in": 1024,
    "d_sae": 8192,
    "progress": {
        "phase": "training",
        "tokens_done": 819200,
        "tokens_total": 2000000,
        "tokens_per_second": 21500.0,
        "eta_seconds": 54.9,
    },
    "metrics": {
        "mse": 412.5,
        "explained_variance": 0.71,
        "explained_variance_per_token": 0.69,
        "held_out_explained_variance": 0.68,
        "held_out_explained_variance_per_token": 0.67,
        "l0": 64.0,
        "dead_features": 12,
    },
    "plan": TRAINING_PLAN,
    "engine": "sae-lens 6.54.12",
    "output_path": None,
    "error": None,
    "resumable": False,
    "job_id": "0b9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e",
    "created_at": "2026-11-24T10:00:00.000Z",
    "updated_at": "2026-11-24T10:01:21.000Z",
    "started_at": "2026-11-24T10:00:01.000Z",
    "finished_at": None,
}

TRAINING_PAGE: dict[str, Any] = {"items": [TRAINING_RESPONSE], "total": 1, "limit": 50, "offset": 0}

ACTIVATIONS_REQUEST: dict[str, Any] = {
    "hook_points": ["model.layers.4"],
    "texts": ["The capital of France is Paris."],
    "positions": "last",
    "dtype": "float32",
    "save": False,
}

ACTIVATIONS_RESPONSE: dict[str, Any] = {
    "tensors": {"model.layers.4": {"shape": [1, 2], "dtype": "float32", "data": "AACAPwAAAEA="}},
    "tokens": [{"row": 0, "position": 6, "id": 13, "text": "."}],
}

LENS_REQUEST: dict[str, Any] = {"prompt": "The capital of France is", "top": 1}

LENS_RESPONSE: dict[str, Any] = {
    "tokens": [{"id": 785, "text": "The"}],
    "layers": [
        {"hook_point": "model.layers.0", "positions": [[{"id": 1156, "text": " first", "probability": 0.021}]]},
        {"hook_point": "model.layers.1", "positions": [[{"id": 1790, "text": " following", "probability": 0.083}]]},
    ],
}

CAPTURE_RESPONSE: dict[str, Any] = {
    "id": "9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b",
    "status": "running",
    "model_id": MODEL_RESPONSE["id"],
    "model_name": "Qwen/Qwen3-0.6B",
    "commit": MODEL_RESPONSE["commit"],
    "quantization": "none",
    "hook_points": ["model.layers.4"],
    "positions": "all",
    "dtype": "float32",
    "rows": 1000,
    "tokens": 84_512,
    "estimated_bytes": 347_513_160,
    "progress": {
        "phase": "capturing",
        "bytes_done": 99_614_720,
        "bytes_total": 346_161_152,
        "bytes_per_second": 4_100_000.0,
        "eta_seconds": 60.1,
        "waiting": False,
        "stopping": False,
        "step": {"name": "batches", "done": 36, "total": 125},
        "message": None,
    },
    "folder": "/home/ada/.local/share/modelyard/activations/9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b",
    "error": None,
    "created_at": "2026-11-24T10:00:00.000Z",
    "updated_at": "2026-11-24T10:00:30.000Z",
    "finished_at": None,
}

CAPTURE_PAGE: dict[str, Any] = {"items": [CAPTURE_RESPONSE], "total": 1, "limit": 50, "offset": 0}

TRAINING_LOG: dict[str, Any] = {
    "text": "2026-11-24T10:00:34Z INFO step 50 of 489, 204,800 tokens\n",
    "position": 1830,
    "skipped_bytes": 0,
}

TRAINING_CURVE: dict[str, Any] = {
    "items": [
        {
            "step": 100,
            "tokens": 409600,
            "mse": 530.1,
            "explained_variance": 0.58,
            "explained_variance_per_token": 0.57,
            "held_out_explained_variance": 0.56,
            "held_out_explained_variance_per_token": 0.55,
            "l0": 64.0,
            "dead_features": 3,
            "tokens_per_second": 21300.0,
            "created_at": "2026-11-24T10:00:40.000Z",
        }
    ]
}

TRAINING_COMPATIBILITY: dict[str, Any] = {
    "compatible": True,
    "level": "structural",
    "reasons": [],
    "dimensions": ARCHITECTURE["dimensions"],
    "hook_points": ARCHITECTURE["hook_points"],
}

DATASET_LIST: dict[str, Any] = {
    "items": [
        {
            "name": "corpus-3f9a1c2b4d5e.jsonl",
            "path": "/home/ada/.local/share/modelyard/datasets/corpus-3f9a1c2b4d5e.jsonl",
            "size_bytes": 20971520,
            "created_at": "2026-11-24T09:58:00.000Z",
            "used_by": [{"id": "1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f", "status": "running"}],
        }
    ]
}

DATASET_RESPONSE: dict[str, Any] = {
    "path": "/home/ada/.local/share/modelyard/datasets/corpus-3f9a1c2b4d5e.jsonl",
    "rows": 12000,
    "columns": ["text"],
    "size_bytes": 20971520,
}

DATASET_SEARCH_PAGE: dict[str, Any] = {
    "items": [
        {
            "repo_id": "Salesforce/wikitext",
            "downloads": 900000,
            "likes": 500,
            "access": "open",
            "licence": "cc-by-sa-3.0",
            "rows": "1M<n<10M",
            "last_modified": "2024-01-04T16:49:18.000Z",
        }
    ],
    "next_cursor": None,
}

DATASET_INFO: dict[str, Any] = {
    "repo_id": "owner/texts",
    "commit": "b08601e04326c79dfdd32d625aee71d232d685c3",
    "access": "open",
    "licence": "cc-by-sa-3.0",
    "downloads": 900,
    "likes": 5,
    "last_modified": "2026-01-04T16:49:18.000Z",
    "configs": [
        {
            "name": "default",
            "splits": [
                {
                    "name": "train",
                    "format": "parquet",
                    "files": 2,
                    "size_bytes": 20971520,
                    "rows": 12000,
                    "rows_counted": True,
                }
            ],
        }
    ],
    "config": "default",
    "split": "train",
    "columns": [{"name": "text", "type": "string"}],
    "first_rows": [{"text": "The first paragraph."}],
    "problem": None,
}
