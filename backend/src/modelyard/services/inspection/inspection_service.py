"""Exact answers about a model's configuration, found by the inspector once per commit and then remembered."""

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import modelyard
from modelyard.core.database import Database, insert
from modelyard.core.errors import ExtraMissing, ModelyardError
from modelyard.core.extras import Extra, installed_version, require
from modelyard.core.start_process import given_channel
from modelyard.models import Inspection
from modelyard.services.facts.parameter_count import Described

if TYPE_CHECKING:
    from modelyard.ml.inspect.inspector import Inspector

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 60.0
IDLE_SECONDS = 20.0
"""An inspector that is forked is kept for so long after a question; it holds 45 MB of its own, and starts in 0.1 s."""

Kind = Literal["support", "memory", "kv_cache", "activations", "architecture"]
PASSING = ("inspector_timeout", "inspector_busy", "inspector_crashed", "internal_error")
"""Errors after which the same question may be answered later."""

NOT_ABOUT_THE_MODEL = (*PASSING, ExtraMissing.code)

UNANSWERED = ("inspector_timeout", "inspector_busy")
"""Errors of questions for which there was no time; they are asked again when there is."""

LATE_ANSWER_SECONDS = 120.0
"""How long the inspector may take for a question that nobody waits for any more."""

MOST_UNANSWERED = 64


class InspectionFailed(ModelyardError):
    """The inspector gave no answer; `code` of the instance is what it said."""

    def __init__(self, code: str, message: str, hint: str | None) -> None:
        super().__init__(message, hint=hint)
        self.reason_code = code

    @property
    def passing(self) -> bool:
        """Return whether the same question may be answered later."""
        return self.reason_code in PASSING

    @property
    def is_about_the_model(self) -> bool:
        """Return whether the failure says something about the model, and not about this installation."""
        return self.reason_code not in NOT_ABOUT_THE_MODEL


@dataclass(frozen=True)
class _Question:
    kind: Kind
    model_id: str
    commit: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model_id, self.commit, _question(self.kind, self.options)


class _Unanswered:
    """Questions of this process for which there was no time, newest last; the oldest of too many are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._questions: OrderedDict[tuple[str, str, str], _Question] = OrderedDict()

    def add(self, question: _Question) -> None:
        with self._lock:
            self._questions[question.key] = question
            self._questions.move_to_end(question.key)
            while len(self._questions) > MOST_UNANSWERED:
                self._questions.popitem(last=False)

    def newest(self) -> _Question | None:
        with self._lock:
            return next(reversed(self._questions.values()), None)

    def remove(self, question: _Question) -> None:
        with self._lock:
            self._questions.pop(question.key, None)


_unanswered = _Unanswered()


class InspectionService:
    """Asks the inspector of this process; thread-safe."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def ask(
        self, kind: Kind, model_id: str, commit: str, config: Mapping[str, Any], *, seconds: float, **options: Any
    ) -> dict[str, Any]:
        """Return the answer as JSON, from the database if it is there.

        Raises InspectionFailed, also for a remembered no.
        """
        question = _question(kind, options)
        answer = self.recall(model_id, commit, question)
        if answer is None:
            answer = _inspect(kind, config, seconds, options)
            code = answer.get("error", {}).get("code")
            if code not in NOT_ABOUT_THE_MODEL:
                self._remember_answer(kind, model_id, commit, question, answer)
            if code in UNANSWERED:
                _unanswered.add(_Question(kind, model_id, commit, config, options))
        if "error" in answer:
            error = answer["error"]
            raise InspectionFailed(error["code"], error["message"], error["hint"])
        return answer

    def is_known(self, kind: Kind, model_id: str, commit: str, **options: Any) -> bool:
        """Return whether `ask` would answer from the database."""
        return self.recall(model_id, commit, _question(kind, options)) is not None

    def answer_late(self) -> bool:
        """Ask again a question for which there was no time, giving way to others; whether there may be more to do.

        What takes longer than LATE_ANSWER_SECONDS is given up.
        """
        question = _unanswered.newest()
        if question is None:
            return False
        if self.recall(*question.key) is None:
            answer = _inspect(question.kind, question.config, LATE_ANSWER_SECONDS, question.options, gives_way=True)
            code = answer.get("error", {}).get("code")
            if code == "inspector_busy":
                return False
            if code not in NOT_ABOUT_THE_MODEL:
                self._remember_answer(question.kind, *question.key, answer)
        _unanswered.remove(question)
        return True

    def described(self, model_id: str, commit: str) -> Described | None:
        """Return what the configuration describes, if any answer told it yet."""
        known = self.recall(model_id, commit, _described_question())
        return None if known is None else Described.of(known)

    def _remember_answer(self, kind: Kind, model_id: str, commit: str, question: str, answer: dict[str, Any]) -> None:
        self.remember(model_id, commit, question, answer)
        if kind in ("support", "memory") and answer.get("num_parameters") is not None:
            told = {name: answer.get(name, default) for name, default in _DESCRIBED.items()}
            self.remember(model_id, commit, _described_question(), told)

    def recall(self, model_id: str, commit: str, question: str) -> dict[str, Any] | None:
        with self.database.reading() as session:
            row = session.get(Inspection, (model_id, commit, question))
            return None if row is None else row.answer

    def remember(self, model_id: str, commit: str, question: str, answer: dict[str, Any]) -> None:
        # Others ask the same at the same moment: a request, and the estimates of models that have just become ready.
        with self.database.session() as session:
            row = insert(session, Inspection).values(model_id=model_id, commit=commit, question=question, answer=answer)
            session.execute(
                row.on_conflict_do_update(
                    index_elements=["model_id", "commit", "question"], set_={"answer": row.excluded.answer}
                )
            )


@lru_cache
def get_inspector() -> "Inspector":
    """Return the inspector of this process. Its module imports no torch; only its child does. Raises ExtraMissing."""
    from modelyard.ml.inspect.inspector import Inspector

    require(Extra.TORCH)
    return Inspector(idle_seconds=IDLE_SECONDS if given_channel() else None)


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


def _inspect(
    kind: Kind, config: Mapping[str, Any], seconds: float, options: Mapping[str, Any], **manner: bool
) -> dict[str, Any]:
    try:
        return get_inspector().inspect(kind, config, timeout=max(seconds, 0.1), **manner, **options)
    except ModelyardError as error:
        return {"error": error.as_dict()}


def _question(kind: Kind, options: Mapping[str, Any]) -> str:
    written = " ".join(f"{name}={json.dumps(value)}" for name, value in sorted(options.items()) if name != "files")
    return f"{kind} {written} {library_versions()}"


_DESCRIBED: dict[str, Any] = {"num_parameters": None, "tied": [], "ignored": []}


def _described_question() -> str:
    return f"described {library_versions()}"


@lru_cache
def library_versions() -> str:
    libraries = " ".join(f"{name}-{installed_version(name) or 'none'}" for name in ("transformers", "bitsandbytes"))
    return f"modelyard-{modelyard.__version__} {libraries}"
