"""The built-in Hub's sample models, made once for all processes of a test run."""

import os
import shutil
import sys
from pathlib import Path

from modelyard.hub.server.samples import CATALOGUE
from support import programs


def sample_models() -> Path:
    """Return the folder of the samples, which whoever asks first makes. Not to be changed; its files may be linked."""
    folder = _folder()
    if not _all_made(folder):
        command = [sys.executable, "-m", "modelyard.ml.sample_models", "--into", str(folder), "--lock-timeout", "170"]
        programs.run(command, libraries=True, check=True, capture_output=True)
    return folder


def link_samples(home: Path) -> None:
    """Have a server with this home find the samples made."""
    for folder in (home, home / "samples"):
        folder.mkdir(mode=0o700, exist_ok=True)
    for sample in CATALOGUE:
        target = home / "samples" / sample.folder
        if not target.exists():
            shutil.copytree(sample_models() / sample.folder, target, copy_function=os.link)


def link_samples_if_made(home: Path) -> None:
    """As `link_samples`, where another test needed them already; a server that needs them makes them itself."""
    if _all_made(_folder()):
        link_samples(home)


def _folder() -> Path:
    return Path(os.environ["TESTS_FOLDER"]) / "samples"


def _all_made(folder: Path) -> bool:
    return all((folder / sample.folder).is_dir() for sample in CATALOGUE)
