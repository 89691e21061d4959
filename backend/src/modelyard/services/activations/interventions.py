"""Interventions of a request on one model: paths of modules, and sparse autoencoders that fit it."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.core.database import Database
from modelyard.core.errors import InvalidRequest
from modelyard.core.extras import Extra, require
from modelyard.models import Model, Sae
from modelyard.schemas.interventions import InterventionSpec
from modelyard.services.activations.hook_names import hook_paths
from modelyard.services.saes.matching import SaeMatching
from modelyard.services.saes.placing import place_of
from modelyard.services.saes.sae_service import SaeService


@dataclass(frozen=True)
class Resolved:
    """Interventions whose hook points are paths, and what differs from what their SAEs were trained on."""

    interventions: list[InterventionSpec]
    warnings: list[str]


def resolve(database: Database, row: Model, given: Sequence[InterventionSpec]) -> Resolved:
    """Find the modules of a model that interventions are about, and their SAEs.

    Raises SaeEngineMissing, SaeNotFound, NotReady, InvalidRequest for an SAE that does not fit, TrainingIncompatible,
    and as `hook_paths` does.
    """
    paths = hook_paths(database, row, [each.hook_point for each in given if each.hook_point is not None])
    places: dict[str, str] = {}
    warnings: list[str] = []
    saes = {each.sae_id: None for each in given if each.sae_id is not None}
    if saes:
        require(Extra.SAE)
    with database.reading() as session:
        found = {sae_id: SaeService(session).get_ready(sae_id) for sae_id in saes}
        matches = dict(zip(found, SaeMatching(session).of_all(list(found.values())), strict=True))
    for sae_id, sae in found.items():
        if row.id not in matches[sae_id].row_ids:
            raise _refusal(
                f"{sae.name} does not fit {row.model_id}.",
                f"It was trained on {sae.model_id}." if sae.model_id else "Its files do not name its model.",
            )
        places[sae_id] = place_of(database, sae, row)
        warnings += [
            f"{sae.name}: {warning.message}"
            for warning in matches[sae_id].warnings
            if warning.model_id in (None, row.id)
        ]
    resolved = []
    for each in given:
        path = None if each.hook_point is None else paths[each.hook_point]
        if each.sae_id is not None:
            _check(each, found[each.sae_id], path, places[each.sae_id])
            path = places[each.sae_id]
        resolved.append(each.model_copy(update={"hook_point": path}))
    return Resolved(resolved, warnings)


def _check(given: InterventionSpec, sae: Sae, path: str | None, place: str) -> None:
    if path not in (None, place):
        raise _refusal(f"{sae.name} reads {place}, not {path}.", "Leave hook_point out.")
    if given.feature is not None and sae.d_sae is not None and given.feature >= sae.d_sae:
        raise _refusal(f"{sae.name} has no feature {given.feature}.", f"Its features are 0 to {sae.d_sae - 1}.")


def _refusal(message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(message, hint=hint, errors=[{"field": "interventions", "message": message}])
