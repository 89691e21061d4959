"""The process that converts: `run_child("modelyard.workers.processes.convert_child", request, …)`.

The request has the fields of ConversionRequest, and those of Limits as `limits`.
Its result names the files it made. It may be killed at any time: what it leaves behind is removed by the next attempt,
or with its row. It reads a stranger's file, so the kernel refuses it more than its `limits`.
"""

import os
from typing import Any

from modelyard.core.process import Report, child_main, configure_logging


def _work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    os.nice(5)
    from transformers.utils import logging

    from modelyard.core.process_limits import Limits, data_bytes, limit_this_process
    from modelyard.ml.gguf.convert import ConversionRequest, convert

    logging.disable_progress_bar()
    limits = Limits(**request.pop("limits"))
    limit_this_process(limits, data_bytes() + limits.memory_bytes)

    return convert(ConversionRequest(**request), report)


if __name__ == "__main__":
    os.umask(0o077)  # it writes into MODELYARD_HOME only
    configure_logging("convert")
    child_main(_work)
