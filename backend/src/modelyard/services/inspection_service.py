"""Exact answers about a model's configuration, found by the inspector once per commit and then remembered."""

import importlib.metadata
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import modelyard
from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError
from modelyard.models import Inspection

if TYPE_CHECKING:
    from modelyard.ml.inspector import Inspector

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 60.0
Kind = Literal["support", "memory", "kv_cache", "activations", "architecture"]
PASSING = ("inspector_timeout", "inspector_busy", "inspector_crashed", "internal_error")
"""Errors that say nothing about the model."""


class InspectionFailed(ModelyardError):
    """The inspector gave no answer; `code` of the instance is what it said."""

    def __init__(self, code: str, message: str, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.reason_code = code


class InspectionService:
    """Asks the inspector of this process; thread-safe."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ask(
        self, kind: Kind, model_id: str, commit: str, config: Mapping[str, Any], *, seconds: float, **options: Any
    ) -> dict[str, Any]:
        """The answer as JSON, from the database if it is there. Raises InspectionFailed, also for a remembered no."""
        question = _question(kind, options)
        answer = self.recall(model_id, commit, question)
        if answer is None:
            answer = _inspect(kind, config, seconds, options)
            if answer.get("error", {}).get("code") not in PASSING:
                self.remember(model_id, commit, question, answer)
        if "error" in answer:
            error = answer["error"]
            raise InspectionFailed(error["code"], error["message"], error["hint"])
        return answer

    def recall(self, model_id: str, commit: str, question: str) -> dict[str, Any] | None:
        with self.database.reading() as session:
            row = session.get(Inspection, (model_id, commit, question))
            return None if row is None else row.answer

    def remember(self, model_id: str, commit: str, question: str, answer: dict[str, Any]) -> None:
        with self.database.session() as session:
            session.merge(Inspection(model_id=model_id, commit=commit, question=question, answer=answer))


@lru_cache
def get_inspector() -> "Inspector":
    """The inspector of this process. Its module imports no torch; only its child does."""
    from modelyard.ml.inspector import Inspector

    return Inspector()


def close_inspector() -> None:
    if get_inspector.cache_info().currsize:
        get_inspector().close()
        get_inspector.cache_clear()


def warm_up_inspector() -> None:
    """Start the child, so that nobody's first question waits for its imports. Blocks for as long as these take."""
    try:
        get_inspector().inspect("warm_up", {}, timeout=WARM_UP_SECONDS)
    except ModelyardError as error:
        # The first question will start it, or meet the same error with somebody there to read it.
        logger.info("The inspector is not warm: %s", error)


def _inspect(kind: Kind, config: Mapping[str, Any], seconds: float, options: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return get_inspector().inspect(kind, config, timeout=max(seconds, 0.1), **options)
    except ModelyardError as error:
        return {"error": error.as_dict()}


def _question(kind: Kind, options: Mapping[str, Any]) -> str:
    written = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(options.items()) if name != "files")
    return f"{kind} {written} {library_versions()}"


@lru_cache
def library_versions() -> str:
    libraries = " ".join(f"{name}-{importlib.metadata.version(name)}" for name in ("transformers", "bitsandbytes"))
    return f"modelyard-{modelyard.__version__} {libraries}"
