"""Sparse autoencoders in SAELens's format, made without it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

D_IN, D_SAE, K = 64, 128, 8


def make_sae(folder: Path, *, d_in: int = D_IN, d_sae: int = D_SAE, seed: int = 0, **metadata: Any) -> Path:
    """A random TopK SAE; `metadata` goes into its configuration."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    decoder = generator.standard_normal((d_sae, d_in)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    weights = {
        "W_dec": decoder,
        "W_enc": np.ascontiguousarray(decoder.T),
        "b_dec": np.zeros(d_in, np.float32),
        "b_enc": np.zeros(d_sae, np.float32),
    }
    save_file(weights, folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk", "d_in": d_in, "d_sae": d_sae, "k": K, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "model.layers.1", "context_size": 32, **metadata},
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder
