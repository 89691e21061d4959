"""What `modelyard estimate` prints of an answer, and while it waits for one."""

import json
import re
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from modelyard.cli import app
from modelyard.client.api_client import ApiClient
from modelyard.commands import hub

GB = 10**9


def _option(name: str, **figures: Any) -> dict[str, Any]:
    option = {
        "quantization": name,
        "weights_bytes": 2 * GB,
        "quantization_state_bytes": 0,
        "quantized_fraction": 0.0,
        "kv_cache_bytes": 3_000_000,
        "activation_bytes": 4_000_000,
        "overhead_bytes": 0,
        "total_bytes": 2_007_000_000,
        "total_is_lower_bound": False,
        "load_peak_bytes": None,
        "download_bytes": 2 * GB,
        "disk_bytes": 2 * GB,
        "available": True,
        "note": None,
        "verdicts": [{"device": "cpu", "verdict": "unknown", "free_bytes": 9 * GB, "total_bytes": 9 * GB}],
    }
    return option | figures


def _answer(*options: dict[str, Any], context: int = 2048) -> dict[str, Any]:
    return {
        "model_id": "lab/model",
        "commit": "ab" * 20,
        "method": "exact",
        "method_reason": None,
        "may_improve": False,
        "num_parameters": GB,
        "dtype": "bfloat16",
        "kv_cache_segments": [],
        "context": context,
        "batch": 1,
        "options": list(options),
    }


def _estimate(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], *arguments: str, seconds: float = 0.0) -> Any:
    def get(_client: ApiClient, _path: str, **_query: Any) -> dict[str, Any]:
        time.sleep(seconds)
        return answer

    monkeypatch.setattr(ApiClient, "get", get)
    return CliRunner().invoke(
        app, ["estimate", "lab/model", *arguments], env={"MODELYARD_SERVER": "http://127.0.0.1:9"}
    )


def _lines(shown: Any) -> dict[str, list[str]]:
    """The table's cells by the label of their line."""
    found = {}
    for line in shown.stdout.splitlines():
        label, *cells = re.split(r"\s{2,}", line.strip())
        found[label] = cells
    return found


def test_a_part_that_is_not_known_keeps_its_line_and_the_total_is_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"kv_cache_bytes": None, "activation_bytes": None, "total_bytes": 2 * GB, "total_is_lower_bound": True}
    shown = _lines(_estimate(monkeypatch, _answer(_option("none", **parts), _option("8bit", available=False, **parts))))
    assert shown["QUANT"] == ["none", "8bit"]
    assert shown["KV cache"] == shown["activations"] == ["unknown", "-"]
    assert shown["total"][0] == "≥ 2.00 GB"
    assert shown["CPU (9.00 GB free)"] == ["unknown", "-"]
    assert "load peak" not in shown


def test_precision_and_verdict_stay_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = ("cpu", *(f"cuda:{index}" for index in range(8)))
    verdicts = [
        {"device": name, "verdict": "does_not_fit", "free_bytes": 123 * GB, "total_bytes": 140 * GB} for name in devices
    ]
    options = [
        _option(name, verdicts=verdicts, load_peak_bytes=999 * GB, total_bytes=999 * GB, total_is_lower_bound=True)
        for name in ("none", "8bit", "4bit")
    ]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = _estimate(monkeypatch, _answer(*options))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)
    assert "\x1b[" in shown.stdout, "printed as on a terminal"
    table = plain[plain.index("QUANT") :].splitlines()
    assert table[0].split() == ["QUANT", "none", "8bit", "4bit"]
    assert max(map(len, table)) <= 80
    for name in devices:
        assert re.search(rf"{name.upper()} \(123 GB free\)( +does not fit){{3}}\n", plain)


def test_a_note_that_several_options_share_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"available": False, "note": "Only GGUF files."}
    options = [_option(name, **refused) for name in ("none", "8bit", "4bit")]

    assert "none, 8bit, 4bit: Only GGUF files.\n" in _estimate(monkeypatch, _answer(*options)).stdout


def test_figures_that_may_improve_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _answer(_option("none"))

    assert "run the command again" in _estimate(monkeypatch, answer | {"may_improve": True}).stdout
    assert "run the command again" not in _estimate(monkeypatch, answer | {"may_improve": False}).stdout


def test_fewer_tokens_than_asked_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _answer(_option("none"), context=512)

    shown = _estimate(monkeypatch, answer)
    assert "takes at most 512 tokens" in shown.stderr
    assert "a sequence of 512 tokens" in shown.stdout
    assert "takes at most" not in _estimate(monkeypatch, answer, "--context", "512").stderr


def test_a_server_that_takes_long_is_waited_for_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _answer(_option("none"))
    quick = _estimate(monkeypatch, answer, "--json")
    assert (json.loads(quick.stdout), quick.stderr) == (answer, "")

    monkeypatch.setattr(hub, "SILENT_SECONDS", 0.05)
    slow = _estimate(monkeypatch, answer, seconds=1.0)
    assert slow.stderr == "Waiting for http://127.0.0.1:9, which builds the model without its weights …\n"
    # With --json an error goes to stderr, as JSON and nothing else.
    silent = _estimate(monkeypatch, answer, "--json", seconds=1.0)
    assert (json.loads(silent.stdout), silent.stderr) == (answer, "")
