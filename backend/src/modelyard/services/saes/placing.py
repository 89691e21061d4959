"""Where an SAE is used: on which installed model, and at which of its modules."""

import re

from sqlalchemy.orm import Session

from modelyard.core.database import Database
from modelyard.core.errors import InvalidRequest, NotReady
from modelyard.models import Model, Sae
from modelyard.services.model_service import ModelService
from modelyard.services.saes.matching import SaeMatching
from modelyard.services.training.compatibility import TrainingCompatibilityService
from modelyard.services.training.plan import hook_point
from modelyard.services.training.text import wrong_field

_TRANSFORMER_LENS = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|mlp_out|attn_out)")
_KINDS = {"resid_pre": "residual", "resid_post": "residual", "mlp_out": "mlp", "attn_out": "attention"}


def model_for(session: Session, sae: Sae, wanted: str | None = None) -> Model:
    """Choose the row to read with: the one asked for, or the one most like what the SAE was trained on.

    Raises NotReady where none is here, and InvalidRequest for one that the SAE does not fit.
    """
    models, fitting = ModelService(session), SaeMatching(session).rows_of(sae)
    if not fitting:
        name = sae.model_id or "The model that it was trained on"
        raise NotReady(
            f"{name} is not installed, and {sae.name} fits no other model.",
            hint=f"Fetch it: modelyard pull {sae.model_id}." if sae.model_id else "Import it with its metadata.",
        )
    if wanted is not None:
        if wanted not in fitting:
            raise wrong_field("model_id", "The sparse autoencoder does not fit this model.", "Leave model_id out.")
        return models.get_by_id(wanted)
    rows = [models.get_by_id(row_id) for row_id in fitting]
    return max(rows, key=lambda row: (row.commit == sae.commit, row.quantization.value == (sae.quantization or "none")))


def place_of(database: Database, sae: Sae, model: Model) -> str:
    """Return the path of the module whose output an SAE reads. Raises TrainingIncompatible, InvalidRequest."""
    verdict = TrainingCompatibilityService(database).of_row(model.id)
    named = sae.hook_point or ""
    if (found := _TRANSFORMER_LENS.fullmatch(named)) is not None:
        layer, place = int(found[1]), found[2]
        # What goes into a block is what comes out of the one before.
        layer -= place == "resid_pre"
        for point in verdict.hook_points:
            if (point.layer, point.kind) == (layer, _KINDS[place]):
                named = point.path
    point = hook_point(verdict, named)
    if point.width != sae.d_in:
        raise InvalidRequest(
            f"{point.path} of {model.model_id} puts out {point.width} values per token, and {sae.name} reads"
            f" {sae.d_in}.",
            hint="Use the model that it was trained on.",
        )
    return point.path
