"""Models in the store of Ollama, by the names that Ollama gives them."""

import os
import re
from pathlib import Path

from modelyard.core.errors import InvalidRequest, ModelNotFound, NoWeights
from modelyard.core.paths import FoundFile, PathRules
from modelyard.core.repository_json import MAX_BYTES, parse_object

_HOST, _OWNER = "registry.ollama.ai", "library"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME = re.compile(rf"((?:{_PART}/){{0,2}})({_PART}):({_PART})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KIND = "application/vnd.ollama.image."
_SERVICE_STORE = Path("/usr/share/ollama/.ollama/models")
"""Where Ollama keeps models that runs as a service of Linux."""


def is_ollama_name(text: str) -> bool:
    """Return whether a text is a name such as llama3.2:1b or hf.co/owner/name:Q4_K_M."""
    return _NAME.fullmatch(text) is not None


def find_ollama_model(name: str, rules: PathRules) -> FoundFile:
    """Find the GGUF file of a name in the first store that has it.

    Raises PathNotAllowed, ModelNotFound, InvalidRequest, InvalidRepository, NoWeights.
    """
    match = _NAME.fullmatch(name)
    assert match is not None  # noqa: S101 - its caller asked `is_ollama_name`
    above = [part for part in match[1].split("/") if part]
    where = Path(*[_HOST, _OWNER][: 2 - len(above)], *above, match[2], match[3])
    stores = _stores()
    for store in stores:
        path = store / "manifests" / where
        if rules.is_file(path):
            return _weights(store, rules.find_file(path), name, rules)
    raise ModelNotFound(
        f"Ollama has no model {name} in {' or '.join(map(str, stores))}.",
        hint="`ollama list` shows its names; OLLAMA_MODELS names another store.",
    )


def _stores() -> list[Path]:
    named = os.environ.get("OLLAMA_MODELS")
    return [Path(named)] if named else [Path("~/.ollama/models").expanduser(), _SERVICE_STORE]


def _weights(store: Path, manifest: FoundFile, name: str, rules: PathRules) -> FoundFile:
    with manifest.open() as file:
        content = parse_object(file.read(MAX_BYTES + 1), "the manifest", name)
    layers = content.get("layers")
    found = {
        str(layer.get("mediaType")).removeprefix(_KIND): layer.get("digest")
        for layer in (layers if isinstance(layers, list) else [])
        if isinstance(layer, dict)
    }
    if "adapter" in found:
        raise NoWeights(f"{name} is an adapter on another model.", hint="Import the model that it belongs to.")
    digest = found.get("model")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise NoWeights(f"The manifest of {name} names no weights.", hint="Pull it again with Ollama.")
    try:
        return rules.find_file(store / "blobs" / digest.replace(":", "-"))
    except InvalidRequest as error:
        raise NoWeights(f"The weights of {name} are not in {store}.", hint="Pull it again with Ollama.") from error
