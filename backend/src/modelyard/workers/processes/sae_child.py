"""The process that judges an SAE or looks for its features: `run_child("…sae_child", asdict(SaeWork(…)), …)`.

It loads its own copy of the model and frees it by ending. It may be killed at any time; the next attempt begins anew.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import OutOfMemory
from modelyard.core.paths import PathRules
from modelyard.core.process import Report, child_main, configure_logging
from modelyard.core.settings import get_settings
from modelyard.workers.processes.library_process import prepare, try_tokenizer

if TYPE_CHECKING:
    from modelyard.ml.sae.sae_work import SaeWork


def _work(request: dict[str, Any], report: Report) -> dict[str, Any]:
    from modelyard.ml.sae.sae_work import SaeWork

    work = SaeWork(**request)
    folder = Path(work.folder)
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    from transformers.utils import logging

    from modelyard.ml.loading.devices import accelerators, is_out_of_memory
    from modelyard.ml.loading.threads import obey_environment

    obey_environment()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    if work.device == "auto":
        work = replace(work, device=str(next(iter(accelerators()), "cpu")))
    try:
        return _read(work, report)
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory("Memory ran out.", hint="Unload models, or choose another device.") from error
        raise


def _read(work: "SaeWork", report: Report) -> dict[str, Any]:
    from modelyard.ml.loading.pretrained import load_model, load_tokenizer
    from modelyard.ml.sae.held_out import kept_back_texts
    from modelyard.ml.sae.inference import load_sae
    from modelyard.ml.sae.live_check import check_live
    from modelyard.ml.sae.text_rows import texts

    rules = PathRules.of(get_settings(), work.path_rules)

    def rows() -> Any:
        return texts(Path(work.dataset_path), work.dataset_column, rules)

    weights = Path(work.weights_folder)
    try_tokenizer(weights, work.model_id, rows())
    report({"phase": "loading", "done": 0, "total": None, "message": None})
    loaded = load_sae(Path(work.sae_folder), work.device)
    tokenizer = load_tokenizer(weights)
    model = load_model(weights, device_map=work.device, dtype=work.dtype, allow_pickle=work.allow_pickle)
    from modelyard.ml.sae.reading import Reading

    chosen = kept_back_texts(rows)() if work.held_out else rows()
    reading = Reading(work, loaded, model, tokenizer, chosen)
    check_live(model, tokenizer, work.hook_point, loaded.sae.cfg.d_in, reading.contexts.flatten().tolist()[:64])
    if work.kind == "evaluate":
        from modelyard.ml.sae.evaluation import evaluate

        return evaluate(loaded, reading, report)
    from modelyard.ml.sae.feature_file import NAME
    from modelyard.ml.sae.features import build_features

    path = Path(work.folder) / NAME
    return build_features(loaded, reading, tokenizer, work.final_norm, work.top, path, report)


if __name__ == "__main__":
    os.umask(0o077)  # it writes into MODELYARD_HOME only
    configure_logging("sae")
    child_main(_work)
