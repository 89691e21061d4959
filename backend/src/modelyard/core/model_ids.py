"""What a person types or pastes to name a model."""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from modelyard.core.errors import InvalidRequest

HF_SCHEME = "hf://"
SHORTEST_COMMIT = 7
"""So many characters of a commit name it."""

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_HINT = "Give owner/name, a bare name such as gpt2, hf://owner/name, or the address of a model's page on the Hub."
_PAGES_OF_A_REVISION = ("tree", "blob", "resolve", "raw", "blame", "commit", "commits")
_PAGES = (*_PAGES_OF_A_REVISION, "discussions", "settings")
_OTHER_KINDS = ("datasets", "spaces", "docs", "papers", "collections", "blog", "settings", "models", "api")


@dataclass(frozen=True)
class ModelReference:
    """A repository id and, when a pasted address names one, the revision."""

    model_id: str
    revision: str | None = None


def parse_model_reference(text: str, *, endpoint: str | None = None) -> ModelReference:
    """Read `owner/name`, `gpt2`, `hf://owner/name@revision`, or a Hub page's address (public or of `endpoint`).

    Raises InvalidRequest for anything else.
    """
    text = text.strip()
    if text.startswith(HF_SCHEME):
        return _parse_hf(text)
    if "://" in text or text.split("/", 1)[0].lower() in HUB_HOSTS:
        return _parse_address(text, endpoint)
    return ModelReference(_checked(text))


def names_version(text: str, revision: str, commit: str) -> bool:
    """Return whether a text names a version by its branch, its commit, or the commit's beginning."""
    return text in (revision, commit) or (len(text) >= SHORTEST_COMMIT and commit.startswith(text))


COLLECTION_SCHEME = "collection:"
_COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_SLUG_WITH_ID = re.compile(r"[^/\s]+/[^/\s]+-[0-9a-f]{24}")


def parse_collection(text: str) -> str | None:
    """Return the slug of the collection that a text names: its slug, its address, or either after `collection:`.

    None for what names no collection. Raises InvalidRequest for a name of a collection that is none.
    """
    text = text.strip()
    named = text.removeprefix(COLLECTION_SCHEME)
    host, separator, path = named.partition("/collections/")
    if separator:
        slug = path.split("?")[0].split("#")[0].strip("/")
    elif named != text or _SLUG_WITH_ID.fullmatch(text):
        slug = named
    else:
        return None
    if not _COLLECTION.fullmatch(slug) or (separator and not host):
        raise InvalidRequest(
            f"{text} names no collection.", hint="Give its address on the Hub, or collection:owner/name-of-it-64f9a55b…"
        )
    return slug


def _parse_hf(text: str) -> ModelReference:
    """Read the form of huggingface_hub's file system, whose revision may be quoted; its other kinds are no models."""
    path, at, revision = text.removeprefix(HF_SCHEME).rstrip("/").partition("@")
    path = path.removeprefix("models/")
    if path.split("/", 1)[0] in ("datasets", "spaces", "buckets"):
        raise InvalidRequest(f"{text} is not the address of a model.", hint=_HINT)
    if at and not revision:
        raise InvalidRequest(f"{text} names no revision after @.", hint=_HINT)
    return ModelReference(_checked(path), unquote(revision) or None)


def _parse_address(text: str, endpoint: str | None) -> ModelReference:
    try:
        parts, own = urlsplit(text if "://" in text else f"https://{text}"), urlsplit(endpoint or "")
    except ValueError as error:
        raise InvalidRequest(f"{text} is not an address.", hint=_HINT) from error
    # Unquoted only now: %2F within a segment belongs to a branch's name.
    segments = [unquote(segment) for segment in parts.path.split("/") if segment]
    prefix = [segment for segment in own.path.split("/") if segment]
    if own.netloc and parts.netloc == own.netloc and segments[: len(prefix)] == prefix:
        segments = segments[len(prefix) :]
    elif parts.scheme not in ("http", "https") or (parts.hostname or "").lower() not in HUB_HOSTS:
        raise InvalidRequest(f"{text} is not the address of a model on the Hub.", hint=_HINT)
    if not segments or segments[0] in _OTHER_KINDS or {".", ".."} & set(segments):
        raise InvalidRequest(f"{text} is not the page of a model.", hint=_HINT)
    for at in (2, 1):  # owner/name before a page's name, or a bare name
        if len(segments) >= 3 and segments[at] in _PAGES:
            revision = segments[at + 1] if segments[at] in _PAGES_OF_A_REVISION and len(segments) > at + 1 else None
            return ModelReference(_checked("/".join(segments[:at])), revision)
    return ModelReference(_checked("/".join(segments)))


def _checked(model_id: str) -> str:
    # Commands that only ask the server need the words above, and start without huggingface_hub.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model_id)
    except HFValidationError as error:
        raise InvalidRequest(f"{model_id!r} is not a model's name.", hint=_HINT) from error
    return model_id
