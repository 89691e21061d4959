"""The GGUF files of one commit of a repository on a Hub, told by their headers, which are read by Range requests."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import partial

from modelyard.core.errors import HubMisbehaved, ModelyardError
from modelyard.core.gguf_header import GgufHeader, read_header
from modelyard.hub.model_info import HubFile
from modelyard.hub.names import RemoteFile
from modelyard.schemas.download import GgufFile
from modelyard.services.facts.gguf_files import DOCUMENTS, GgufChoice, GgufFacts, choose, gguf_choices
from modelyard.services.inspection.hub_repository import HubRepository, remote_file

LIST_SECONDS = 4.0
"""How long a preview waits for headers it has not seen; those that come later are there the next time."""
LISTED_AT_ONCE = 16
"""Headers that one preview asks for: each has some megabytes."""
READERS = 4

logger = logging.getLogger(__name__)


class HubGguf:
    """Reads each header once and remembers what it says."""

    def __init__(self, repository: HubRepository) -> None:
        self._repository = repository
        self._files = {file.path: file for file in repository.model.files}

    def choose(self, path: str) -> GgufChoice:
        """Raises InvalidRequest, NoWeights."""
        return choose(self._files, path, self._repository.model.model_id)

    def facts(self, choice: GgufChoice) -> GgufFacts:
        """Return what the headers say. Raises NoWeights, HubError."""
        question = f"gguf {choice.path}"
        known = self._repository.recall(question)
        if known is not None:
            return GgufFacts.from_stored(known)
        found = GgufFacts.of([self._header(path) for path in choice.paths])
        self._repository.remember(question, found.stored())
        return found

    def require_readable(self, choice: GgufChoice) -> GgufFacts:
        """Return the same. Raises UnsupportedArchitecture, NoTokenizer, NoWeights, HubError."""
        facts = self.facts(choice)
        problem = facts.problem(f"{choice.path} of {self._repository.model.model_id}")
        if problem is not None:
            raise problem
        return facts

    def files(self, choice: GgufChoice) -> list[RemoteFile]:
        """Return what a download fetches: the parts, and documents. Raises HubMisbehaved."""
        wanted = [file for file in self._repository.model.files if self._is_wanted(file, choice)]
        return [remote_file(file) for file in wanted]

    def listed(self, *, readable: bool) -> list[GgufFile]:
        """Return every choice, with what its header says as far as that is known within LIST_SECONDS.

        Nothing is read where files are not `readable`.
        """
        choices = gguf_choices(self._files)
        if not readable or not choices:
            return [self._row(choice, None) for choice in choices]
        pool = ThreadPoolExecutor(READERS)
        asked = {
            choice.path: pool.submit(copy_context().run, self._told, choice)
            for choice in [*self._unknown(choices)][:LISTED_AT_ONCE]
        }
        wait(asked.values(), LIST_SECONDS)
        pool.shutdown(wait=False, cancel_futures=True)
        rows = []
        for choice in choices:
            future = asked.get(choice.path)
            if future is None:
                rows.append(self._row(choice, self._known(choice)))
            else:
                rows.append(self._row(choice, future.result() if future.done() and not future.cancelled() else None))
        return rows

    def _unknown(self, choices: Sequence[GgufChoice]) -> list[GgufChoice]:
        return [choice for choice in choices if choice.problem is None and self._known(choice) is None]

    def _known(self, choice: GgufChoice) -> GgufFacts | None:
        known = self._repository.recall(f"gguf {choice.path}")
        return None if known is None else GgufFacts.from_stored(known)

    def _told(self, choice: GgufChoice) -> GgufFacts | ModelyardError:
        try:
            return self.facts(choice)
        except ModelyardError as error:
            logger.info("%s of %s: %s", choice.path, self._repository.model.model_id, error.message)
            return error

    def _row(self, choice: GgufChoice, told: GgufFacts | ModelyardError | None) -> GgufFile:
        sizes = [self._files[path].size_bytes for path in choice.paths if path in self._files]
        facts = told if isinstance(told, GgufFacts) else None
        problem = told if isinstance(told, ModelyardError) else facts and facts.problem(choice.path)
        return GgufFile(
            path=choice.path,
            size_bytes=sum(size or 0 for size in sizes),
            quantization_type=facts and facts.quantization_type,
            weights_bytes=facts and facts.weights_bytes,
            num_parameters=facts and facts.num_parameters,
            dtype=facts and facts.dtype,
            architecture=facts and facts.architecture,
            context_length=facts and facts.context_length,
            has_chat_template=facts and facts.has_chat_template,
            problem=choice.problem or (problem.message if problem else None),
        )

    def _header(self, path: str) -> GgufHeader:
        model, size_bytes = self._repository.model, self._files[path].size_bytes
        if size_bytes is None:
            raise HubMisbehaved(f"The Hub names no size for {path!r}.")
        read = partial(self._repository.client.read_range, model.model_id, model.commit, path)
        return read_header(read, size_bytes, path, model.model_id)

    def _is_wanted(self, file: HubFile, choice: GgufChoice) -> bool:
        return file.path in choice.paths or DOCUMENTS.fullmatch(file.path) is not None
