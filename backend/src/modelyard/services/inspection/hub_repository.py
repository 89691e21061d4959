"""One commit of a repository on a Hub, read without its weights: each small file and header once, then remembered."""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from huggingface_hub.utils import SafetensorsFileMetadata

from modelyard.core.adapters import (
    ADAPTER_CONFIG,
    Adapter,
    AdapterConfig,
    check_adapter_weights,
    parse_adapter_config,
)
from modelyard.core.errors import (
    GatedNotAccepted,
    GatedNoToken,
    HubError,
    HubMisbehaved,
    InvalidRepository,
    NoWeights,
)
from modelyard.core.repository_json import parse_config, require_readable_size
from modelyard.core.safetensors_header import QUANTIZATION_FILE, unscaled_message, unscaled_tensor
from modelyard.core.weight_files import MAX_INDEX_BYTES, Index, index_to_read, parse_index
from modelyard.hub.cache.hashing import content_hasher
from modelyard.hub.client import HubClient
from modelyard.hub.model_info import HubFile, HubModel
from modelyard.hub.names import RemoteFile, validate_files
from modelyard.services.facts.config_facts import read_config
from modelyard.services.facts.file_plan import FilePlan, plan_files
from modelyard.services.facts.header_estimate import DTYPE_NAMES, Tensor
from modelyard.services.facts.model_facts import tensors
from modelyard.services.facts.parameter_count import Described, count_parameters, parameter_count
from modelyard.services.facts.stored_tensors import same_content
from modelyard.services.inspection.inspection_service import InspectionService

logger = logging.getLogger(__name__)


class HubRepository:
    """What a Hub tells of one commit. No database transaction is open while it is asked; every method may raise
    HubError.
    """

    def __init__(self, client: HubClient, model: HubModel, inspections: InspectionService) -> None:
        self.client, self.model = client, model
        self._inspections = inspections

    @property
    def file_names(self) -> list[str]:
        return [file.path for file in self.model.files]

    def require_access(self) -> None:
        """Raise GatedNoToken or GatedNotAccepted unless its files may be read."""
        access = self.client.access(self.model)
        page = f"{self.client.endpoint}/{self.model.canonical_id}"
        if access in ("no_token", "token_invalid"):
            raise GatedNoToken(f"{self.model.model_id} is gated and there is no valid Hub token.", url=page)
        if access == "needs_acceptance":
            raise GatedNotAccepted(f"{self.model.model_id} is gated and its terms are not accepted yet.", url=page)

    def config(self) -> dict[str, Any] | None:
        """Return its `config.json`; None without one. Raises InvalidRepository."""
        listed = self._listed("config.json")
        if listed is None:
            return None
        known = self.recall("config text")
        if known is not None:
            return parse_config(known["text"].encode(), self.model.model_id)
        require_readable_size(listed.size_bytes or 0, listed.path, self.model.model_id)
        content = self.client.read_small_file(self.model.model_id, self.model.commit, "config.json")
        if content is None:
            return None
        try:
            config = parse_config(content, self.model.model_id)
        except InvalidRepository:
            _require_listed_content(listed, content)
            raise
        # As text: the JSON of a database has no Infinity, which some configurations hold.
        self.remember("config text", {"text": json.dumps(config)})
        return config

    def adapter(self, plan: FilePlan) -> Adapter:
        """Return what an adapter's configuration and header say. Raises UnsupportedAdapter, InvalidRepository."""
        config = self.adapter_config()
        found = ((tensor.name, tensor.dtype, tensor.shape) for tensor in self.tensors(plan))
        return Adapter(config, check_adapter_weights(config, found, self.model.model_id))

    def adapter_config(self) -> AdapterConfig:
        """Return what the configuration of an adapter says. Raises UnsupportedAdapter, InvalidRepository."""
        known = self.recall("adapter config text")
        if known is not None:
            return parse_adapter_config(known["text"].encode(), self.model.model_id)
        listed = next(file for file in self.model.files if file.path == ADAPTER_CONFIG)
        require_readable_size(listed.size_bytes or 0, listed.path, self.model.model_id)
        content = self.client.read_small_file(self.model.model_id, self.model.commit, ADAPTER_CONFIG)
        if content is None:
            raise HubMisbehaved(f"The Hub lists {ADAPTER_CONFIG} of {self.model.model_id}, but does not have it.")
        try:
            config = parse_adapter_config(content, self.model.model_id)
        except InvalidRepository:
            _require_listed_content(listed, content)
            raise
        self.remember("adapter config text", {"text": content.decode("utf-8-sig")})
        return config

    def plan(self, *, allow_pickle: bool) -> FilePlan:
        """Return which files a download fetches."""
        return plan_files(self.model.files, allow_pickle=allow_pickle, index=self._index())

    def to_fetch(self, *, allow_pickle: bool) -> tuple[FilePlan, list[RemoteFile]]:
        """Return the plan of a download and the files that it fetches.

        Raises NoWeights, UnsafeWeights, HubMisbehaved, and InvalidRepository for names that no disk can hold.
        """
        plan = self.plan(allow_pickle=allow_pickle)
        plan.require_weights(self.model.model_id, allow_pickle=allow_pickle)
        files = remote_files(plan)
        validate_files(files)
        return plan, files

    def offered(self, *, readable: bool = True) -> FilePlan:
        """Return the files a download would fetch, where the only weights are pickle with the consent it needs.

        The index is left out where files are not `readable`.
        """
        return plan_files(self.model.files, allow_pickle=True, index=self._index() if readable else None)

    def tensors(self, plan: FilePlan) -> list[Tensor]:
        """Return name, dtype and shape of every tensor, read from the weight files' headers."""
        known = self.recall("tensors")
        if known is None:
            found = tensors(self._headers(plan).values())
            self.remember("tensors", {"tensors": [[t.name, t.dtype, t.shape] for t in found]})
            return found
        return [Tensor(name, dtype, tuple(shape)) for name, dtype, shape in known["tensors"]]

    def unscaled(self, plan: FilePlan, config: Mapping[str, Any]) -> str | None:
        """Return what shows that the weights are quantized while the configuration does not say so, or None."""
        if read_config(config).quantization_method is not None:
            return None
        if QUANTIZATION_FILE in self.file_names:
            return QUANTIZATION_FILE
        dtypes = self.model.parameters_by_dtype
        if dtypes and all(dtype in DTYPE_NAMES for dtype in dtypes):
            return None
        return unscaled_tensor((tensor.name, tensor.dtype) for tensor in self.tensors(plan))

    def require_scaled(self, plan: FilePlan, config: Mapping[str, Any]) -> None:
        """Raise NoWeights where transformers would load wrong weights."""
        unscaled = self.unscaled(plan, config)
        if unscaled is not None:
            raise NoWeights(f"{self.model.model_id}: {unscaled_message(unscaled)}")

    def num_parameters(self, plan: FilePlan, counted: int | None = None) -> int | None:
        """Return the number of parameters of a model, as far as it is known now; `counted` is as in `count`.

        Raises NoWeights where transformers would load wrong weights, InvalidRepository.
        """
        config = self.config() or {}
        self.require_scaled(plan, config)
        described = self._inspections.described(self.model.model_id, self.model.commit)
        return self.count(plan, config, described, counted)

    def count(
        self, plan: FilePlan, config: Mapping[str, Any], described: Described | None, counted: int | None
    ) -> int | None:
        """Return the number of parameters; `counted` are the elements of the weight files, where the Hub says."""
        packed = read_config(config).quantization_method is not None
        if not packed and counted is not None and (described is None or counted == described.num_parameters):
            return counted
        found = [] if packed else self.tensors(plan)
        return parameter_count(config, found, described, partial(self.same, plan))

    def lacking(
        self, plan: FilePlan, config: Mapping[str, Any], described: Described | None, counted: int | None
    ) -> int:
        """Return how many of the described parameters the weight files lack; `counted` is as in `count`."""
        facts = read_config(config)
        if facts.quantization_method is not None or described is None or counted == described.num_parameters:
            return 0
        same = partial(self.same, plan)
        return count_parameters(described, self.tensors(plan), facts.dimensions["num_layers"], same).lacking

    def same(self, plan: FilePlan, first: str, second: str) -> bool | None:
        """Return whether two tensors have the same content; None where the Hub does not tell."""
        question = f"same {hashlib.sha256(f'{first} {second}'.encode()).hexdigest()}"
        known = self.recall(question)
        if known is None:
            try:
                read = partial(self.client.read_range, self.model.model_id, self.model.commit)
                known = {"same": same_content(self._headers(plan), read, first, second)}
            except HubError as error:
                logger.info("%s and %s of %s cannot be compared: %s", first, second, self.model.model_id, error.message)
                return None
            self.remember(question, known)
        return bool(known["same"])

    def _index(self) -> Index | None:
        """Return what the index says of the weight files; None without one."""
        name = index_to_read(self.file_names)
        if name is None:
            return None
        known = self.recall(name)
        if known is not None:
            return Index(tuple(known["shards"]), known["problem"])
        listed = next(file for file in self.model.files if file.path == name)
        try:
            require_readable_size(listed.size_bytes or 0, name, self.model.model_id, limit_bytes=MAX_INDEX_BYTES)
        except InvalidRepository as error:
            return Index(problem=error.message)
        content = self.client.read_small_file(self.model.model_id, self.model.commit, name, limit_bytes=MAX_INDEX_BYTES)
        if content is None:
            raise HubMisbehaved(f"The Hub lists {name} of {self.model.model_id}, but does not have it.")
        index = parse_index(content, name, self.model.model_id)
        if index.problem is not None:
            _require_listed_content(listed, content)
        self.remember(name, {"shards": list(index.shards), "problem": index.problem})
        return index

    def _listed(self, name: str) -> HubFile | None:
        return next((file for file in self.model.files if file.path == name), None)

    def _headers(self, plan: FilePlan) -> dict[str, SafetensorsFileMetadata]:
        paths = [file.path for file in plan.safetensors]
        headers = self.client.safetensors_headers(self.model.model_id, self.model.commit, paths)
        return dict(zip(paths, headers, strict=True))

    def recall(self, question: str) -> dict[str, Any] | None:
        """Return what was remembered of this commit under a name."""
        return self._inspections.recall(self.model.model_id, self.model.commit, question)

    def remember(self, question: str, answer: dict[str, Any]) -> None:
        self._inspections.remember(self.model.model_id, self.model.commit, question, answer)


def remote_files(plan: FilePlan) -> list[RemoteFile]:
    """Return the files of a plan that are fetched. Raises HubMisbehaved where a size or hash is missing."""
    return [remote_file(file) for file in plan.fetched]


def remote_file(file: HubFile) -> RemoteFile:
    """Raises HubMisbehaved where its size or hash is missing."""
    if file.size_bytes is None or (file.sha256 is None and file.git_sha1 is None):
        raise HubMisbehaved(f"The Hub names no size or hash for {file.path!r}.")
    return RemoteFile(file.path, file.size_bytes, file.sha256, file.git_sha1)


def _require_listed_content(file: HubFile, content: bytes) -> None:
    """Raise HubMisbehaved where a Hub sent something else than it lists, which is not the author's mistake."""
    if file.sha256 is None and file.git_sha1 is None:
        return
    remote = RemoteFile(file.path, len(content), file.sha256, file.git_sha1)
    hasher = content_hasher(remote)
    hasher.update(content)
    if hasher.hexdigest() != remote.blob:
        raise HubMisbehaved(f"The Hub sent another {file.path} than it lists.")
