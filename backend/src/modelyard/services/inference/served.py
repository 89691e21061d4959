"""What answers a request: a model, with an adapter or without one."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelyard.models import Model, ModelKind
from modelyard.services.adapters import base_for


@dataclass(frozen=True)
class Served:
    """The row of a model, whose manifest was read, and that of its adapter."""

    row: Model
    adapter: Model | None = None

    @classmethod
    def of(cls, session: Session, row: Model) -> "Served":
        """Return what a row stands for: of an adapter, it on its base. Raises BaseMissing, NotReady."""
        if row.kind is not ModelKind.ADAPTER:
            return cls(row)
        base = base_for(session, row)
        session.refresh(base, ["files"])  # it is used after the session
        return cls(base, row)

    @property
    def named(self) -> Model:
        """Return the row that was asked for."""
        return self.adapter or self.row

    @property
    def adapter_id(self) -> str | None:
        return None if self.adapter is None else self.adapter.id
