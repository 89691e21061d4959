"""The process that quantizes: `run_child("modelyard.workers.processes.quantize_child", asdict(ArtifactRequest(…)), …)`.

Its result is the artifact's manifest. It may be killed at any time: what it leaves behind is taken over or removed by
the next attempt (`artifact_folder.remove_leftovers`).
"""

import os
from typing import Any

from modelyard.core.process import Report, child_main, configure_logging


def _work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    os.nice(5)
    from transformers.utils import logging

    from modelyard.ml.quantize.artifact import make_artifact
    from modelyard.ml.quantize.artifact_folder import ArtifactRequest

    logging.disable_progress_bar()

    return make_artifact(ArtifactRequest(**request), report)


if __name__ == "__main__":
    os.umask(0o077)  # it writes into MODELYARD_HOME only
    configure_logging("quantize")
    child_main(_work)
