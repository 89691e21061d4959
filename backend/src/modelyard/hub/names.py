"""Checks of a Hub's names, before any of them becomes a path on this disk."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id as check_repo_id

from modelyard.core.errors import HubMisbehaved, InvalidRequest

MAX_FILES = 100_000
MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
MAX_FILE_BYTES = 2**53

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")
# Controls, surrogates, invisible formatting (which can reverse how a name reads), line separators.
_FORBIDDEN_CATEGORIES = {"Cc", "Cs", "Cf", "Zl", "Zp"}


@dataclass(frozen=True)
class RemoteFile:
    """One file of a snapshot as the Hub lists it; at least one of the two hashes is known."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None

    @property
    def blob(self) -> str:
        """Return the name of its content in the cache: the hash that verifies it."""
        name = self.sha256 or self.git_sha1
        if name is None:
            raise HubMisbehaved(f"The Hub lists {_shown(self.path)} without a hash, so it cannot be verified.")
        return name


def validate_files(files: Sequence[RemoteFile]) -> None:
    """Refuse a file list that no well-behaved Hub sends.

    Raises HubMisbehaved that names the first offender: a path that could leave the snapshot folder or
    clash there with another one, a missing or malformed hash, an impossible size.
    """
    if len(files) > MAX_FILES:
        raise HubMisbehaved(f"The Hub lists {len(files)} files, more than the {MAX_FILES} a repository may have.")
    seen: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for file in files:
        validate_path(file.path)
        _validate_content(file, sizes)
        folded = same_on_some_disks(file.path)
        if seen.get(folded) == file.path:
            raise HubMisbehaved(f"The Hub lists {_shown(file.path)} twice.")
        if folded in seen:
            raise HubMisbehaved(
                f"The Hub lists {_shown(file.path)} and {_shown(seen[folded])}, which are the same file on some disks."
            )
        seen[folded] = file.path
    for folded, path in seen.items():
        for parent in PurePosixPath(folded).parents:
            if str(parent) in seen:
                raise HubMisbehaved(
                    f"The Hub lists {_shown(seen[str(parent)])} both as a file and as the folder of {_shown(path)}."
                )


def validate_path(path: str) -> None:
    """Raise HubMisbehaved unless `path` is a plain relative POSIX path that means the same on every disk."""
    problem = path_problem(path)
    if problem:
        raise HubMisbehaved(f"The Hub lists a file named {_shown(path)}: {problem}.")


def odd_name(path: str) -> str | None:
    """Return why some disks cannot have a file of this name, None if all can or `validate_path` refuses the name.

    A name that leaves the repository, or hides what it is, is no oversight of an author: `validate_path` refuses it.
    """
    hidden = any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in path)
    parts = path.replace("\\", "/").split("/")
    if hidden or path.startswith("\\") or {"", ".", ".."} & set(parts):
        return None
    return path_problem(path)


def same_on_some_disks(path: str) -> str:
    """Return a key that is equal for names that a case-insensitive or Unicode-normalizing disk treats as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def validate_commit(commit: str) -> None:
    """Raise HubMisbehaved unless `commit` is a hexadecimal hash."""
    if not _COMMIT.fullmatch(commit):
        raise HubMisbehaved(f"The Hub names {_shown(commit)} as a commit, which is not a hash.")


def validate_revision(revision: str) -> None:
    """Raise InvalidRequest unless a revision (`main`, `refs/pr/1`, a tag) can be the name of a ref file."""
    problem = path_problem(revision)
    if problem:
        raise InvalidRequest(
            f"{_shown(revision)} is not the name of a branch, tag or commit: {problem}.",
            hint="Give one that the model's page on the Hub lists, or leave the revision out.",
        )


def validate_repo_id(repo_id: str) -> None:
    """Raise InvalidRequest unless `repo_id` is `name` or `owner/name`."""
    try:
        check_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidRequest(
            f"{_shown(repo_id)} is not a model's name.", hint="Give owner/name, or a bare name such as gpt2."
        ) from error


def _validate_content(file: RemoteFile, sizes: dict[str, int]) -> None:
    if not 0 <= file.size_bytes <= MAX_FILE_BYTES:
        raise HubMisbehaved(f"The Hub says that {_shown(file.path)} has {file.size_bytes} bytes.")
    if file.sha256 is not None and not _SHA256.fullmatch(file.sha256):
        raise HubMisbehaved(f"The sha256 the Hub gives for {_shown(file.path)} is not one.")
    if file.git_sha1 is not None and not _SHA1.fullmatch(file.git_sha1):
        raise HubMisbehaved(f"The git hash the Hub gives for {_shown(file.path)} is not one.")
    if sizes.setdefault(file.blob, file.size_bytes) != file.size_bytes:
        raise HubMisbehaved(f"The Hub gives two sizes for the content of {_shown(file.path)}.")


def path_problem(path: str) -> str | None:
    """Return why a path does not mean the same on every disk, or None."""
    if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in path):
        return "it holds invisible or control characters"
    if "\\" in path or ":" in path:
        return "it holds a backslash or a colon"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    components = path.split("/")
    for component in components:
        if component in ("", ".", ".."):
            return "a part of it between slashes is empty, . or .."
        if component != component.strip() or component.endswith("."):
            return "a part of it starts or ends with a space or ends with a dot"
        if len(component.encode()) > MAX_COMPONENT_BYTES:
            return f"a part of it is longer than {MAX_COMPONENT_BYTES} bytes"
    folded = [same_on_some_disks(component) for component in components]
    if ".git" in folded or folded[:2] == [".cache", "huggingface"]:
        return "that folder belongs to git or to huggingface_hub"
    return None


def _shown(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(name)} characters)"
