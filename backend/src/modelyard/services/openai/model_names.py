"""The names of models under `/v1`: `owner/name[@revision][:8bit|:4bit]`, or the id of a row."""

import difflib
import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from modelyard.core.errors import InvalidRequest, ModelNotFound, NotReady, UnsupportedParameter
from modelyard.models import Model, ModelStatus, Quantization
from modelyard.services.model_service import ModelService

_NAME = re.compile(
    r"(?P<model_id>[^@:+\s]+)(?:@(?P<revision>[^:\s]+?))?(?::(?P<quantization>[^:+\s]+))?(?:\+(?P<adapter>[^:\s]+))?"
)
_PRECISIONS = {"8bit": Quantization.EIGHT_BIT, "4bit": Quantization.FOUR_BIT, None: Quantization.NONE}
_SHORTEST_COMMIT = 7
NEAREST = 3


@dataclass(frozen=True)
class ModelName:
    """What a name says; without a revision, the newest row of the repository in that precision is meant."""

    model_id: str
    revision: str | None
    quantization: Quantization

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Read a name. Raises InvalidRequest for what is none, UnsupportedParameter for a name with an adapter."""
        parts = _NAME.fullmatch(text)
        if parts is None or parts["quantization"] not in _PRECISIONS:
            raise InvalidRequest(
                f"{text!r} is not a model's name.",
                hint="Send owner/name[@revision][:8bit|:4bit], as in GET /v1/models, or the id of a row.",
                param="model",
            )
        if parts["adapter"] is not None:
            raise UnsupportedParameter(
                f"{text!r} names an adapter, which is not supported.",
                hint="Send the name without + and what follows it.",
                param="model",
            )
        return cls(parts["model_id"], parts["revision"], _PRECISIONS[parts["quantization"]])

    def means(self, row: Model) -> bool:
        """Return whether a row of the repository is of this revision and precision."""
        if row.quantization is not self.quantization:
            return False
        named = self.revision
        if named is None or named in (row.revision, row.commit):
            return True
        return len(named) >= _SHORTEST_COMMIT and row.commit.startswith(named)


def find_row(session: Session, text: str) -> Model:
    """Return the ready row that a name means, of several the newest.

    Raises InvalidRequest, UnsupportedParameter, ModelNotFound with the nearest names, and NotReady with the state of a
    model that is not ready yet.
    """
    rows = _meant(session, text)
    ready = next((row for row in rows if row.status is ModelStatus.READY), None)
    if ready is not None:
        return ready
    if rows:
        raise NotReady(f"{text} is {rows[0].status}.", param="model")
    raise ModelNotFound(
        f"There is no model {text!r} here.", hint=_hint(text, [name for _, name in named_rows(session)]), param="model"
    )


def _meant(session: Session, text: str) -> list[Model]:
    models = ModelService(session)
    if (row := models.find(text)) is not None:
        return [row]
    name = ModelName.parse(text)
    return [row for row in models.get_by_model_id(name.model_id) if name.means(row)]


def named_rows(session: Session) -> list[tuple[Model, str]]:
    """Return the ready rows with their names: the newest of a repository and precision goes without its commit."""
    ready = select(Model).options(defer(Model.files)).where(Model.status == ModelStatus.READY)
    taken: set[str] = set()
    named = []
    for row in session.scalars(ready.order_by(Model.created_at.desc(), Model.id)):
        name = full_name(row, with_commit=full_name(row) in taken)
        taken.add(name)
        named.append((row, name))
    return sorted(named, key=lambda each: each[1])


def full_name(row: Model, *, with_commit: bool = False) -> str:
    """Return a name of a row that `find_row` reads."""
    revision = f"@{row.commit}" if with_commit else ""
    precision = "" if row.quantization is Quantization.NONE else f":{row.quantization}"
    return f"{row.model_id}{revision}{precision}"


def _hint(text: str, known: list[str]) -> str:
    lowered = {name.lower(): name for name in known}
    if not lowered:
        return "No model is ready here yet; download one on the page or with modelyard pull."
    near = [lowered[name] for name in difflib.get_close_matches(text.lower(), lowered, NEAREST)]
    return f"The nearest names are {', '.join(near)}." if near else "GET /v1/models lists the models that are here."
