"""Names of hook points in a request: paths of modules, or what TransformerLens calls the same tensor."""

import difflib
import re
from collections.abc import Sequence

from modelyard.core.database import Database
from modelyard.core.errors import InvalidRequest
from modelyard.models import Model
from modelyard.services.architecture_service import ArchitectureService

_LENS_NAME = re.compile(r"blocks\.\d+\.(?:[a-z_]+\.)?hook_\w+|hook_\w+|ln_final\.hook_\w+")
_NEAREST = 3


def hook_paths(database: Database, row: Model, names: Sequence[str]) -> dict[str, str]:
    """Return the module's path of each name; whether there is such a module, the loaded model says.

    Raises InvalidRequest for a name of TransformerLens that no module's output is known to equal, and what
    `ArchitectureService.of_row` raises.
    """
    found = {name: name for name in names}
    asked = [name for name in names if _LENS_NAME.fullmatch(name)]
    if not asked:
        return found
    points = ArchitectureService(database).of_row(row.id).hook_points
    paths = {point.transformer_lens: point.path for point in points if point.transformer_lens is not None}
    for name in asked:
        if name not in paths:
            raise _unknown(name, list(paths), row)
        found[name] = paths[name]
    return found


def _unknown(name: str, known: Sequence[str], row: Model) -> InvalidRequest:
    message = f"{name!r} is not known to be a module's output of {row.model_id}."
    near = difflib.get_close_matches(name, known, _NEAREST, cutoff=0.0)
    return InvalidRequest(
        message,
        hint=f"The nearest are {', '.join(near)}." if near else "Use the names of modules of the architecture page.",
        errors=[{"field": "hook_points", "message": message}],
    )
