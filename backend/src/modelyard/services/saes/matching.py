"""Which installed models an SAE fits, and what differs from what it was trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from modelyard.models import Model, ModelKind, ModelStatus, Sae
from modelyard.schemas.sae import SaeWarning

_BLOCK = re.compile(r"(\.\d+|hook_resid_(pre|mid|post))\Z")
"""A place in the residual stream, whose width is that of the model."""
_ALIASES = {"gpt2-small": "gpt2"}
"""TransformerLens's names of models that are none on a Hub."""
_PRECISION = {"none": "full precision", "8bit": "8-bit", "4bit": "4-bit"}


@dataclass(frozen=True)
class Match:
    """Ids of the rows that an SAE can be used on, and what is to be said of it."""

    row_ids: list[str]
    warnings: list[SaeWarning]


class SaeMatching:
    """Compares SAEs with the models that are ready; never commits."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def of_all(self, saes: Sequence[Sae]) -> list[Match]:
        names = {_known_as(sae.model_id) for sae in saes if sae.model_id}
        rows = self._named(names) if names else []
        return [_match(sae, [row for row in rows if _is_meant(sae, row)]) for sae in saes]

    def rows_of(self, sae: Sae) -> list[str]:
        return self.of_all([sae])[0].row_ids

    def _named(self, names: set[str]) -> Sequence[Model]:
        conditions: list[ColumnElement[bool]] = []
        for name in names:
            full = (func.lower(Model.model_id), func.lower(Model.canonical_id))
            conditions += [column == name for column in full]
            if "/" not in name:
                conditions += [column.endswith(f"/{name}", autoescape=True) for column in full]
        return self.session.scalars(
            select(Model)
            .where(Model.status == ModelStatus.READY, Model.kind == ModelKind.MODEL, or_(*conditions))
            .order_by(Model.created_at)
        ).all()


def _known_as(model_id: str) -> str:
    name = model_id.lower()
    return _ALIASES.get(name, name)


def _is_meant(sae: Sae, row: Model) -> bool:
    name = _known_as(sae.model_id or "")
    known = (row.model_id.lower(), row.canonical_id.lower())
    return name in known or ("/" not in name and name in {each.rsplit("/", 1)[-1] for each in known})


def _match(sae: Sae, rows: Sequence[Model]) -> Match:
    warnings = _own_warnings(sae)
    fitting: list[str] = []
    for row in rows:
        if _is_of_other_width(sae, row):
            message = f"{row.model_id} is {row.hidden_size} wide, and this reads {sae.d_in} values per token."
            warnings.append(SaeWarning(code="width_mismatch", message=message, model_id=row.id))
            continue
        fitting.append(row.id)
        warnings += _differences(sae, row)
    if sae.model_id and not rows:
        warnings.append(SaeWarning(code="model_not_installed", message=f"{sae.model_id} is not installed."))
    return Match(fitting, warnings)


def _own_warnings(sae: Sae) -> list[SaeWarning]:
    found = []
    if sae.ready and sae.model_id is None:
        found.append(SaeWarning(code="unknown_model", message="Its files do not name the model it was trained on."))
    if sae.ready and sae.hook_point is None:
        found.append(SaeWarning(code="unknown_hook_point", message="Its files do not name a hook point."))
    if ".hook_" in (sae.hook_point or ""):
        message = "It was trained with TransformerLens, which may have changed the model's weights while loading it."
        found.append(SaeWarning(code="transformer_lens", message=message))
    return found


def _is_of_other_width(sae: Sae, row: Model) -> bool:
    is_residual = bool(_BLOCK.search(sae.hook_point or ""))
    return is_residual and None not in (sae.d_in, row.hidden_size) and sae.d_in != row.hidden_size


def _differences(sae: Sae, row: Model) -> list[SaeWarning]:
    found = []
    if sae.quantization is not None and sae.quantization != row.quantization.value:
        message = f"It was trained on {_PRECISION[sae.quantization]}; this copy is {_PRECISION[row.quantization]}."
        found.append(SaeWarning(code="other_precision", message=message, model_id=row.id))
    if sae.commit is not None and sae.commit not in (row.commit, row.hub_commit):
        message = f"It was trained on the commit {sae.commit[:8]}; installed is {row.commit[:8]}."
        found.append(SaeWarning(code="other_commit", message=message, model_id=row.id))
    return found
