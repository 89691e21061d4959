"""EleutherAI's evaluation harness, in a virtual environment of its own, made once per machine."""

import fcntl
import subprocess
import sys
import tempfile
from pathlib import Path

from support.smollm2 import CACHE, NotAvailable

VERSION = "0.4.13"
REQUIREMENTS = (f"lm_eval[api]=={VERSION}", "transformers>=5.23,<6")
"""transformers is for the tokenizer, which the harness reads itself; it needs no torch for that."""
INSTALLATION_SECONDS = 540


def lm_eval() -> list[str]:
    """Return the beginning of a command line that runs the harness.

    The first call on a machine takes some minutes. Raises NotAvailable where pip has no such packages.
    """
    folder = CACHE / f"lm-eval-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lm-eval.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                made = Path(name) / "environment"
                _install(made)
                made.rename(folder)
    # Not its script, whose first line names the folder in which it was made.
    return [str(folder / "bin" / "python"), "-m", "lm_eval"]


def _install(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=INSTALLATION_SECONDS)
    command: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLATION_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NotAvailable(f"pip had not installed {REQUIREMENTS[0]} after {INSTALLATION_SECONDS} s.") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotAvailable(f"pip cannot install {REQUIREMENTS[0]}: {said[-1] if said else 'it does not say why'}")
