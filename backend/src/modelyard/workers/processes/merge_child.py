"""The process that merges: `run_child("modelyard.workers.processes.merge_child", asdict(MergeRequest(…)), …)`.

Its result names the files it made, and their drift. It may be killed at any time: what it leaves behind is removed by
the next attempt, or with its row.
"""

import os
from typing import Any

from modelyard.core.process import Report, child_main, configure_logging


def _work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    os.nice(5)
    from transformers.utils import logging

    from modelyard.ml.adapter_merge import MergeRequest, merge

    logging.disable_progress_bar()

    return merge(MergeRequest(**request), report)


if __name__ == "__main__":
    os.umask(0o077)  # it writes into MODELYARD_HOME only
    configure_logging("merge")
    child_main(_work)
