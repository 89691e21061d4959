"""Interventions of a request, as models take them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.schemas.interventions import InterventionSpec

if TYPE_CHECKING:
    from modelyard.ml.hooks.interventions import Intervention


def read_interventions(given: Sequence[InterventionSpec], rules: dict[str, Any]) -> "list[Intervention]":
    """Return interventions as models take them. Raises PathNotAllowed, InvalidRequest for the path of a vector."""
    from modelyard.ml.hooks.interventions import Intervention

    allowed = PathRules.of(get_settings(), rules) if given else None
    return [
        Intervention(
            hook_point=each.hook_point,
            op=each.op,
            vector=each.vector,
            vector_path=(
                allowed.find_file(Path(each.vector_path)).real if allowed and each.vector_path is not None else None
            ),
            value=each.value,
            positions=each.positions,
        )
        for each in given
    ]
