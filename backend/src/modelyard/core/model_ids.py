"""What a person types or pastes to name a model."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from modelyard.core.errors import InvalidRequest

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_HINT = "Give owner/name, a bare name such as gpt2, or the address of a model's page on the Hub."
_OTHER_KINDS = ("datasets", "spaces", "docs", "papers", "collections", "blog", "settings", "models", "api")


@dataclass(frozen=True)
class ModelReference:
    """A repository id and, when a pasted address names one, the revision."""

    model_id: str
    revision: str | None = None


def parse_model_reference(text: str, *, endpoint: str | None = None) -> ModelReference:
    """Read `owner/name`, `gpt2`, or a Hub page's address (of the public Hub or of `endpoint`).

    Raises InvalidRequest for anything else.
    """
    text = text.strip()
    if "://" in text or text.split("/", 1)[0].lower() in HUB_HOSTS:
        return _parse_address(text, endpoint)
    return ModelReference(_checked(text))


def _parse_address(text: str, endpoint: str | None) -> ModelReference:
    parts = urlsplit(text if "://" in text else f"https://{text}")
    path = unquote(parts.path)
    own = urlsplit(endpoint) if endpoint else None
    if own is not None and own.netloc and parts.netloc == own.netloc:
        path = path.removeprefix(own.path.rstrip("/"))
    elif parts.scheme not in ("http", "https") or (parts.hostname or "").lower() not in HUB_HOSTS:
        raise InvalidRequest(f"{text} is not the address of a model on the Hub.", hint=_HINT)
    segments = [segment for segment in path.split("/") if segment]
    if not segments or segments[0] in _OTHER_KINDS:
        raise InvalidRequest(f"{text} is not the page of a model.", hint=_HINT)
    if len(segments) >= 3 and segments[2] in ("tree", "blob", "resolve", "commit", "discussions"):
        revision = segments[3] if segments[2] in ("tree", "blob", "resolve", "commit") and len(segments) > 3 else None
        return ModelReference(_checked("/".join(segments[:2])), revision)
    if len(segments) >= 3 and segments[1] in ("tree", "blob", "resolve"):
        return ModelReference(_checked(segments[0]), segments[2])
    return ModelReference(_checked("/".join(segments)))


def _checked(model_id: str) -> str:
    try:
        validate_repo_id(model_id)
    except HFValidationError as error:
        raise InvalidRequest(f"{model_id!r} is not a model's name.", hint=_HINT) from error
    return model_id
