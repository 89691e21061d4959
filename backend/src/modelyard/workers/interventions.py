"""Interventions of a request, as models take them, and the SAEs they need."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.database import get_database
from modelyard.core.paths import PathRules
from modelyard.core.settings import get_settings
from modelyard.schemas.interventions import InterventionSpec
from modelyard.services.jobs.child_work import report_importing
from modelyard.services.jobs.control import JobReporter
from modelyard.services.jobs.kinds import LOADING_PHASE
from modelyard.services.saes.sae_folder import sae_folder
from modelyard.services.saes.sae_service import SaeService

if TYPE_CHECKING:
    from modelyard.ml.hooks.interventions import Intervention
    from modelyard.ml.sae.inference import LoadedSae


def loaded_sae(sae_id: str, reporter: JobReporter) -> "LoadedSae":
    """Load an SAE; the first one of this process takes seconds, which is reported.

    Raises SaeNotFound, NotReady, SaeEngineMissing, InvalidRepository.
    """
    with get_database().reading() as session:
        sae = SaeService(session).get_ready(sae_id)
    if "sae_lens" not in sys.modules:
        report_importing(reporter, LOADING_PHASE)
    from modelyard.ml.sae.inference import load_sae

    return load_sae(sae_folder(sae))


def read_interventions(
    given: Sequence[InterventionSpec], rules: dict[str, Any], reporter: JobReporter
) -> "list[Intervention]":
    """Return interventions as models take them, each SAE loaded once.

    Raises PathNotAllowed, InvalidRequest for the path of a vector, and as `loaded_sae` does.
    """
    from modelyard.ml.hooks.interventions import Intervention

    allowed = PathRules.of(get_settings(), rules) if given else None
    saes = {sae_id: loaded_sae(sae_id, reporter) for sae_id in dict.fromkeys(each.sae_id for each in given) if sae_id}
    return [
        Intervention(
            hook_point=each.hook_point or "",
            op=each.op,
            vector=each.vector,
            vector_path=(
                allowed.find_file(Path(each.vector_path)).real if allowed and each.vector_path is not None else None
            ),
            value=each.value,
            positions=each.positions,
            sae=saes.get(each.sae_id or ""),
            feature=each.feature,
        )
        for each in given
    ]
