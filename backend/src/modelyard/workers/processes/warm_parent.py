"""`python -m modelyard.workers.processes.warm_parent FD`: imports torch, transformers and bitsandbytes, and forks.

Its children load or build models (`fork_server`).
"""

from collections.abc import Iterable

from modelyard.workers.processes import fork_server

CHILDREN = frozenset(
    {
        "modelyard.ml.inspect.inspector_child",
        "modelyard.workers",
        "modelyard.workers.processes.convert_child",
        "modelyard.workers.processes.merge_child",
        "modelyard.workers.processes.quantize_child",
        "modelyard.workers.processes.train_child",
    }
)
"""The modules that may be run here."""

_LIBRARIES = (
    "torch",
    "modelyard.ml.loading.import_transformers",
    "modelyard.ml.loading.import_bitsandbytes",
    "modelyard.ml.gguf.convert",
    "modelyard.ml.inspect.activations",
    "modelyard.ml.inspect.architecture",
    "modelyard.ml.quantize.artifact",
    "modelyard.ml.inspect.kv_cache",
    "modelyard.ml.inspect.memory",
    "modelyard.ml.inspect.meta_model",
    "modelyard.ml.generation.text_generation",
    "modelyard.ml.loading.pretrained",
    "modelyard.ml.inspect.support",
    "modelyard.ml.model_loader",
)
_IMPORT_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # it starts its threads when it is loaded
    "TQDM_DISABLE": "1",  # read when it is imported, and no child has a terminal
}
"""What is set while libraries are imported; a child's environment is its own."""


def main(children: Iterable[str] = CHILDREN, libraries: Iterable[str] = _LIBRARIES) -> None:
    fork_server.run("warm", children, libraries, _IMPORT_ENVIRONMENT)


if __name__ == "__main__":
    main()
