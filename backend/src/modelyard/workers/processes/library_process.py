"""What the processes that read a text with a model do before they import libraries, and before they use a tokenizer."""

import logging
import os
import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import psutil

TRIED_TEXTS = 8


def prepare(folder: Path) -> None:
    """Set the environment before libraries are imported: no network, no files outside `folder`, one core left free."""
    # What libraries warn of is a line of the log like any other.
    warnings.formatwarning = _one_line
    logging.captureWarnings(True)
    os.environ |= {
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "datasets"),
        "TQDM_DISABLE": "1",
        "WANDB_MODE": "disabled",
        "WANDB_SILENT": "true",
    }
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (psutil.cpu_count(logical=False) or 2) - 1)))
    os.nice(5)


def try_tokenizer(folder: Path, model_id: str, texts: Iterable[str]) -> None:
    """Try the tokenizer in a process with limits before this process uses it. Raises NoTokenizer, TemplateFailed."""
    from modelyard.ml.untrusted import Tokenizer

    with Tokenizer(folder, model_id) as tokenizer:
        for text in islice(texts, TRIED_TEXTS):
            tokenizer.encode(text, add_special_tokens=False)


def _one_line(message: Warning | str, category: type[Warning], *_where: object, **_line: object) -> str:
    return f"{category.__name__}: {message}"
