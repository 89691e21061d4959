"""Formats figures and states for people; GB = 10^9 bytes, as for disks and the Hub. The page uses the same texts."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text

from modelyard.client.progress import WAITING as WAITING
from modelyard.client.progress import amounts as amounts
from modelyard.client.progress import disk_error, disk_phase
from modelyard.client.progress import phase as phase
from modelyard.client.progress import speed as speed
from modelyard.core.units import duration as duration
from modelyard.core.units import significant
from modelyard.core.units import size as size

if TYPE_CHECKING:
    from modelyard.client.answers import (
        Drift,
        FastDtype,
        HistoryEvent,
        LastUnload,
        ModelResponse,
        TrainingCompatibility,
        TrainingMetrics,
        TrainingPlan,
        TrainingResponse,
        TrainingVerdict,
    )

_COUNT_UNITS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3))

STATUS_STYLES = {
    "ready": "green",
    "failed": "red",
    "missing": "red",
    "paused": "yellow",
    "cancelled": "dim",
    "deleting": "dim",
}
VERDICTS = {"fits": "fits", "tight": "tight", "does_not_fit": "does not fit", "unknown": "unknown"}
VERDICT_STYLES = {"fits": "green", "tight": "yellow", "does_not_fit": "red", "unknown": "dim"}
ACCESS = {
    "open": "open to everyone",
    "accepted": "gated; your account has access",
    "needs_acceptance": "gated; the terms are not accepted yet",
    "no_token": "gated; there is no Hub token",
    "token_invalid": "gated; the Hub refuses the stored token",
    "unknown": "not known",
}
ENDPOINT_SOURCES = {
    "default": "the default",
    "environment": "from HF_ENDPOINT",
    "settings": "set in Modelyard",
    "builtin": "the built-in sample Hub",
}

EVENTS = {
    "done": {
        "download": "downloaded",
        "verify": "verified",
        "import": "imported",
        "quantize": "quantized",
        "load": "loaded",
        "unload": "unloaded",
        "generate": "generated text",
        "merge": "merged",
    },
    "started": {
        "download": "download started",
        "verify": "verification started",
        "import": "import started",
        "quantize": "quantization started",
        "merge": "merge started",
    },
}
KINDS = {"verify": "verification", "quantize": "quantization", "generate": "generation"}

GAP_SHOWN = 0.02
"""The share by which measured memory may differ from the estimate without a remark."""


def count(number: int | None) -> str:
    """596 M, 1.24 B: parameters and downloads."""
    if number is None:
        return "unknown"
    for unit, scale in _COUNT_UNITS:
        if number >= 10_000 and number >= scale * 0.9995:
            return f"{significant(number / scale)} {unit}"
    return f"{number:,}"


TRAINING_PHASES = {
    "making_room": "unloading idle models",
    "starting": "importing the libraries",
    "loading": "loading the model",
    "checking": "checking the hook point",
    "filling_buffer": "gathering the first activations",
    "training": "training",
    "saving": "saving the SAE",
}


def training_phase(run: "TrainingResponse") -> str:
    """Describe what a training run does now."""
    if error := disk_error(run):
        return disk_phase(error)
    match run["status"]:
        case "pending":
            return WAITING
        case "running":
            return TRAINING_PHASES.get(run["progress"]["phase"] or "", "starting")
        case "cancelling":
            return "saving its state"
        case status:
            return str(status)


def tokens(run: "TrainingResponse") -> str:
    """410 k of 2.00 M tokens."""
    progress = run["progress"]
    return f"{count(progress['tokens_done'])} of {count(progress['tokens_total'])} tokens"


def token_speed(run: "TrainingResponse") -> str:
    """21.5 k tokens/s, 55 s left; empty while nothing is trained."""
    progress = run["progress"]
    if run["status"] != "running" or not progress["tokens_per_second"]:
        return ""
    left = progress["eta_seconds"]
    return f"{count(round(progress['tokens_per_second']))} tokens/s" + (
        f", {duration(left)} left" if left is not None else ""
    )


def explained_variance(metrics: "TrainingMetrics | None") -> str:
    """explained variance 0.71 on held-out text; where there is none, of the last batch; empty before the first step."""
    if metrics is None:
        return ""
    if (value := metrics.get("held_out_explained_variance")) is not None:
        return f"explained variance {value:.3g} on held-out text"
    if (value := metrics.get("explained_variance")) is not None:
        return f"explained variance {value:.3g} on the last batch"
    return ""


def beginning(plan: "TrainingPlan", asked: str) -> str:
    """Describe what every context of a run begins with: <|im_start|>, the tokenizer's own."""
    token = plan.get("beginning_token")
    if token is None:
        return "the text itself" if asked == "none" or plan.get("beginning_tokens") else "not known"
    return f"{token}, the tokenizer's own" if asked == "auto" else str(token)


def figures(run: "TrainingResponse") -> str:
    """explained variance 0.71 on held-out text, L0 64.0, MSE 412, 12 of 8,192 features dead; empty at first."""
    metrics = run["metrics"]
    if metrics is None:
        return ""
    named = {"L0": metrics["l0"], "MSE": metrics["mse"]}
    parts = [part for part in [explained_variance(metrics)] if part]
    parts += [f"{word} {value:.3g}" for word, value in named.items() if value is not None]
    if metrics["dead_features"] is not None:
        parts.append(f"{metrics['dead_features']:,} of {run['d_sae']:,} features dead")
    return ", ".join(parts)


def faster(found: "FastDtype | None", more_bytes: int | None) -> str:
    """Describe what the faster dtype gains and costs; empty where the dtype it is stored in is as fast."""
    if not found:
        return ""
    more = "" if more_bytes is None else f", +{size(more_bytes)}"
    return f"{found['dtype']} here: {found['prefill_speedup']:.3g} \N{MULTIPLICATION SIGN} faster prefill{more}"


def status(row: "ModelResponse") -> Text:
    """Return a row's status in its colour, with how much is done."""
    state, progress = row["status"], row["progress"]
    text: str = state
    if progress and progress["bytes_total"] and state in ("downloading", "quantizing", "paused"):
        text += f" {100 * progress['bytes_done'] // progress['bytes_total']} %"
    if state == "ready" and row.get("replaced_by") is not None:
        return Text("ready, replaced", style="dim")
    return Text(text, style=STATUS_STYLES.get(state, "cyan"))


def memory(row: "ModelResponse") -> str:
    """13.1 MB as measured or estimated exactly, ≈ 52.1 MB where the estimate is approximate."""
    measured = row["memory_measured_bytes"]
    return _estimated(row) if measured is None else size(measured)


def _estimated(row: "ModelResponse") -> str:
    estimated = row["memory_estimated_bytes"]
    return size(estimated) if estimated is None or row["memory_method"] == "exact" else f"≈ {size(estimated)}"


def memory_compared(row: "ModelResponse") -> str:
    """13.1 MB measured, 13.0 MB estimated; and by how much they differ, where that is more than GAP_SHOWN."""
    measured, estimated = row["memory_measured_bytes"], row["memory_estimated_bytes"]
    if measured is None:
        return size(None) if estimated is None else f"{_estimated(row)} estimated, not measured yet"
    said = f"{size(measured)} measured"
    if not estimated:
        return said
    said += f", {_estimated(row)} estimated"
    gap = measured / estimated - 1
    if abs(gap) <= GAP_SHOWN:
        return said
    return f"{said}: {100 * abs(gap):.1f} % {'more' if gap > 0 else 'less'} than estimated"


def own_size(row: "ModelResponse") -> str:
    """Return what a row takes on the disk, without the files that stand there for another one."""
    return size(row["disk_bytes"] - row["shared_bytes"])


def disk(row: "ModelResponse") -> str:
    """Format as "13.7 MB of its own, 26.7 MB shared with another precision"."""
    shared = row["shared_bytes"]
    return f"{own_size(row)} of its own, {size(shared)} shared with another precision" if shared else own_size(row)


def short_duration(seconds: float) -> str:
    """0.17 s, 9.5 s, 1 min: how long a load took."""
    return f"{significant(seconds)} s" if seconds < 10 else duration(seconds)


def unloaded(last: "LastUnload") -> str:
    """Format as "17.2 MB freed; its weights held 13.1 MB". Weights that were only mapped took no memory."""
    mapped = last["mapped_bytes"]
    freed = f"{size(last['freed_bytes'])} freed; its weights held {size(last['held_before_bytes'] - mapped)}"
    return f"{freed}, and {size(mapped)} more were only mapped from its files" if mapped else freed


def compatibility(verdict: "TrainingCompatibility | TrainingVerdict", level: str = "static") -> str:
    """Describe whether a model can be trained on, as far as that is known, and why not."""
    reasons = " ".join(reason["message"] for reason in verdict["reasons"])
    if verdict["compatible"] is False:
        return f"not possible: {reasons}"
    if verdict["compatible"] is None:
        return f"not verified; a run checks it first: {reasons}"
    return {
        "static": "ready, by its configuration",
        "structural": "ready",
        "live": "ready, as an earlier run has shown",
    }[level]


def drift(found: "Drift") -> str:
    """Describe the difference of a quantized copy from its source."""
    if found["reason"]:
        return f"Not measured: {found['reason']}"
    prompts = "1 prompt" if found["prompts"] == 1 else f"{found['prompts']} prompts"
    where = f"{prompts}, {found['tokens']} tokens"
    if found["kl_mean"] is None or found["top1_agreement"] is None:
        return (
            f"{where}: cosine of the final hidden states with the source's {found['output_cosine']:.4f}"
            " (no language head)."
        )
    perplexities = ""
    if found["perplexity"] is not None and found["source_perplexity"] is not None:
        perplexities = f", perplexity {found['perplexity']:.4g} (source {found['source_perplexity']:.4g})"
    return (
        f"{where}: top-1 agreement {100 * found['top1_agreement']:.1f} %, KL divergence {found['kl_mean']:.3g} nats on"
        f" average and {found['kl_max']:.3g} at most{perplexities}."
    )


def event(happened: "HistoryEvent") -> str:
    """Describe what happened to a model: downloaded, verification failed: …"""
    kind, name = happened["kind"], happened["event"]
    if name == "missing":
        return "files missing"
    if name == "found":
        return "files found again"
    if known := EVENTS.get(name, {}).get(kind):
        return known
    said = f"{KINDS.get(kind, kind)} {'continued on another worker' if name == 'taken_over' else name}"
    return said if happened["error"] is None else f"{said}: {happened['error']['message']}"


def moment(at: str) -> str:
    """2026-11-24 10:00:21, on the clock of whoever reads it."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def rate(moved_bytes: int | None, seconds: float | None) -> str:
    """8.00 MB/s; empty where nothing moved or it took less than a second."""
    return f"{size(round(moved_bytes / seconds))}/s" if moved_bytes and seconds and seconds >= 1 else ""


def left(moment: str | None) -> str:
    """58 min, until a moment in UTC; empty for none."""
    if moment is None:
        return ""
    return duration((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())
