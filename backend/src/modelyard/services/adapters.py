"""Adapters and the models that they change: which row an adapter works with, and what is said where there is none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session, aliased, defer

from modelyard.core.database import utc_now
from modelyard.core.errors import BaseMissing, InvalidRequest, NotReady
from modelyard.models import Model, ModelKind, ModelStatus, Quantization
from modelyard.schemas.model import AdapterFacts
from modelyard.services.versions import choice_time


def base_for(session: Session, adapter: Model) -> Model:
    """Return the ready row that an adapter works with: in full precision if there is one, otherwise the newest.

    Raises BaseMissing, NotReady while the base is on its way, and InvalidRequest for a row that is no adapter.
    """
    if adapter.kind is not ModelKind.ADAPTER:
        raise InvalidRequest(
            f"{adapter.model_id} is not an adapter.", hint="Name an adapter; `modelyard ls` shows them."
        )
    rows = _bases(session, facts_of(adapter))
    base = _best(row for row in rows if fits(adapter, row))
    if base is not None:
        return base
    coming = next((row for row in rows if is_coming(row)), None)
    if coming is not None:
        raise NotReady(f"{coming.model_id}, which {adapter.model_id} changes, is {coming.status}.")
    raise base_missing(adapter.model_id, facts_of(adapter))


def fits(adapter: Model, base: Model) -> bool:
    """Return whether an adapter works with a row: a ready one of the model and revision that it was made for."""
    return base.status is ModelStatus.READY and adapter.kind is ModelKind.ADAPTER and is_base(facts_of(adapter), base)


def is_base(facts: AdapterFacts, row: Model) -> bool:
    """Return whether a row, ready or not, is of the model and revision that an adapter was made for."""
    revision = facts.base_revision
    return (
        row.kind is ModelKind.MODEL
        and facts.base_model in (row.model_id, row.canonical_id)
        and (revision is None or revision in (row.revision, row.commit))
    )


def is_coming(row: Model) -> bool:
    """Return whether a row is ready or will be without a new request."""
    return row.status not in (ModelStatus.FAILED, ModelStatus.CANCELLED, ModelStatus.MISSING, ModelStatus.DELETING)


def facts_of(adapter: Model) -> AdapterFacts:
    """Return what is stored of an adapter."""
    return AdapterFacts.model_validate(adapter.adapter)


def base_missing(name: str, facts: AdapterFacts) -> BaseMissing:
    at = f"@{facts.base_revision}" if facts.base_revision else ""
    return BaseMissing(
        f"{name} changes {facts.base_model}{at}, which is not here.",
        hint=f"Fetch it: modelyard pull {facts.base_model}{at}. Or send with_base=true (--with-base) with the adapter.",
        base_model=facts.base_model,
        base_revision=facts.base_revision,
    )


def find_base(session: Session, facts: AdapterFacts) -> Model | None:
    """Return the row that is named as an adapter's base: unquantized if there is one, otherwise the newest."""
    return _best(row for row in _bases(session, facts) if row.status is not ModelStatus.DELETING)


def coming_base(session: Session, facts: AdapterFacts) -> Model | None:
    """Return the row that an adapter will work with once it is ready, if nothing is to be fetched for that."""
    return _best(row for row in _bases(session, facts) if is_coming(row))


def note_adapter(session: Session, row: Model, facts: AdapterFacts) -> None:
    """Write down that a row is an adapter, and name its base; never commits."""
    row.kind, row.adapter = ModelKind.ADAPTER, facts.model_dump()
    base = find_base(session, facts)
    row.base_id = None if base is None else base.id


def link_adapters(session: Session, base: Model) -> None:
    """Name the base of each adapter of a model anew, of which a row came or goes; never commits."""
    for adapter in _adapters_for(session, base):
        found = find_base(session, facts_of(adapter))
        adapter.base_id = None if found is None else found.id


def touch_adapters(session: Session, base: Model) -> None:
    """Have pages told of the adapters of a row anew: what they say of themselves depends on it."""
    session.execute(update(Model).where(Model.base_id == base.id).values(updated_at=utc_now()))


@dataclass(frozen=True)
class AdapterUse:
    """A row of an adapter, and the rows that it can work with, or could once they are ready."""

    id: str
    name: str
    bases: frozenset[str]


def adapters_of(session: Session, base: Model) -> list[AdapterUse]:
    """Return the adapters that are made for a row, by name."""
    linked = aliased(Model)
    adapters = session.scalars(
        select(Model)
        .options(defer(Model.files))
        .join(linked, Model.base_id == linked.id)
        .where(linked.model_id == base.model_id)
        .order_by(Model.model_id, Model.id)
    ).all()
    uses = []
    for adapter in adapters:
        facts = facts_of(adapter)
        if is_base(facts, base):
            rows = frozenset(row.id for row in _bases(session, facts) if is_coming(row))
            uses.append(AdapterUse(adapter.id, adapter.model_id, rows | {base.id}))
    return uses


def _adapters_for(session: Session, base: Model) -> Sequence[Model]:
    """Return every row of an adapter that names the repository of a row as its base."""
    named = Model.adapter["base_model"].as_string().in_((base.model_id, base.canonical_id))
    return session.scalars(
        select(Model)
        .options(defer(Model.files))
        .where(Model.kind == ModelKind.ADAPTER, named)
        .order_by(Model.model_id, Model.id)
    ).all()


def _bases(session: Session, facts: AdapterFacts) -> Sequence[Model]:
    """Return every row of an adapter's base, what was chosen last first."""
    name = facts.base_model
    rows = session.scalars(
        select(Model)
        .where(or_(Model.model_id == name, Model.canonical_id == name))
        .order_by(choice_time().desc(), Model.id)
        .execution_options(populate_existing=True)
    ).all()
    return [row for row in rows if is_base(facts, row)]


def _best(rows: Iterable[Model]) -> Model | None:
    found = list(rows)
    full = (row for row in found if row.quantization is Quantization.NONE)
    return next(full, next(iter(found), None))
