"""The examples of the calls about sparse autoencoders; a test keeps them valid."""

from typing import Any

SAE_ID = "7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d"
_MODEL_ROW = "6f0d1e1c9c5f4f0b8f3f0a2b1c0d9e8f"
_DATASET = {"path": "/data/corpus.jsonl", "column": "text"}

SAE_IMPORT: dict[str, Any] = {"path": "/data/saes/layer-14", "name": None}
SAE_DOWNLOAD: dict[str, Any] = {"repo_id": "jbloom/GPT2-Small-SAEs-Reformatted", "path": "blocks.8.hook_resid_pre"}

SAE_EVALUATE: dict[str, Any] = {"dataset": _DATASET, "tokens": 50000}

SAE_FEATURES_BUILD: dict[str, Any] = {"dataset": _DATASET, "tokens": 1000000, "top": 20}

SAE_EVALUATION: dict[str, Any] = {
    "tokens": 49920,
    "dataset": _DATASET,
    "held_out": True,
    "model_row_id": _MODEL_ROW,
    "quantization": "none",
    "context_size": 256,
    "skip_positions": 2,
    "explained_variance": 0.74,
    "explained_variance_per_token": 0.73,
    "mse": 412.5,
    "cosine": 0.88,
    "l0": 32.0,
    "dead_features": 611,
    "dense_features": 12,
    "density_histogram": {"edges": [-4.0, -3.0, -2.0, -1.0, 0.0], "counts": [900, 4310, 2359, 12]},
    "ce_clean": 3.697,
    "ce_reconstructed": 4.026,
    "ce_zero": 12.59,
    "loss_recovered": 0.963,
    "shrinkage": 0.94,
    "relative_reconstruction_bias": 0.99,
    "engine": "sae-lens 6.54.12",
    "evaluated_at": "2026-11-24T12:00:00.000Z",
}

SAE_RESPONSE: dict[str, Any] = {
    "id": SAE_ID,
    "name": "Qwen3-0.6B model.layers.14",
    "status": "ready",
    "model_id": "Qwen/Qwen3-0.6B",
    "commit": "c1899de289a04d12100db370d81485cdf75e47ca",
    "quantization": "none",
    "dtype": "bfloat16",
    "hook_point": "model.layers.14",
    "d_in": 1024,
    "d_sae": 8192,
    "architecture": "topk",
    "context_size": 256,
    "source": "trained",
    "training_id": "1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f",
    "repo_id": None,
    "repo_commit": None,
    "repo_path": None,
    "folder": "/home/ada/.local/share/modelyard/trainings/1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f/sae",
    "size_bytes": 67141632,
    "evaluation": SAE_EVALUATION,
    "features": {
        "dataset": _DATASET,
        "tokens": 1000000,
        "top": 20,
        "active_features": 7581,
        "final_norm": "model.norm",
        "model_row_id": _MODEL_ROW,
        "size_bytes": 31457280,
        "built_at": "2026-11-24T13:00:00.000Z",
    },
    "compatible_with": [_MODEL_ROW],
    "warnings": [],
    "work": None,
    "used_by": [],
    "created_at": "2026-11-24T11:00:00.000Z",
    "updated_at": "2026-11-24T12:00:00.000Z",
}

SAE_PAGE: dict[str, Any] = {"items": [SAE_RESPONSE], "total": 1, "limit": 50, "offset": 0}

_FEATURE: dict[str, Any] = {"index": 1204, "density": 0.0031, "max": 18.4}
SAE_FEATURE_PAGE: dict[str, Any] = {
    "items": [_FEATURE | {"top_token": " return", "promoted": [" values", " None", " the"]}],
    "total": 8192,
    "limit": 100,
    "offset": 0,
}
SAE_FEATURE: dict[str, Any] = _FEATURE | {
    "histogram": {"edges": [0.0, 6.5, 13.0, 19.5], "counts": [2210, 790, 100]},
    "passages": [
        {
            "position": 1,
            "activation": 18.4,
            "tokens": [
                {"id": 9, "text": "\n", "activation": 0.0},
                {"id": 1200, "text": " return", "activation": 18.4},
                {"id": 42, "text": " self", "activation": 3.1},
            ],
        }
    ],
    "promoted": [{"id": 3220, "text": " values", "effect": 0.81}],
    "suppressed": [{"id": 665, "text": " def", "effect": -0.64}],
}
SAE_FEATURES_FOR_TEXT: dict[str, Any] = {"text": "The function returns a list.", "top": 50, "model_id": None}
SAE_TEXT_FEATURES: dict[str, Any] = {
    "model_id": _MODEL_ROW,
    "tokens": [{"id": 504, "text": "The", "counted": False}, {"id": 1517, "text": " function", "counted": True}],
    "features": [{"index": 1204, "max": 7.2, "position": 1, "density": 0.0031, "activations": [0.0, 7.2]}],
    "active_features": 31,
}
