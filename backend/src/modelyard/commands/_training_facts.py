"""Describe training runs and their plans: a row of a table, a list of facts, a moment of progress."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelyard.client.progress import Shown, disk_error
from modelyard.commands import _format
from modelyard.commands._connect import Json
from modelyard.commands._output import Cell
from modelyard.core.statuses import ACTIVE_TRAINING_STATUSES

if TYPE_CHECKING:
    from modelyard.client.answers import TrainingPlan, TrainingResponse


def shown_run(run: "TrainingResponse") -> Shown:
    progress = run["progress"]
    explained = _format.explained_variance(run["metrics"])
    parts = (_format.token_speed(run), explained)
    return Shown(
        name=run_name(run),
        phase=_format.training_phase(run),
        done=progress["tokens_done"],
        total=progress["tokens_total"],
        amounts=_format.tokens(run),
        speed=", ".join(part for part in parts if part),
        ended=run["status"] not in ACTIVE_TRAINING_STATUSES,
    )


def run_name(run: "TrainingResponse") -> str:
    """tiny-llama, model.layers.6."""
    return f"{run['model_name'].rpartition('/')[2]}, {run['hook_point']}"


def _sae(run: "TrainingResponse") -> str:
    return f"{run['architecture']}, {run['d_sae']:,} features"


def run_row(run: "TrainingResponse") -> tuple[Cell, ...]:
    done = _format.tokens(run) if run["status"] != "completed" else _format.figures(run)
    name = run["model_name"]
    return name, run["quantization"], run["hook_point"], _sae(run), _format.training_phase(run), done, run["id"][:8]


def run_facts(run: "TrainingResponse") -> Iterator[tuple[str, Cell]]:
    yield "id", run["id"]
    told = run["status"] == "running" or disk_error(run) is not None
    yield "status", run["status"] + (f", {_format.training_phase(run)}" if told else "")
    if run["error"]:
        yield "error", f"{run['error']['message']} {run['error']['hint'] or ''}".strip()
    yield "done", ", ".join(part for part in (_format.tokens(run), _format.token_speed(run)) if part)
    yield "figures", _format.figures(run) or None
    yield "result", run["output_path"]
    yield "model", f"{run['model_name']} ({run['commit']})"
    yield "quantization", run["quantization"]
    yield "hook point", run["hook_point"]
    yield "SAE", f"{_sae(run)}, width {run['d_in']:,}"
    yield "k", None if run["k"] is None else f"{run['k']:,}"
    yield "L1", None if run["l1_coefficient"] is None else f"{run['l1_coefficient']:g}"
    yield "text", f"{run['dataset']['path']}, column {run['dataset']['column']}"
    yield "context", f"{run['context_size']:,} tokens"
    yield "begins with", _format.beginning(run["plan"], run["beginning"])
    yield "skipped", f"the first {run['skip_positions']} positions of every context"
    yield "batch", f"{run['batch_tokens']:,} tokens"
    yield "learning rate", f"{run['learning_rate']:g}"
    yield "seed", str(run["seed"])
    yield "device", run["device"] + (f" ({run['plan']['device']})" if run["device"] == "auto" else "")
    yield "model's dtype", run["dtype"]
    yield "memory", f"{_format.size(run['plan']['total_bytes'])} planned"
    yield "engine", run["engine"]
    yield "created", run["created_at"]


def plan_facts(request: Json, plan: "TrainingPlan") -> Iterator[tuple[str, Cell]]:
    yield "hook point", f"{request['hook_point']}, width {plan['d_in']:,}"
    yield "SAE", f"{plan['d_sae']:,} features, {_format.count(plan['parameters'])} parameters"
    yield "steps", f"{plan['steps']:,}"
    yield "begins with", _format.beginning(plan, request.get("beginning", "auto"))
    place = "system memory" if plan["device"] == "cpu" else plan["device"]
    yield "memory", f"{_format.size(plan['total_bytes'])} of {place}"
    for number, what in (
        (plan["model_bytes"], "the loaded model"),
        (plan["forward_bytes"], "its forward pass"),
        (plan["sae_bytes"], "SAE, gradients, optimizer"),
        (plan["batch_bytes"], "one batch"),
        (plan["buffer_bytes"], "buffer of activations"),
        (plan["process_bytes"], "libraries"),
    ):
        yield "", f"{_format.size(number)}  {what}"
    if plan["usable_bytes"] is not None:
        yield "may be planned", _format.size(plan["usable_bytes"])
    yield "faster", _format.faster(plan.get("fast_dtype"), plan.get("fast_dtype_bytes")) or None
    yield "unloaded first", ", ".join(model["name"] for model in plan["unloads"]) or None
    yield (
        "text",
        f"an unknown number of tokens in the column {plan['dataset_column']}"
        if plan["epochs"] is None
        else f"{'' if plan['dataset_counted'] else 'about '}{_format.count(plan['dataset_tokens'])} tokens"
        f" in the column {plan['dataset_column']}, read {plan['epochs']:g} times",
    )
    working, final = 2 * plan["checkpoint_bytes"] + plan["output_bytes"], plan["output_bytes"]
    yield "disk", f"{_format.size(working)}, in the end {_format.size(final)}"
    if plan["refusal"]:
        yield "refused", f"{plan['refusal']['message']} {plan['refusal']['hint'] or ''}".strip()
    else:
        yield "fits", "yes" if plan["fits"] else "not known: another machine trains"
