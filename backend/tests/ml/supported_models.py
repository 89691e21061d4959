"""Writes docs/supported-models.md: every model type of the zoo, measured. Takes some minutes.

python backend/tests/ml/supported_models.py
"""

import importlib.metadata
import tempfile
from pathlib import Path

import torch
import transformers

from ml import known_exceptions, measure, zoo
from modelyard.ml.quantize.quantization_plan import REFUSED

PAGE = Path(__file__).resolve().parents[3] / "docs" / "supported-models.md"
HEAD = """# Supported models

Modelyard loads what the installed transformers loads: safetensors checkpoints of its own model classes. This page is
what was measured, with tiny random models of every causal-language-model type of transformers {transformers}
(torch {torch}, bitsandbytes {bitsandbytes}, CPU). It is written by `backend/tests/ml/supported_models.py`.

| column | meaning |
|---|---|
| Weights | bytes estimated from `config.json` alone, against every storage of the loaded model: none, 8bit and 4bit |
| 8bit, 4bit | the loaded model's bytes relative to bfloat16; in models this small embeddings weigh a lot. \
A copy gives bit by bit the logits of quantizing on the fly, in two shapes of each type; *no copy*: none is offered |
| KV cache | bytes estimated for any length, against the cache that a forward pass filled, at {lengths} lengths |
| Activations | estimated peak of a forward pass ({batch} x {sequence} tokens) relative to what torch's profiler saw, \
without what a product or an attention kernel takes and frees within itself, which depends on the processor; \
beyond 5 % with the reason |
| Hook points | residual stream, sublayers and norms found without weights, checked against the loaded model |

8bit is bitsandbytes as transformers uses it: experts stored as one three-dimensional parameter, and linear layers of an
architecture's own class (Falcon), stay unquantized. 4bit quantizes those too where it can. The estimate says for each
model what stays unquantized and why.

| Type | Class | Weights | 8bit | 4bit | KV cache | Activations | Hook points |
|---|---|---|---|---|---|---|---|
"""


KEPT = "## Weight files and sizes\n"
"""From here on the page is written by hand."""


def row(model_type: str, folder: Path) -> str:
    zoo.make(model_type, folder)
    weights = measure.weights(folder)
    cells = [f"`{model_type}`", zoo.tiny_config(model_type).architectures[0]]
    cells.append("exact" if weights.exact else "differs")
    cells += [_precision_cell(model_type, name, weights) for name in ("8bit", "4bit")]
    problem = known_exceptions.NOT_RUNNABLE.get(model_type)
    if problem is not None:
        return _line([*cells, *["not run"] * 2, problem])
    cache = measure.kv(folder)
    peak = measure.activation_peak(folder)
    found, problems = measure.residual(folder)
    exact = isinstance(cache, measure.Compared) and cache.exact
    cells.append("exact" if exact else known_exceptions.KV_CACHE[model_type])
    cells.append(activations_cell(model_type, peak[0] / peak[1] - 1 if isinstance(peak, tuple) else None))
    if problems:
        raise AssertionError(f"{model_type}: {problems}")
    return _line([*cells, "verified" if found.verified else known_exceptions.RESIDUAL[model_type]])


def _precision_cell(model_type: str, quantization: str, weights: measure.Compared) -> str:
    share = f"{weights.pairs[quantization][1] / weights.pairs['none'][1]:.0%}"
    return f"{share}, no copy" if (model_type, quantization) in REFUSED else share


def activations_cell(model_type: str, difference: float | None) -> str:
    """How far the estimate is from the measured peak, with the reason where that is more than the tests allow."""
    figure = "unknown" if difference is None else f"{difference:+.1%}"
    reason = known_exceptions.ACTIVATIONS.get(model_type)
    return figure if reason is None else f"{figure}: {reason}"


def other_row(model_type: str, class_name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        weights = measure.weights(zoo.make(model_type, Path(folder), class_name))
    return _line([f"{model_type}", class_name, "exact" if weights.exact else "differs"])


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    rows = []
    for model_type in zoo.ALL_TYPES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(model_type, Path(folder)))
        print(rows[-1], end="", flush=True)
    page = HEAD.format(
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        bitsandbytes=importlib.metadata.version("bitsandbytes"),
        lengths=len(measure.KV_LENGTHS),
        batch=measure.ACTIVATION_BATCH,
        sequence=measure.ACTIVATION_SEQUENCE,
    )
    page += "".join(rows)
    page += "\nOf other kinds of models only the weights were measured:\n\n| Type | Class | Weights |\n|---|---|---|\n"
    page += "".join(other_row(name, class_name) for name, class_name in zoo.OTHER_CLASSES.items())
    page += "\nNot measured:\n\n| Type | Why |\n|---|---|\n"
    page += "".join(_line([f"`{name}`", reason]) for name, reason in zoo.NOT_IN_ZOO.items())
    page += f"\n{KEPT}" + PAGE.read_text(encoding="utf-8").partition(KEPT)[2]
    PAGE.write_text(page, encoding="utf-8")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
