"""The names of models under `/v1`: `owner/name[@revision][:8bit|:4bit][+owner/adapter]`, or the id of a row."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from modelyard.core.errors import Conflict, InvalidRequest, ModelNotFound, NotReady
from modelyard.core.model_ids import names_version
from modelyard.models import Model, ModelKind, ModelStatus, Quantization
from modelyard.services.adapters import facts_of, fits
from modelyard.services.inference.served import Served
from modelyard.services.model_service import ModelService
from modelyard.services.versions import choice_time

_NAME = re.compile(
    r"(?P<model_id>[^@:+\s]+)(?:@(?P<revision>[^:\s]+?))?(?::(?P<quantization>[^:+\s]+))?(?:\+(?P<adapter>[^@:+\s]+))?"
)
_PRECISIONS = {"8bit": Quantization.EIGHT_BIT, "4bit": Quantization.FOUR_BIT, None: Quantization.NONE}
NEAREST = 3


@dataclass(frozen=True)
class ModelName:
    """What a name says; without a revision, the row of the repository in that precision is meant that was
    chosen last."""

    model_id: str
    revision: str | None
    quantization: Quantization
    adapter: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Read a name. Raises InvalidRequest for what is none."""
        parts = _NAME.fullmatch(text)
        if parts is None or parts["quantization"] not in _PRECISIONS:
            raise InvalidRequest(
                f"{text!r} is not a model's name.",
                hint="Send owner/name[@revision][:8bit|:4bit][+owner/adapter], as in GET /v1/models, or a row's id.",
                param="model",
            )
        return cls(parts["model_id"], parts["revision"], _PRECISIONS[parts["quantization"]], parts["adapter"])

    def means(self, row: Model) -> bool:
        """Return whether a row of the repository is of this revision and precision."""
        if row.quantization is not self.quantization:
            return False
        return self.revision is None or names_version(self.revision, row.revision, row.commit)


def find_served(session: Session, text: str, adapter: str | None = None) -> Served:
    """Return the ready rows that a name means, of several what was chosen last.

    `adapter` is the name of one beside the model. An adapter's own name means it on its base. Raises InvalidRequest,
    ModelNotFound with the nearest names, NotReady with the state of a model that is not ready yet, BaseMissing, and
    Conflict for an adapter of another model.
    """
    param = "model" if adapter is None else "modelyard.adapter"
    found = ModelService(session).find(text)
    if found is not None:
        rows = [found]
    else:
        name = ModelName.parse(text)
        rows = [row for row in ModelService(session).get_by_model_id(name.model_id) if name.means(row)]
        if adapter is not None and name.adapter not in (None, adapter):
            raise InvalidRequest(f"{text!r} and modelyard.adapter name two adapters.", hint="Name one.", param=param)
        adapter = adapter or name.adapter
    row = _ready(session, rows, text, "model")
    if row.kind is ModelKind.ADAPTER:
        if adapter not in (None, row.id, row.model_id):
            raise InvalidRequest(f"{text!r} is an adapter; it takes no other.", hint="Name its base.", param=param)
        return Served.of(session, row)
    return Served(row, None if adapter is None else _adapter(session, row, adapter, param))


def _adapter(session: Session, base: Model, text: str, param: str) -> Model:
    """Return the ready adapter with a name, or an id, that fits a model."""
    models = ModelService(session)
    known = models.find(text)
    named = [known] if known else models.get_by_model_id(text)
    rows = [row for row in named if row.kind is ModelKind.ADAPTER]
    if named and not rows:
        raise InvalidRequest(f"{text} is a model, not an adapter.", hint="Name it as the model.", param=param)
    fitting = [row for row in rows if fits(row, base)]
    row = _ready(session, fitting or rows, text, param)
    if fitting:
        return row
    facts = facts_of(row)
    revision = f"@{facts.base_revision}" if facts.base_revision else ""
    raise Conflict(
        f"{text} is an adapter of {facts.base_model}{revision}, not of {base.model_id}.",
        hint="Send the adapter's own name: its base is found.",
        param=param,
    )


def _ready(session: Session, rows: Sequence[Model], text: str, param: str) -> Model:
    ready = next((row for row in rows if row.status is ModelStatus.READY), None)
    if ready is not None:
        return ready
    if rows:
        raise NotReady(f"{text} is {rows[0].status}.", param=param)
    served = served_names(session)
    known = {name for _, name in served} | {each.adapter.model_id for each, _ in served if each.adapter is not None}
    raise ModelNotFound(f"There is no model {text!r} here.", hint=_hint(text, sorted(known)), param=param)


def served_names(session: Session) -> list[tuple[Served, str]]:
    """Return what is ready with its names: models, and each adapter on every model that it fits."""
    named = named_rows(session)
    models = [(row, name) for row, name in named if row.kind is ModelKind.MODEL]
    served = [(Served(row), name) for row, name in models]
    for adapter, adapter_name in named:
        if adapter.kind is ModelKind.ADAPTER and "@" not in adapter_name:
            fitting = [(row, name) for row, name in models if fits(adapter, row)]
            served += [(Served(row, adapter), f"{name}+{adapter_name}") for row, name in fitting]
    return sorted(served, key=lambda each: each[1])


def named_rows(session: Session) -> list[tuple[Model, str]]:
    """Return the ready rows with their names; that of what was chosen last of a repository and precision is short."""
    ready = select(Model).options(defer(Model.files)).where(Model.status == ModelStatus.READY)
    taken: set[str] = set()
    named = []
    for row in session.scalars(ready.order_by(choice_time().desc(), Model.id)):
        name = full_name(row, with_commit=full_name(row) in taken)
        taken.add(name)
        named.append((row, name))
    return sorted(named, key=lambda each: each[1])


def full_name(row: Model, *, with_commit: bool = False) -> str:
    """Return a name of a row that `find_served` reads."""
    revision = f"@{row.commit}" if with_commit else ""
    precision = "" if row.quantization is Quantization.NONE else f":{row.quantization}"
    return f"{row.model_id}{revision}{precision}"


def _hint(text: str, known: list[str]) -> str:
    lowered = {name.lower(): name for name in known}
    if not lowered:
        return "No model is ready here yet; download one on the page or with modelyard pull."
    near = [lowered[name] for name in difflib.get_close_matches(text.lower(), lowered, NEAREST)]
    return f"The nearest names are {', '.join(near)}." if near else "GET /v1/models lists the models that are here."
