"""Where a figure is not exact, or a point not verified, and why. Tests fail if an exception is missing or needless."""

_NEEDS_VALUES = "its code steers by the values of tensors, which do not exist without weights"
_CPU_WORKSPACE = "attention or softmax on the CPU allocates a workspace, large beside so small a model"
_NOT_FUSED = "PyTorch's CPU attention falls back to a score matrix for one shared key/value head"

# Nothing to compare with: the loaded model itself does not run here.
NOT_RUNNABLE = {
    "reformer": "does not run in bfloat16 on the CPU",
    "xlnet": "mixes float32 and bfloat16 and does not run",
    "xmod": "does not run until a language is chosen",
}
KV_CACHE = {
    "deepseek_v4": "the cache is compressed in blocks and grows in steps",
    "jetmoe": _NEEDS_VALUES,
    "longcat_flash": _NEEDS_VALUES,
    "prophetnet": "fixed-length tables of relative positions",
}
ACTIVATIONS = {
    "jetmoe": _NEEDS_VALUES,
    "longcat_flash": _NEEDS_VALUES,
    "codegen": _CPU_WORKSPACE,
    "ctrl": "moves a table to the device on first use, which the estimate counts every time",
    "cwm": _CPU_WORKSPACE,
    "falcon": _NOT_FUSED,
    "gemma3": _CPU_WORKSPACE,
    "gemma3_text": _CPU_WORKSPACE,
    "gpt_neo": _CPU_WORKSPACE,
    "gptj": _CPU_WORKSPACE,
    "inkling_text": _CPU_WORKSPACE,
    "lfm3": _CPU_WORKSPACE,
    "ministral": _CPU_WORKSPACE,
    "mistral": _CPU_WORKSPACE,
    "olmo": _CPU_WORKSPACE,
    "olmo2": _CPU_WORKSPACE,
    "olmo3": _CPU_WORKSPACE,
    "prophetnet": _CPU_WORKSPACE,
}
RESIDUAL = {
    "cpmant": "puts prompt tokens before the text, so the stream is longer than the input",
    "gemma3n_text": "keeps several copies of the stream (AltUp)",
    "hrm_text": "runs its blocks several times in one pass",
    "jetmoe": _NEEDS_VALUES,
    "longcat_flash": _NEEDS_VALUES,
    "prophetnet": "runs several streams side by side",
    "xlm": "keeps attention and MLP in two parallel lists, so there is no block to hook",
}
