"""What is said of a model's memory, with an inspector that answers what each test needs."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelyard.core.database import Database
from modelyard.core.errors import NeedsCustomCode, NoWeights, UnsupportedArchitecture
from modelyard.ml.inspect.inspector import InspectorBusy, InspectorCrashed, InspectorTimeout
from modelyard.models import Model, ModelStatus
from modelyard.schemas.memory import MemoryEstimate, MemoryOption
from modelyard.schemas.system import Device
from modelyard.services.architecture_service import hub_cache, local_checkpoint
from modelyard.services.facts.header_estimate import Tensor
from modelyard.services.facts.parameter_count import Compare
from modelyard.services.inspection import inspection_service, runtime_memory
from modelyard.services.inspection.checkpoint import Checkpoint
from modelyard.services.inspection.memory_service import MemoryService

GB = 10**9
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
FILES = ("config.json", "model.safetensors")
TENSORS = (Tensor("model.layers.0.mlp.up_proj.weight", "BF16", (1000, 1000)),)
KV_CACHE = {"segments": [{"from_tokens": 0, "bytes_at_from": 0, "bytes_per_token": 1000}], "reason": None}
ACTIVATIONS = {"activation_bytes": 5000, "quantized_bytes": {"8bit": 6000, "4bit": 7000}, "reason": None}

Answer = Mapping[str, Any] | Exception


def _option(name: str, size: int) -> dict[str, Any]:
    return {
        "quantization": name,
        "weights_bytes": size,
        "quantization_state_bytes": 0,
        "quantized_fraction": 0.0,
        "load_peak_bytes": size,
        "copy_peak_bytes": size - 1,
        "available": True,
        "note": None,
    }


def _memory(parameters: int = 1_000_000) -> dict[str, Any]:
    sizes = {"none": 2 * parameters, "8bit": parameters, "4bit": parameters // 2}
    return {
        "num_parameters": parameters,
        "dtype": "bfloat16",
        "options": [_option(name, size) for name, size in sizes.items()],
    }


class FakeInspector:
    """Answers by kind; an exception is raised, as the inspector would raise it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            "memory": _memory(),
            "kv_cache": KV_CACHE,
            "activations": ACTIVATIONS,
        }
        self.bfloat16_seconds = 1.0
        """Of a product that takes one second in float32."""
        self.asked: list[str] = []

    def inspect(self, kind: str, _config: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        if kind == "dtype_speed":
            return {"float32_seconds": 1.0, "bfloat16_seconds": self.bfloat16_seconds}
        self.asked.append(kind)
        if options.get("dtype") == "float32" and kind == "memory":
            return _memory(2_000_000) | {"dtype": "float32", "num_parameters": 1_000_000}
        answer = self.answers[kind]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


@pytest.fixture
def inspector(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeInspector]:
    fake = FakeInspector()
    monkeypatch.setattr(inspection_service, "get_inspector", lambda: fake)
    monkeypatch.setattr(inspection_service, "_unanswered", inspection_service._Unanswered())
    yield fake
    runtime_memory._recent_timeouts.clear()


@pytest.fixture
def estimate(database: Database, inspector: FakeInspector) -> Callable[..., MemoryEstimate]:
    def ask(
        config: Mapping[str, Any] = LLAMA,
        *,
        files: tuple[str, ...] = FILES,
        tensors: tuple[Tensor, ...] = TENSORS,
        free: int = 100 * GB,
        context: int = 100,
        same: Compare = lambda _first, _second: None,
        **settings: Any,
    ) -> MemoryEstimate:
        checkpoint = Checkpoint("lab/model", "ab" * 20, config, tensors, 2_000_000, files, same=same)
        device = Device(id="cpu", name="this machine", total_bytes=100 * GB, free_bytes=free, used_by_us_bytes=0)
        asked: dict[str, Any] = {"context": context, "batch": 1, "dtype": "auto"} | settings
        return MemoryService(database).estimate(checkpoint, [device], **asked)

    return ask


def _verdicts(answer: MemoryEstimate) -> list[str]:
    return [verdict.verdict for option in answer.options for verdict in option.verdicts]


def _first(answer: MemoryEstimate) -> MemoryOption:
    return answer.options[0]


def test_everything_known_is_exact_and_complete(estimate: Callable[..., MemoryEstimate]) -> None:
    answer = estimate()

    assert (answer.method, answer.method_reason) == ("exact", None)
    assert [option.total_bytes for option in answer.options] == [2_105_000, 1_106_000, 607_000]
    assert not any(option.total_is_lower_bound for option in answer.options)
    assert _verdicts(answer) == ["fits", "fits", "fits"]


HEAD = {"name": "lm_head.weight", "source": "model.embed_tokens.weight", "num_parameters": 400_000, "bytes": 800_000}
TWINS = (
    Tensor("model.embed_tokens.weight", "BF16", (400, 1000)),
    Tensor("lm_head.weight", "BF16", (400, 1000)),
    Tensor("model.layers.0.mlp.up_proj.weight", "BF16", (600, 1000)),
)


@pytest.mark.parametrize(
    ("equal", "method", "parameters"),
    [(True, "exact", 1_000_000), (False, "exact", 1_400_000), (None, "approximate", 1_400_000)],
)
def test_a_head_that_is_not_tied_after_all_is_counted(
    estimate: Callable[..., MemoryEstimate],
    inspector: FakeInspector,
    equal: bool | None,
    method: str,
    parameters: int,
) -> None:
    inspector.answers["memory"] = _memory() | {"tied": [HEAD]}
    answer = estimate(tensors=TWINS, same=lambda _first, _second: equal)

    assert (answer.method, answer.num_parameters) == (method, parameters)
    added = 2 * (parameters - 1_000_000)
    assert [option.weights_bytes for option in answer.options] == [
        2_000_000 + added,
        1_000_000 + added,
        500_000 + added,
    ]
    assert ("they may differ" in (answer.method_reason or "")) == (equal is None)


def test_what_transformers_does_not_load_is_named_and_leaves_no_doubt(
    estimate: Callable[..., MemoryEstimate],
) -> None:
    extra = Tensor("model.layers.2.mlp.up_proj.weight", "BF16", (300, 1000))
    answer = estimate(tensors=(*TENSORS, extra))

    assert (answer.method, answer.num_parameters) == ("exact", 1_000_000)
    assert "model.layers.2 (300,000)" in (answer.method_reason or "")


def test_a_quantized_copy_that_is_here_takes_less_to_load(estimate: Callable[..., MemoryEstimate]) -> None:
    assert [option.load_peak_bytes for option in estimate().options] == [2_000_000, 1_000_000, 500_000]
    with_copy = estimate(copies={"4bit"})
    assert [option.load_peak_bytes for option in with_copy.options] == [2_000_000, 1_000_000, 499_999]


def test_the_size_of_unpacked_weights_is_told(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    _supported(inspector, "mxfp4")
    support = inspector.answers["support"]
    assert not isinstance(support, Exception)
    inspector.answers["support"] = {**support, "unpacked_bytes": 3_000_000}
    answer = estimate(_quantized_already("mxfp4"), free=4_000_000)

    assert "unpacked they take 3.00 MB" in (_first(answer).note or "")
    assert (_first(answer).weights_bytes, _verdicts(answer)[0]) == (2_000_000, "fits")


def test_a_processor_that_is_slow_in_bfloat16_is_told_with_what_float32_costs(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    inspector.bfloat16_seconds = 12.04
    answer = estimate()
    assert answer.fast_dtype is not None
    assert (answer.fast_dtype.dtype, answer.fast_dtype.prefill_speedup) == ("float32", 12.0)
    assert [option.fast_dtype_bytes for option in answer.options] == [2_000_000, 1_000_000, 500_000]
    assert [option.total_bytes for option in answer.options] == [2_105_000, 1_106_000, 607_000]
    inspector.bfloat16_seconds = 1.0
    again = estimate()
    assert again.fast_dtype == answer.fast_dtype, "it is measured once per host"


@pytest.mark.parametrize("settings", [{"dtype": "bfloat16"}, {"config": LLAMA | {"torch_dtype": "float32"}}])
def test_a_dtype_that_was_chosen_or_is_fast_is_not_commented_on(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, settings: dict[str, Any]
) -> None:
    inspector.bfloat16_seconds = 12.0
    inspector.answers["memory"] = _memory() | {"dtype": "float32" if "config" in settings else "bfloat16"}
    answer = estimate(**settings)
    assert answer.fast_dtype is None
    assert [option.fast_dtype_bytes for option in answer.options] == [None] * 3


def test_a_configuration_without_weights_is_estimated_with_a_remark(estimate: Callable[..., MemoryEstimate]) -> None:
    answer = estimate(files=("config.json",), tensors=())

    assert (answer.method, answer.num_parameters) == ("approximate", 1_000_000)
    assert "no weights were seen" in (answer.method_reason or "")
    assert [option.total_bytes for option in answer.options] == [2_105_000, 1_106_000, 607_000]
    assert answer.kv_cache_segments != []


SCALED = "model.layers.0.mlp.up_proj.weight"
UNSAID: dict[str, tuple[tuple[str, ...], tuple[Tensor, ...]]] = {
    "named, weights unseen": (("config.json", "hf_quant_config.json"), ()),
    "named, headers unread": ((*FILES, "hf_quant_config.json"), ()),
    "named": ((*FILES, "hf_quant_config.json"), TENSORS),
    "fp8": (FILES, (Tensor(SCALED, "F8_E4M3", (1000, 1000)), Tensor(f"{SCALED}_scale", "F32", ()))),
    "fp8 in blocks": (FILES, (Tensor(SCALED, "F8_E4M3", (1000, 1000)), Tensor(f"{SCALED}_scale_inv", "F32", (8, 8)))),
    "nvfp4": (
        FILES,
        (
            Tensor(SCALED, "U8", (1000, 500)),
            Tensor(f"{SCALED}_scale", "F8_E4M3", (1000, 63)),
            Tensor(f"{SCALED}_scale_2", "F32", ()),
        ),
    ),
}


@pytest.mark.parametrize("kind", UNSAID)
def test_a_quantization_that_the_configuration_does_not_name_is_never_exact(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, database: Database, kind: str
) -> None:
    """nvidia's FP8 and NVFP4 checkpoints, for example, whose config.json is that of the bfloat16 model."""
    files, tensors = UNSAID[kind]
    answer = estimate(files=files, tensors=tensors)

    assert answer.method == "approximate"
    why = "no quantization_config" if "model.safetensors" in files else "holds no weights"
    assert why in (answer.method_reason or "")
    assert "memory" not in inspector.asked
    checkpoint = Checkpoint("lab/model", "ab" * 20, LLAMA, tensors, 2_000_000, files)
    assert MemoryService(database).options(checkpoint, seconds=1) == {}


def test_weights_that_bitsandbytes_packed_are_asked_of_the_inspector(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    packed = {**LLAMA, "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    stored = (Tensor("model.layers.0.mlp.up_proj.weight", "U8", (500_000, 1)),)
    answer = estimate(packed, tensors=stored)

    assert "memory" in inspector.asked
    assert (answer.method, _first(answer).weights_bytes, answer.num_parameters) == ("exact", 2_000_000, 1_000_000)

    inspector.answers["memory"] = InspectorTimeout("No answer within 18 s.")
    late = estimate({**packed, "hidden_size": 128}, tensors=stored, dtype="float16")
    assert (late.method, _first(late).weights_bytes) == ("approximate", 500_000)
    assert [option.available for option in late.options] == [True, False, False]


@pytest.mark.parametrize(
    ("config", "files", "word"),
    [
        (LLAMA, ("config.json", "model.Q4_K_M.gguf"), "GGUF"),
        ({}, ("adapter_config.json", "adapter_model.safetensors"), "PEFT"),
        ({}, FILES[1:], r"no config\.json"),
    ],
)
def test_what_cannot_be_loaded_has_no_option_and_no_verdict(
    estimate: Callable[..., MemoryEstimate],
    inspector: FakeInspector,
    config: dict[str, Any],
    files: tuple[str, ...],
    word: str,
) -> None:
    answer = estimate(config, files=files, tensors=())

    assert inspector.asked == []
    assert answer.method == "approximate"
    assert [option.available for option in answer.options] == [False] * 3
    assert _verdicts(answer) == ["unknown"] * 3
    for option in answer.options:
        assert option.note is not None
        assert word.replace("\\", "") in option.note
        assert answer.method_reason == option.note.rstrip(".")


@pytest.mark.parametrize("error", [NeedsCustomCode("only code"), UnsupportedArchitecture("pasted from elsewhere")])
def test_what_transformers_cannot_build_is_told_in_the_previews_words(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, error: Exception
) -> None:
    sentence = "The installed transformers does not know 'llama99'."
    reasons = [{"code": "unsupported_architecture", "message": sentence, "level": "unsupported"}]
    inspector.answers |= {"memory": error, "support": {"level": "unsupported", "reasons": reasons}}
    answer = estimate()

    assert answer.method_reason == sentence.rstrip(".")
    assert [(option.available, option.note) for option in answer.options] == [(False, sentence)] * 3
    assert _verdicts(answer) == ["unknown"] * 3


def _quantized_already(method: str) -> dict[str, Any]:
    return {**LLAMA, "quantization_config": {"quant_method": method}}


def _supported(inspector: FakeInspector, method: str) -> None:
    from dataclasses import asdict

    from modelyard.ml.inspect.support import static_support

    inspector.answers["support"] = asdict(static_support(_quantized_already(method), FILES)) | {"num_parameters": 77}


def test_packed_weights_whose_packages_are_not_here_are_not_available(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    _supported(inspector, "gptq")
    answer = estimate(_quantized_already("gptq"))

    assert [option.available for option in answer.options] == [False] * 3
    assert "Loading it needs" in (_first(answer).note or "")
    assert (_first(answer).weights_bytes, answer.num_parameters) == (2_000_000, 77)
    assert _verdicts(answer) == ["unknown"] * 3


@pytest.mark.parametrize(
    ("method", "free", "verdict"),
    [
        ("fp8", 100_000_000, "fits"),
        ("fp8", 3_000_000, "unknown"),
        ("fp8", 1_000_000, "does_not_fit"),
        ("mxfp4", 5_000_000, "unknown"),
        ("somehow", 100_000_000, "unknown"),
    ],
)
def test_packed_weights_fit_only_if_they_do_once_unpacked(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, method: str, free: int, verdict: str
) -> None:
    _supported(inspector, method)
    answer = estimate(_quantized_already(method), free=free)

    assert _verdicts(answer)[0] == verdict
    assert [option.available for option in answer.options] == [True, False, False]
    assert _first(answer).total_is_lower_bound
    assert method == "somehow" or "times its file size" in (_first(answer).note or "")


@pytest.mark.parametrize("kind", ["kv_cache", "activations"])
def test_a_total_without_one_of_its_parts_says_so(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, kind: str
) -> None:
    unknown = {"segments": None, "activation_bytes": None, "reason": "It needs real values."}
    inspector.answers[kind] = unknown
    answer = estimate()
    first = _first(answer)

    assert answer.method == "exact"
    assert "not known: It needs real values" in (answer.method_reason or "")
    assert first.total_is_lower_bound
    assert first.total_bytes == 2_000_000 + (5000 if kind == "kv_cache" else 100_000)
    assert (first.kv_cache_bytes is None, first.activation_bytes is None) == (kind == "kv_cache", kind != "kv_cache")


def test_a_part_that_is_not_known_leaves_doubt_unless_there_is_plenty_of_room(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    inspector.answers["activations"] = {"activation_bytes": None, "reason": "It needs real values."}

    assert _verdicts(estimate(free=100 * GB))[0] == "fits"
    assert _verdicts(estimate(free=3_000_000))[0] == "unknown"
    assert _verdicts(estimate(free=2_000_000))[0] == "does_not_fit"
    nameless = {"model_type": "llama", "torch_dtype": "bfloat16"}
    assert _verdicts(estimate(nameless, free=100 * GB))[0] == "unknown"


def test_activations_are_told_where_the_kv_cache_cannot_be(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    inspector.answers["kv_cache"] = InspectorTimeout("No answer within 9 s.")
    answer = estimate()

    assert _first(answer).activation_bytes == 5000
    assert "computed from the configuration alone: No answer within 9 s" in (answer.method_reason or "")


@pytest.mark.parametrize("part", ["memory", "kv_cache", "activations"])
@pytest.mark.parametrize(
    ("answer", "may_improve"),
    [
        (InspectorBusy("busy"), True),
        (InspectorTimeout("late"), True),
        (InspectorCrashed("gone"), True),
        (UnsupportedArchitecture("new"), False),
        (None, False),
    ],
)
def test_figures_may_improve_where_there_was_no_time_for_one_of_them(
    estimate: Callable[..., MemoryEstimate],
    inspector: FakeInspector,
    part: str,
    answer: Exception | None,
    may_improve: bool,
) -> None:
    unknown = {"segments": None, "activation_bytes": None, "reason": "It needs real values."}
    if part != "memory" or answer is not None:
        inspector.answers[part] = answer or unknown
    inspector.answers["support"] = {"reasons": []}

    assert estimate().may_improve is may_improve


def test_a_preview_that_was_late_may_improve(estimate: Callable[..., MemoryEstimate], inspector: FakeInspector) -> None:
    inspector.answers["support"] = InspectorTimeout("late")
    packed = LLAMA | {"quantization_config": {"quant_method": "gptq", "bits": 4}}

    assert estimate(packed).may_improve
    inspector.answers["support"] = {"reasons": []}
    assert not estimate(packed).may_improve


def test_weights_alone_ask_for_nothing_else(estimate: Callable[..., MemoryEstimate], inspector: FakeInspector) -> None:
    answer = estimate(parts="weights")

    assert inspector.asked == ["memory"]
    assert (answer.method, answer.method_reason, answer.kv_cache_segments) == ("exact", None, [])
    assert _first(answer).total_bytes == 2_000_000
    assert _first(answer).total_is_lower_bound


def test_what_was_not_answered_in_time_is_not_waited_for_again(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector.answers["activations"] = InspectorTimeout("No answer within 18 s.")
    first, second = estimate(), estimate()
    assert inspector.asked.count("activations") == 1
    assert first.method_reason == second.method_reason
    estimate(context=101)
    assert inspector.asked.count("activations") == 2
    estimate(seconds=100.0)
    assert inspector.asked.count("activations") == 3

    now = time.monotonic() + runtime_memory.LATE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: now)
    estimate()
    assert inspector.asked.count("activations") == 4


def test_an_inspector_that_was_only_busy_is_asked_again(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    inspector.answers["activations"] = InspectorBusy("The inspector is still starting.")
    estimate()
    inspector.answers["activations"] = ACTIVATIONS

    assert _first(estimate()).activation_bytes == 5000


def test_no_more_tokens_are_counted_than_the_model_takes(estimate: Callable[..., MemoryEstimate]) -> None:
    answer = estimate(context=2048)

    assert (answer.context, _first(answer).kv_cache_bytes) == (512, 512_000)


def test_headers_that_hold_another_model_than_the_configuration_are_reported(
    estimate: Callable[..., MemoryEstimate], inspector: FakeInspector
) -> None:
    inspector.answers["memory"] = _memory(parameters=1_200_000)
    answer = estimate()

    assert answer.method == "approximate"
    assert "hold 1,000,000 parameters, the configuration describes 1,200,000" in (answer.method_reason or "")


def _installed(name: str, weights: bytes) -> Model:
    row = Model(model_id=f"lab/{name}", commit="cd" * 20, status=ModelStatus.READY)
    folder: Path = hub_cache().snapshot_path(row.model_id, row.commit)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(weights)
    row.files = [
        {"path": path, "size_bytes": 1, "sha256": "0" * 64, "git_sha1": None}
        for path in ("config.json", "model.safetensors")
    ]
    return row


def test_a_model_that_is_here_is_checked_against_its_own_headers() -> None:
    header = b'{"a.weight":{"dtype":"BF16","shape":[3,5],"data_offsets":[0,30]}}'
    checkpoint = local_checkpoint(_installed("whole", len(header).to_bytes(8, "little") + header + bytes(30)))

    assert [(tensor.name, tensor.elements) for tensor in checkpoint.tensors] == [("a.weight", 15)]
    assert list(checkpoint.files) == ["config.json", "model.safetensors"]

    with pytest.raises(NoWeights, match="lab/broken"):
        local_checkpoint(_installed("broken", b"no header at all"))
