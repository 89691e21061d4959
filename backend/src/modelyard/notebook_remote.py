"""`modelyard.remote`: the server's model in memory, shared by all who use it; `modelyard.activations`: its values."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelyard.core.errors import InvalidRequest, ModelNotFound, ModelyardError, NotReady
from modelyard.core.statuses import QuantizationName

if TYPE_CHECKING:
    import torch

    from modelyard.client.answers import CaptureResponse, ModelResponse
    from modelyard.client.api_client import ApiClient

Intervention = Mapping[str, Any]
_ANSWER_SECONDS = 3600.0
"""A model may have to be loaded first."""


class Activations(Mapping[str, "torch.Tensor"]):
    """Values of hook points by name, each [tokens, width], and the token of every line.

    `rows`, `positions` and `token_ids` say which token a line is of. Values in files are mapped into memory, not read;
    of a hook point in several files `shards` gives each, and `activations[name]` puts them together, which reads them.
    `folder` and `manifest` are those of the files, None for an answer without.
    """

    def __init__(
        self,
        tensors: "Mapping[str, Sequence[torch.Tensor]]",
        index: "Mapping[str, torch.Tensor]",
        folder: Path | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> None:
        self._tensors = tensors
        self.rows, self.positions, self.token_ids = index["row"], index["position"], index["token_id"]
        self.folder, self.manifest = folder, manifest

    def shards(self, name: str) -> "Sequence[torch.Tensor]":
        """Return the values of a hook point, one tensor for each file."""
        return self._tensors[name]

    def __getitem__(self, name: str) -> "torch.Tensor":
        import torch

        shards = self._tensors[name]
        return shards[0] if len(shards) == 1 else torch.cat(list(shards))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class RemoteModel:
    """A model of the server: it is loaded there when it is first used, once for all notebooks.

    Every call may raise ServerUnreachable, and ApiError with the server's reason and hint.
    """

    def __init__(self, client: "ApiClient", row: "ModelResponse") -> None:
        self._client = client
        self.id, self.name, self.commit = row["id"], row["model_id"], row["commit"]
        self.quantization = row["quantization"]

    def __repr__(self) -> str:
        precision = "" if self.quantization == "none" else f":{self.quantization}"
        return f"<{self.name}{precision} at {self._client.url}>"

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        interventions: Sequence[Intervention] = (),
    ) -> str:
        """Return the continuation of a text."""
        return self._generate({"prompt": prompt}, max_new_tokens, temperature, seed, interventions)

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        seed: int = 0,
        interventions: Sequence[Intervention] = (),
    ) -> str:
        """Return the answer to messages, `{"role", "content"}` each, with the model's chat template."""
        given = {"messages": [dict(message) for message in messages]}
        return self._generate(given, max_new_tokens, temperature, seed, interventions)

    def logits(
        self,
        text: str | Sequence[int],
        *,
        positions: Literal["all", "last"] | Sequence[int] = "all",
        interventions: Sequence[Intervention] = (),
    ) -> "torch.Tensor":
        """Return the logits [tokens, vocabulary], in float32, after each token of a text or of token ids."""
        given: dict[str, Any] = {"texts": [text]} if isinstance(text, str) else {"token_ids": [list(text)]}
        found = self.activations(["logits"], **given, positions=positions, interventions=interventions)
        return found["logits"]

    def activations(
        self,
        hook_points: Sequence[str],
        *,
        texts: Sequence[str] | None = None,
        token_ids: Sequence[Sequence[int]] | None = None,
        dataset: Mapping[str, Any] | None = None,
        positions: Literal["all", "last"] | Sequence[int] = "all",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        save: bool = False,
        max_tokens: int | None = None,
        batch_size: int = 8,
        shard_bytes: int = 256_000_000,
        interventions: Sequence[Intervention] = (),
    ) -> Activations:
        """Return what hook points give; the fields are those of `POST /models/{id}/activations`.

        More than 16 MB, or anything with `save`, is written to files on the server's machine, waited for and mapped
        into memory. Raises NotReady where these files are on another machine.
        """
        request = {
            "hook_points": list(hook_points),
            "texts": None if texts is None else list(texts),
            "token_ids": None if token_ids is None else [list(row) for row in token_ids],
            "dataset": None if dataset is None else dict(dataset),
            "positions": positions if isinstance(positions, str) else list(positions),
            "dtype": dtype,
            "save": save,
            "max_tokens": max_tokens,
            "batch_size": batch_size,
            "shard_bytes": shard_bytes,
            "interventions": _plain(interventions),
        }
        with _hints():
            answer = self._client.post(f"/models/{self.id}/activations", request, timeout_seconds=_ANSWER_SECONDS)
            return _answered(answer) if "tensors" in answer else self._written(answer)

    def _written(self, capture: "CaptureResponse") -> Activations:
        from modelyard.client.captures import follow_capture

        done = follow_capture(self._client, capture, lambda _now: None)
        folder = Path(done["folder"])
        if not (folder / "manifest.json").is_file():
            raise NotReady(
                f"The activations are in {folder} on the server's machine, which this process does not see.",
                hint="Ask for at most 16 MB at once, or run the notebook there.",
            )
        return open_activations(folder)

    def _generate(
        self,
        given: dict[str, Any],
        max_new_tokens: int,
        temperature: float,
        seed: int,
        interventions: Sequence[Intervention],
    ) -> str:
        request = given | {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "seed": seed,
            "interventions": _plain(interventions),
        }
        with _hints():
            answer = self._client.post(f"/models/{self.id}/generate", request, timeout_seconds=_ANSWER_SECONDS)
        return str(answer["text"])


def remote(model: str, quantization: QuantizationName = "none", revision: str | None = None) -> RemoteModel:
    """Return a handle on a model of the running server, which `owner/name`, or the id of its row, names.

    `revision` is a branch, tag or commit (its first letters are enough); otherwise the newest that is ready. The server
    is that of MODELYARD_SERVER, else this machine's. Raises ModelNotFound, NotReady, ServerUnreachable.
    """
    from modelyard.client.api_client import ApiClient
    from modelyard.client.settings import load_settings

    settings = load_settings()
    key = settings.api_key.get_secret_value() if settings.api_key else None
    client = ApiClient(settings.server or _server_url(), key)
    with _hints():
        rows = [row for row in client.models()["items"] if model in (row["id"], row["model_id"], row["canonical_id"])]
        found = [
            row
            for row in rows
            if model == row["id"]
            or (
                row["quantization"] == quantization
                and (revision is None or row["revision"] == revision or row["commit"].startswith(revision))
            )
        ]
        if not found:
            raise ModelNotFound(
                f"The server at {client.url} has no {model} in this precision and revision.",
                hint=f"`modelyard pull {model}` gets it.",
            )
        ready = next((row for row in found if row["status"] == "ready"), None)
        if ready is None:
            raise NotReady(f"{model} is {found[0]['status']}.", hint="Wait until it is ready.")
        return RemoteModel(client, ready)


def activations(
    model: str,
    hook_points: Sequence[str],
    *,
    quantization: QuantizationName = "none",
    revision: str | None = None,
    **request: Any,
) -> Activations:
    """Return what hook points of the server's model give: `remote(model, …).activations(hook_points, …)`."""
    return remote(model, quantization, revision).activations(hook_points, **request)


def open_activations(folder: str | Path) -> Activations:
    """Return the activations in a folder that the server has written, mapped into memory. Raises InvalidRequest."""
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = [each["name"] for each in manifest["files"] if each["name"].startswith("activations-")]
        names = [each["name"] for each in manifest["hook_points"]]
    except (OSError, ValueError, KeyError) as error:
        raise InvalidRequest(f"{folder} holds no complete activations.", hint="Wait until they are written.") from error
    mapped = [load_file(folder / name) for name in sorted(files)]  # a private map: writing never reaches the file
    tensors = {name: [shard[name] for shard in mapped] for name in names}
    return Activations(tensors, load_file(folder / "index.safetensors"), folder, manifest)


def _answered(answer: Mapping[str, Any]) -> Activations:
    import torch

    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    tensors = {
        name: [
            torch.frombuffer(bytearray(base64.b64decode(each["data"])), dtype=dtypes[each["dtype"]]).view(each["shape"])
        ]
        for name, each in answer["tensors"].items()
    }
    index = {
        name: torch.tensor([token[field] for token in answer["tokens"]], dtype=torch.int32)
        for name, field in (("row", "row"), ("position", "position"), ("token_id", "id"))
    }
    return Activations(tensors, index)


def _plain(interventions: Sequence[Intervention]) -> list[dict[str, Any]]:
    """Return interventions as JSON; a vector may be a tensor or an array."""
    plain = []
    for each in interventions:
        vector: Any = each.get("vector")
        listed = vector.tolist() if hasattr(vector, "tolist") else vector
        plain.append(dict(each) | ({} if vector is None else {"vector": listed}))
    return plain


@contextmanager
def _hints() -> Iterator[None]:
    """Show the hint of an error in its traceback."""
    try:
        yield
    except ModelyardError as error:
        if error.hint:
            error.add_note(error.hint)
        raise


def _server_url() -> str:
    """Return where this instance's server says it is."""
    from modelyard.client.offline import database_exists, open_database
    from modelyard.client.settings import load_settings
    from modelyard.services.settings_service import SettingsService

    if not database_exists():
        return load_settings().local_url
    database = open_database()
    try:
        with database.reading() as session:
            return SettingsService(session).server_url()
    finally:
        database.dispose()
