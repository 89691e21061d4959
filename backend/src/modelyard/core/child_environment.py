"""The environment of child processes that need no Hub, no database and no key."""

import os

_NAMES = frozenset(
    {
        "CONDA_PREFIX", "DYLD_LIBRARY_PATH", "HF_HOME", "HF_HUB_CACHE", "HOME", "HUGGINGFACE_HUB_CACHE", "LANG",
        "LANGUAGE", "LD_LIBRARY_PATH", "LD_PRELOAD", "LOGNAME", "MODELYARD_HOME", "PATH", "TMPDIR", "TZ", "USER",
        "VIRTUAL_ENV", "XDG_CACHE_HOME",
    }
)  # fmt: skip
_PREFIXES = (
    "LC_", "PYTHON", "MALLOC_",
    # How torch and what is below it compute, and on which devices.
    "ATEN_", "BNB_", "CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "GOMP_", "HIP_", "HSA_", "KMP_", "MKL_", "NVIDIA_",
    "OMP_", "ONEDNN_", "OPENBLAS_", "PYTORCH_", "ROCR_", "TORCH", "TRITON_",
)  # fmt: skip


def child_environment(**added: str) -> dict[str, str]:
    """Return what a child needs to find its libraries, its folders and its devices, and `added`.

    Only listed variables are passed on, so a child gets no token, key, database address or proxy, and nothing that
    nobody has thought of. A child that needs more is given it in `added`. Libraries are told not to ask a Hub.
    """
    listed = {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}
    return listed | {"HF_HUB_OFFLINE": "1"} | added
