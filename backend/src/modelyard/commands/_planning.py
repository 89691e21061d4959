"""What a command would ask the server to change, found by running it up to that request."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from modelyard.client.api_client import ApiClient, Json
from modelyard.commands._find_model import describe
from modelyard.commands._plan import Planned, Step

_ACTIONS = (
    (r"POST /models/(?P<model>[^/]+)/(?P<verb>pause|resume|verify|load|unload|merge|quantize)", "{verb}"),
    (r"POST /models/(?P<model>[^/]+)/cancel", "cancel the work on"),
    (r"POST /models/(?P<model>[^/]+)/activations", "read activations of"),
    (r"PATCH /models/(?P<model>[^/]+)", "change"),
    (r"POST /models/import", "import a model"),
    (r"DELETE /models/cache/leftovers", "remove unfinished files of the Hugging Face cache"),
    (r"POST /bundles/import", "import a bundle"),
    (r"PUT /bundles/uploads/(?P<name>.+)", "send and import the bundle"),
    (r"PUT /settings", "change the settings"),
    (r"POST /saes/import", "import a sparse autoencoder"),
    (r"POST /saes/download", "download a sparse autoencoder"),
    (r"POST /saes/(?P<name>[^/]+)/features/build", "build the feature pages of the sparse autoencoder"),
    (r"POST /saes/(?P<name>[^/]+)/(?P<verb>evaluate|cancel)", "{verb} the sparse autoencoder"),
    (r"POST /trainings/(?P<name>[^/]+)/(?P<verb>cancel|resume)", "{verb} the training run"),
    (r"DELETE /trainings/(?P<name>[^/]+)", "delete the training run"),
    (r"POST /activations/(?P<name>[^/]+)/(?P<verb>pause|resume|cancel)", "{verb} the activations"),
    (r"DELETE /activations/(?P<name>[^/]+)", "delete the activations"),
    (r"POST /datasets", "upload a text"),
)


def step_of(method: str, path: str, describe_model: Callable[[str], str], body: Mapping[str, Any]) -> Step:
    """Return what a request would do, in words; what is sent with it are the notes."""
    sent = {name.replace("_", " "): value for name, value in body.items() if value not in (None, [], "")}
    notes = [f"{name}: {_shown(value)}" for name, value in sent.items()]
    for pattern, action in _ACTIONS:
        if found := re.fullmatch(pattern, f"{method} {path}"):
            named = found.groupdict()
            subject = describe_model(named["model"]) if "model" in named else named.get("name", "")
            return Step(action.format_map(named), subject, notes=notes)
    return Step(f"send {method}", path, notes=notes)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


class PlanningClient(ApiClient):
    """A client that asks as ever, and raises Planned in place of the first request that would change something."""

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> Json:
        if method == "GET" or (query or {}).get("dry_run") or path.endswith("plan"):
            return super()._call(method, path, query=query, body=body, timeout_seconds=timeout_seconds)
        return self._refuse(method, path, body or {})

    def upload(self, path: str, file: Path) -> Any:
        self._refuse("POST", path, {"file": file})

    def send_piece(self, path: str, content: bytes, content_range: str) -> Any:  # noqa: ARG002
        self._refuse("PUT", path, {})

    def _refuse(self, method: str, path: str, body: Mapping[str, Any]) -> NoReturn:
        raise Planned(step_of(method, path, lambda row_id: describe(self.get(f"/models/{row_id}")), body))
