"""Hub tokens, each bound to the Hub it was stored for. huggingface_hub's own files are the only place that holds them.

The token of `HF_TOKEN` and of `hf auth login` is for the Hub that `HF_ENDPOINT` names. Tokens for other Hubs are named
tokens in the same store (`hf auth list` shows them), and the name is the Hub's origin.
"""

import configparser
import io
import os
import re
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock, get_stored_tokens, get_token_to_send

from modelyard.core.errors import InvalidRequest
from modelyard.hub.origins import origin_of

_LOCK_SECONDS = 10.0


def token_for(endpoint: str) -> str | None:
    """Return the token that was stored for the Hub at `endpoint`, or None. May refresh one of `hf auth login`."""
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    origin = origin_of(endpoint)
    if origin is None:
        return None
    return get_token_to_send(None) if origin == _home() else _named_tokens().get(origin)


def missing_token_note(endpoint: str) -> str | None:
    """Return a note if tokens are stored, but none for the Hub at `endpoint`; otherwise None."""
    if token_for(endpoint) is not None:
        return None
    others = [constants.ENDPOINT] if token_for(constants.ENDPOINT) is not None else []
    others += [origin for origin in _named_tokens() if origin != _home()]
    if not others:
        return None
    return (
        f"No token is stored for {origin_of(endpoint) or endpoint}. A token is sent only to the Hub it was stored for"
        f" ({', '.join(others)})."
    )


def store_token(endpoint: str, token: str | None) -> None:
    """Store the token for the Hub at `endpoint`, readable by its owner only; None or "" forgets it.

    Raises InvalidRequest if the environment sets the token, and for text that cannot be a token.
    """
    token = checked_token(token or "")
    origin = origin_of(endpoint)
    if origin is None:
        raise InvalidRequest(f"{endpoint} is not the address of a Hub.", hint="Choose another Hub in Settings.")
    if origin == _home():
        _store_home_token(token)
        return
    path = Path(constants.HF_STORED_TOKENS_PATH)
    path.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(f"{path}.lock", timeout=_LOCK_SECONDS):
        stored = _read_to_change(path)
        stored.remove_section(origin)
        if token:
            stored[origin] = {"hf_token": token}
        content = io.StringIO()
        stored.write(content)
        aside = path.with_name(f"{path.name}.{os.getpid()}.new")
        _write_private(aside, content.getvalue())
        aside.replace(path)


def checked_token(token: str) -> str:
    """Return the token without white space around it. Raises InvalidRequest for text that cannot be a token."""
    token = token.strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise InvalidRequest("The token holds characters that no token has.", hint="Copy it again from the Hub's page.")
    return token


def _home() -> str | None:
    """Return the origin of the environment's Hub, whatever the settings say."""
    return origin_of(constants.ENDPOINT)


def _store_home_token(token: str) -> None:
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        raise InvalidRequest(
            "HF_TOKEN is set in the server's environment and wins over a stored token.",
            hint="Change or unset HF_TOKEN and restart the server.",
        )
    path = Path(constants.HF_TOKEN_PATH)
    if not token:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_private(path, token)


def _named_tokens() -> dict[str, str]:
    """Return the tokens for other Hubs by origin; the user's other named tokens are not for a Hub of the settings."""
    named = {name: token.strip() for name, token in get_stored_tokens().items() if origin_of(name) == name}
    return {name: token for name, token in named.items() if token}


def _read_to_change(path: Path) -> configparser.ConfigParser:
    """Return the whole store. Unlike `get_stored_tokens`, this does not treat a damaged store as empty."""
    stored = configparser.ConfigParser(interpolation=None)
    try:
        if path.exists():
            stored.read_string(path.read_text(encoding="utf-8"))
    except (configparser.Error, UnicodeDecodeError):
        # The text of the error would show a part of the file.
        raise InvalidRequest(
            f"The file of stored tokens, {path}, is damaged.",
            hint="Repair or remove it, and store the tokens again.",
        ) from None
    return stored


def _write_private(path: Path, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
