"""Training runs before and around the training: what may be trained on, what a run takes, who may delete what.

That the widths and hook points are right for each architecture is shown by `ml/inspect/test_architecture.py`; here it
is shown that a run takes them from there.
"""

import errno
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from ml import zoo
from modelyard.core import extras, process
from modelyard.core import queue as core_queue
from modelyard.core.database import Database
from modelyard.core.errors import (
    Conflict,
    DatasetNotFound,
    DiskFull,
    InvalidRequest,
    ModelInUse,
    ModelNotFound,
    NotReady,
    OutOfMemory,
    SaeEngineMissing,
    StorageDenied,
    TrainingIncompatible,
    TrainingNotFound,
)
from modelyard.core.settings import get_settings
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.names import RemoteFile
from modelyard.ml.model_loader import LoadSpec, ModelLoader
from modelyard.ml.sae.plan import Size, memory_plan
from modelyard.models import Job, JobControl, JobState, Model, ModelStatus, Quantization, TrainingStatus
from modelyard.schemas.model import ModelCreate
from modelyard.schemas.system import Device
from modelyard.schemas.training import DatasetResponse, TrainingCreate, TrainingPlan
from modelyard.services import architecture_service, maintenance, model_service, quantization_service, system_service
from modelyard.services.deletion_plan import confirmed_plan
from modelyard.services.facts.model_facts import store_facts
from modelyard.services.facts.training_verdict import static_verdict
from modelyard.services.inference import load_spec
from modelyard.services.inference.loaded_models import LoadedModels
from modelyard.services.inspection.inspection_service import close_inspector
from modelyard.services.jobs.control import JobProgress
from modelyard.services.jobs.job_service import JobService
from modelyard.services.model_actions import delete_model
from modelyard.services.model_files import new_manifest
from modelyard.services.model_response import ModelResponses
from modelyard.services.model_service import ModelService
from modelyard.services.training import memory_room, run_log, training_service
from modelyard.services.training.actions import delete_training
from modelyard.services.training.compatibility import TrainingCompatibilityService
from modelyard.services.training.dataset_service import DatasetService
from modelyard.services.training.run_service import TrainingRunService
from modelyard.services.training.training_service import TrainingService, training_response
from modelyard.workers import inference_tasks, job_runner
from modelyard.workers.job_runner import RunningJob
from modelyard.workers.training_tasks import TRAINING_ENDINGS
from services.cache import resume_waiting
from support.warm import forking

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 128,
    "dtype": "bfloat16",
}
BERT: dict[str, Any] = {
    "architectures": ["BertForMaskedLM"],
    "model_type": "bert",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 512,
}
T5: dict[str, Any] = {
    "architectures": ["T5ForConditionalGeneration"],
    "model_type": "t5",
    "is_encoder_decoder": True,
    "d_model": 64,
    "num_layers": 2,
    "vocab_size": 512,
}
GB = 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    cache = HubCache(tmp_path / "hub")
    for module in (model_service, architecture_service, quantization_service, load_spec):
        monkeypatch.setattr(module, "hub_cache", lambda: cache)
    return cache


@pytest.fixture(autouse=True, scope="module")
def _inspector() -> Iterator[None]:
    with forking():
        yield
        close_inspector()


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free bytes of each device of the machine; the test changes them."""
    known = {"cuda:0": 20 * GB, "cpu": 16 * GB}

    def devices(_pids: list[int]) -> list[Device]:
        return [
            Device(id=id, name=id, total_bytes=24 * GB, free_bytes=bytes, used_by_us_bytes=0)
            for id, bytes in known.items()
        ]

    monkeypatch.setattr(system_service, "devices", devices)
    return known


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained here."""
    monkeypatch.setitem(extras._MODULES, extras.Extra.SAE, ())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"text": f"Sentence number {n}.", "id": n}) + "\n" for n in range(200)))
    return path


def add_model(
    database: Database, cache: HubCache, config: dict[str, Any] = LLAMA, *, name: str = "owner/name", **contents: bytes
) -> str:
    """A model that is ready as far as its files tell; its weights are never read here."""
    bodies = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": b"w" * 1000,
        "tokenizer.json": b"{}",
    } | {path.replace("__", "."): body for path, body in contents.items()}
    bodies = {path: body for path, body in bodies.items() if body}
    files = [RemoteFile(path, len(body), hashlib.sha256(body).hexdigest(), None) for path, body in bodies.items()]
    new = ModelCreate(model_id=name, canonical_id=name, endpoint="e", revision="main", commit="c" * 40)
    cache.prepare(name)
    with database.session() as session:
        row = ModelService(session, cache).create(new)
        row.files = new_manifest(row, files, cache.inventory(row.model_id, row.commit, files))
        for file in files:
            cache.blob_path(name, file.blob).write_bytes(bodies[file.path])
            cache.link(name, "c" * 40, file)
        store_facts(row, config, (), [file["path"] for file in row.files or ()], num_parameters=None)
        row.memory_estimated_bytes = 2 * GB
        ModelService(session, cache).mark_ended(row, ModelStatus.READY)
        return row.id


def asked(row_id: str, corpus: Path, **fields: Any) -> TrainingCreate:
    body = {"model_id": row_id, "hook_point": "model.layers.1", "dataset": {"path": str(corpus)}, "context_size": 128}
    return TrainingCreate.model_validate(body | fields)


class Wishes:
    """A reporter whose user wants nothing."""

    def report(self, progress: JobProgress) -> None: ...

    def control(self) -> JobControl:
        return JobControl.RUN


# What may be trained on


def test_compatible_by_structure(database: Database, cache: HubCache) -> None:
    row_id = add_model(database, cache)
    service = TrainingCompatibilityService(database)
    static = service.of_row(row_id, "static")
    assert (static.compatible, static.level, static.hook_points) == (True, "static", [])
    found = service.of_row(row_id)
    assert (found.compatible, found.level, found.reasons) == (True, "structural", [])
    assert found.dimensions.hidden_size == 64
    residual = [point for point in found.hook_points if point.kind == "residual"]
    assert [point.path for point in residual] == [f"model.layers.{n}" for n in range(3)]
    assert {point.width for point in found.hook_points} == {64}


_SENTENCES = {
    "encoder_only": "This is an encoder: it reads text in both directions and is no language model",
    "encoder_decoder": "This is an encoder-decoder model: it needs two inputs, and training feeds only one text.",
    "no_tokenizer": "owner/name has no tokenizer",
}


@pytest.mark.parametrize(
    ("config", "contents", "code"),
    [
        (BERT, {}, "encoder_only"),
        (T5, {}, "encoder_decoder"),
        (LLAMA | {"auto_map": {"AutoModelForCausalLM": "x.Y"}, "model_type": "own"}, {}, "needs_custom_code"),
        (LLAMA, {"tokenizer__json": b""}, "no_tokenizer"),
        (LLAMA | {"model_type": "nobody-knows"}, {}, "unsupported_architecture"),
        (BERT | {"architectures": ["BertModel"]}, {}, "encoder_only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_incompatible(
    database: Database, cache: HubCache, corpus: Path, config: dict[str, Any], contents: dict[str, Any], code: str
) -> None:
    row_id = add_model(database, cache, config, **contents)
    found = TrainingCompatibilityService(database).of_row(row_id)
    assert (found.compatible, found.reasons[0].code) == (False, code)
    assert found.reasons[0].message.startswith(_SENTENCES.get(code, ""))
    assert found.reasons[0].message.endswith((".", ")"))
    with pytest.raises(TrainingIncompatible) as refused:
        TrainingRunService(database).plan(asked(row_id, corpus))
    assert refused.value.extra["reason"] == code


def test_the_first_verdict_stands_in_the_row(database: Database, cache: HubCache) -> None:
    for config, compatible, codes in ((LLAMA, True, []), (BERT, False, ["encoder_only"])):
        row_id = add_model(database, cache, config)
        with database.reading() as session:
            answer = ModelResponses(session).of_id(row_id).response().training
            assert answer is not None
            assert (answer.compatible, [reason.code for reason in answer.reasons]) == (compatible, codes)
        with database.session() as session:
            session.delete(session.get_one(Model, row_id))


def test_a_verdict_before_the_download() -> None:
    files = ["config.json", "model.safetensors", "tokenizer.json"]
    assert static_verdict("a", LLAMA, files).compatible is True
    assert [reason.code for reason in static_verdict("a", T5, files).reasons] == ["encoder_decoder"]
    assert static_verdict("a", LLAMA, files[:2]).reasons[0].code == "no_tokenizer"
    gated = static_verdict("a", None, files)
    assert (gated.compatible, gated.reasons[0].code) == (None, "unknown_dimensions")


def test_not_ready(database: Database, cache: HubCache) -> None:
    row_id = add_model(database, cache)
    with database.session() as session:
        session.get_one(Model, row_id).status = ModelStatus.DOWNLOADING
    found = TrainingCompatibilityService(database).of_row(row_id)
    assert (found.compatible, found.level, found.reasons[0].code) == (False, "static", "not_ready")
    with pytest.raises(ModelNotFound):
        TrainingCompatibilityService(database).of_row("nothing")


def test_unverified_is_not_incompatible(database: Database, cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelyard.services.inspection.inspection_service import InspectionFailed, InspectionService
    from modelyard.services.training import compatibility

    row_id = add_model(database, cache)

    def late(*_: Any, **__: Any) -> dict[str, Any]:
        raise InspectionFailed("inspector_timeout", "No answer within 60 s.", None)

    with monkeypatch.context() as patched:
        patched.setattr(InspectionService, "ask", late)
        found = TrainingCompatibilityService(database).of_row(row_id)
    assert (found.compatible, found.reasons[0].code) == (None, "not_inspected")
    assert compatibility.INSPECTION_SECONDS > 0


def test_what_a_run_saw_counts_more(database: Database, cache: HubCache) -> None:
    row_id = add_model(database, cache)
    service = TrainingCompatibilityService(database)
    with database.reading() as session:
        row = ModelService(session).get_by_id(row_id)
    service.remember_live(row, "model.layers.1", None)
    assert (service.of_row(row_id).compatible, service.of_row(row_id).level) == (True, "live")
    service.remember_live(
        row, "model.layers.1", {"code": "training_incompatible", "message": "Not finite.", "hint": ""}
    )
    found = service.of_row(row_id)
    assert (found.compatible, found.level) == (None, "live")
    assert "model.layers.1" in found.reasons[-1].message


# What a run takes


def test_a_plan(database: Database, cache: HubCache, corpus: Path, free: dict[str, int]) -> None:
    row_id = add_model(database, cache)
    plan = TrainingRunService(database).plan(asked(row_id, corpus, expansion_factor=16, training_tokens=10_000))
    assert (plan.d_in, plan.d_sae, plan.k, plan.steps) == (64, 1024, 32, 3)
    assert plan.parameters == 2 * 64 * 1024 + 64 + 1024
    assert plan.sae_bytes == 16 * plan.parameters
    assert plan.model_bytes == 2 * GB
    parts = (plan.forward_bytes, plan.sae_bytes, plan.batch_bytes, plan.buffer_bytes, plan.process_bytes)
    assert plan.total_bytes == sum(parts) + 2 * GB
    assert (plan.device, plan.free_bytes, plan.fits, plan.refusal) == ("cuda:0", 20 * GB, True, None)
    # There is no tokenizer to count with, so the text counts by its characters; the other column does not.
    assert plan.dataset_tokens == sum(len(f"Sentence number {n}.") for n in range(200)) // 4
    assert (plan.dataset_column, plan.dataset_columns, plan.dataset_counted) == ("text", ["text"], False)

    free["cuda:0"] = 2 * GB
    refused = TrainingRunService(database).plan(asked(row_id, corpus))
    assert refused.fits is False
    assert refused.refusal is not None
    assert refused.refusal.code == "out_of_memory"
    assert refused.refusal.hint == "Use a smaller or a quantized model: the largest part is the loaded model, 2.00 GB."
    with pytest.raises(OutOfMemory) as error:
        TrainingRunService(database).start(asked(row_id, corpus))
    assert error.value.extra == {"needed_bytes": refused.total_bytes, "free_bytes": 2 * GB}
    assert "of cuda:0, of which 2.00 GB are free" in error.value.message
    free["cpu"] = GB
    with pytest.raises(OutOfMemory, match=r"of system memory, of which 1\.00 GB"):
        TrainingRunService(database).start(asked(row_id, corpus, device="cpu"))
    free["cpu"] = 16 * GB
    assert TrainingRunService(database).plan(asked(row_id, corpus, device="cpu")).fits


def test_figures_of_a_large_run() -> None:
    size = Size(
        d_in=4096,
        d_sae=32_768,
        batch_tokens=4096,
        context_size=256,
        model_bytes=0,
        hidden_size=4096,
        intermediate_size=14_336,
        vocab_size=128_256,
        device_type="cuda",
    )
    plan = memory_plan(size)
    assert plan.sae_bytes == pytest.approx(4.3e9, rel=0.01)
    assert plan.batch_bytes == pytest.approx(6.8e9, rel=0.05)
    assert plan.buffer_bytes == pytest.approx(4 * 4096 * (2.5 * 80 * 256 + 4096), rel=0.05)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hook_point": "model.layers.3"}, "hook_point"),
        ({"k": 513}, "k"),
        ({"architecture": "standard", "k": 4}, "k"),
        ({"l1_coefficient": 2.0}, "l1_coefficient"),
        ({"context_size": 256}, "context_size"),
        ({"training_tokens": 100}, "training_tokens"),
        ({"device": "cuda:7"}, "device"),
        ({"device": "mps"}, "device"),
        ({"dataset": {"path": "/nowhere/at/all.jsonl"}}, "dataset.path"),
        ({"dataset": {"path": "relative.jsonl"}}, "dataset.path"),
    ],
)
def test_fields_that_do_not_fit_the_model(
    database: Database, cache: HubCache, corpus: Path, fields: dict[str, Any], field: str
) -> None:
    row_id = add_model(database, cache)
    with pytest.raises(InvalidRequest) as refused:
        TrainingRunService(database).start(asked(row_id, corpus, **fields))
    assert refused.value.extra["errors"][0]["field"] == field
    assert refused.value.hint


def test_a_column_without_text(database: Database, cache: HubCache, corpus: Path) -> None:
    row_id = add_model(database, cache)
    with pytest.raises(InvalidRequest, match="no text column 'id'") as refused:
        TrainingRunService(database).plan(asked(row_id, corpus, dataset={"path": str(corpus), "column": "id"}))
    assert [(error["field"], error["columns"]) for error in refused.value.extra["errors"]] == [
        ("dataset.column", ["text"])
    ]


def test_the_only_column_with_text_is_taken(database: Database, cache: HubCache, tmp_path: Path) -> None:
    row_id = add_model(database, cache)

    def column_of(name: str, **record: Any) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for _ in range(200)))
        training = TrainingRunService(database).start(asked(row_id, path))
        return str(training.config["dataset"]["column"])

    assert column_of("one", body="Something to read.", number=1) == "body"
    assert column_of("usual", title="A title.", text="Something to read.") == "text"
    with pytest.raises(InvalidRequest, match="2 text columns") as refused:
        column_of("two", title="A title.", body="Something to read.")
    assert refused.value.extra["errors"][0]["columns"] == ["title", "body"]


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", b"nonsense\n"), ("a.txt", b"\xff\xfe\x00"), ("a.csv", b"a"), ("a.txt", b" ")]
)
def test_a_file_that_cannot_be_read_is_told_at_its_field(
    database: Database, cache: HubCache, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidRequest) as refused:
        TrainingRunService(database).plan(asked(add_model(database, cache), path))
    assert refused.value.extra["errors"] == [{"field": "dataset.path", "message": refused.value.message}]


def word_tokenizer() -> bytes:
    """A token for every word and every full stop."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(tokenizer.to_str()).encode()


def test_the_tokens_of_the_column_are_counted(database: Database, cache: HubCache, tmp_path: Path) -> None:
    row_id = add_model(database, cache, tokenizer__json=word_tokenizer())

    def tokens(path: Path) -> tuple[int | None, bool]:
        plan = TrainingRunService(database).plan(asked(row_id, path))
        return plan.dataset_tokens, plan.dataset_counted

    few = tmp_path / "few.jsonl"
    few.write_text("".join(json.dumps({"text": "One two three.", "notes": [0] * 500}) + "\n" for _ in range(100)))
    assert tokens(few) == (400, True)
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"text": "One two three.", "notes": [0] * 500}) + "\n" for _ in range(1000)))
    assert tokens(many) == (4000, False)
    paragraphs = tmp_path / "many.txt"
    paragraphs.write_text("One two three.\n\n" * 1000)
    number, counted = tokens(paragraphs)
    assert (number, counted) == (pytest.approx(4000, rel=0.01), False)
    with many.open("a") as file:
        file.write(json.dumps({"text": "One two three.", "notes": [0] * 500_000}))
    assert (tokens(many)[0] or 0) > 4000, "the file has changed"


def test_rows_without_text_in_front_are_not_taken_for_all(database: Database, cache: HubCache, tmp_path: Path) -> None:
    row_id = add_model(database, cache, tokenizer__json=word_tokenizer())

    def plan(empty: int, full: int, **choice: str) -> TrainingPlan:
        path = tmp_path / f"{empty}-{full}.jsonl"
        nothing, something = json.dumps({"title": "T.", "text": None}), json.dumps({"title": "T.", "text": "One two."})
        path.write_text("\n".join([nothing] * empty + [something] * full))
        return TrainingRunService(database).plan(asked(row_id, path, dataset={"path": str(path), **choice}))

    counted = plan(150, 100)
    assert (counted.dataset_column, counted.dataset_tokens, counted.dataset_counted) == ("text", 300, True)
    estimated = plan(150, 10_000)
    assert estimated.dataset_tokens == pytest.approx(30_000, rel=0.7)
    assert not estimated.dataset_counted
    # Nothing is known of what comes after the rows that are looked at.
    unknown = plan(10_001, 100, column="title")
    assert unknown.dataset_tokens is not None
    with pytest.raises(InvalidRequest, match="no text column 'text'"):
        plan(10_001, 100, column="text")


def test_tokens_that_nobody_knows_are_unknown(database: Database, cache: HubCache, tmp_path: Path) -> None:
    """The column is known to hold text, but none of it is among the rows that are read for an estimate."""
    row_id = add_model(database, cache, tokenizer__json=word_tokenizer())
    path = tmp_path / "blank.jsonl"
    path.write_text(
        json.dumps({"text": " "}) + "\n" + (json.dumps({"text": None}) + "\n") * 12_000 + '{"text": "One."}'
    )
    plan = TrainingRunService(database).plan(asked(row_id, path))
    assert (plan.dataset_tokens, plan.dataset_counted, plan.epochs) == (None, False, None)


@pytest.mark.sae
def test_the_tokens_of_a_compressed_file_are_counted(database: Database, cache: HubCache, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    row_id = add_model(database, cache, tokenizer__json=word_tokenizer())
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["One two three."] * 1000}), path, compression="zstd")
    plan = TrainingRunService(database).plan(asked(row_id, path))
    assert (plan.dataset_tokens, plan.dataset_counted) == (4000, False)


def test_a_text_shorter_than_a_context_is_refused(database: Database, cache: HubCache, tmp_path: Path) -> None:
    row_id = add_model(database, cache, tokenizer__json=word_tokenizer())
    path = tmp_path / "short.txt"
    path.write_text("Too short a text.")
    with pytest.raises(InvalidRequest, match="5 tokens, less than one context of 128") as refused:
        TrainingRunService(database).plan(asked(row_id, path))
    assert refused.value.extra["errors"][0]["field"] == "dataset.path"


def test_the_precision_of_the_model(
    database: Database, cache: HubCache, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row_id = add_model(database, cache)
    stored = TrainingRunService(database).plan(asked(row_id, corpus))
    same = TrainingRunService(database).plan(asked(row_id, corpus, dtype="float16"))
    wider = TrainingRunService(database).plan(asked(row_id, corpus, dtype="float32"))
    assert (same.model_bytes, same.forward_bytes) == (stored.model_bytes, stored.forward_bytes)
    assert (wider.model_bytes, wider.forward_bytes) == (4 * GB, 2 * stored.forward_bytes)

    training = TrainingRunService(database).start(asked(row_id, corpus, dtype="float32"))
    told: list[dict[str, Any]] = []

    def child(_module: str, request: dict[str, Any], on_report: Any, **__: Any) -> dict[str, Any]:
        told.append(request)
        on_report({"live": {"code": "training_incompatible", "message": "Not finite.", "hint": None}})
        return {"output": "/somewhere"}

    monkeypatch.setattr(process, "run_child", child)
    TrainingRunService(database).run(training.id, Wishes())
    assert told[0]["dtype"] == "float32"
    assert TrainingCompatibilityService(database).of_row(row_id).level == "structural"
    with database.session() as session:
        run = TrainingService(session).get_by_id(training.id)
        assert training_response(run).dtype == "float32"
        run.config = {name: value for name, value in run.config.items() if name != "dtype"}
        assert training_response(run).dtype == "auto"
        session.get_one(Model, row_id).quantization = Quantization.FOUR_BIT
    with pytest.raises(InvalidRequest, match="in 4bit is trained on in the precision") as refused:
        TrainingRunService(database).plan(asked(row_id, corpus, dtype="float32"))
    assert refused.value.extra["errors"][0]["field"] == "dtype"


def test_a_plan_that_an_earlier_version_stored(database: Database, cache: HubCache, corpus: Path) -> None:
    training = TrainingRunService(database).start(asked(add_model(database, cache), corpus))
    later = {"unloads", "dataset_column", "dataset_columns", "dataset_counted", "beginning_token", "beginning_tokens"}
    with database.session() as session:
        run = TrainingService(session).get_by_id(training.id)
        whole = training_response(run).plan
        assert whole == TrainingPlan.model_validate(run.plan)
        run.plan = {name: value for name, value in run.plan.items() if name not in later}
        plan = training_response(run).plan
    assert plan.total_bytes == whole.total_bytes
    assert (plan.unloads, plan.beginning_token, plan.beginning_tokens) == ([], None, [])


def test_a_killed_process_is_told_in_plain_words(
    database: Database, started: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def child(*_: Any, **__: Any) -> dict[str, Any]:
        raise process.ChildCrashed("modelyard.workers.processes.train_child", -9, run_log.log_file(started[1]))

    monkeypatch.setattr(process, "run_child", child)
    with pytest.raises(process.ChildCrashed) as crashed:
        TrainingRunService(database).run(started[1], Wishes())
    assert crashed.value.as_dict()["message"] == "The run's process was killed; often the memory has run out."
    assert "SIGKILL" in run_log.read(started[1]).text


def test_without_the_extra(database: Database, cache: HubCache, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras._MODULES, extras.Extra.SAE, ("not_installed",))
    row_id = add_model(database, cache)
    with pytest.raises(SaeEngineMissing) as missing:
        TrainingRunService(database).start(asked(row_id, corpus))
    assert "-m pip install 'modelyard[sae]' torch==" in (missing.value.hint or "")
    plan = TrainingRunService(database).plan(asked(row_id, corpus))
    assert (plan.fits, plan.refusal and plan.refusal.code) == (True, "sae_engine_missing")


# Room for a run


@dataclass
class Holding:
    """An inference worker in this process, with a real loader; it unloads as asked."""

    database: Database
    cache: HubCache
    folder: Path
    loader: ModelLoader

    def load(self, name: str, *, pinned: bool = False) -> dict[str, Any]:
        row_id = add_model(self.database, self.cache, name=f"owner/{name}")
        info = self.loader.load(self.spec(name, pinned=pinned))
        LoadedModels(self.database, "host:inference").publish(self.loader)
        return {"id": row_id, "name": name, "measured_bytes": info.measured_bytes}

    def spec(self, name: str, *, pinned: bool = False) -> LoadSpec:
        return LoadSpec(f"owner/{name}", "c" * 40, "none", self.folder, device="cpu", pinned=pinned)

    def names(self) -> set[str]:
        return {info.key.model_id.removeprefix("owner/") for info in self.loader.loaded()}


@pytest.fixture
def holding(database: Database, cache: HubCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Holding]:
    loader = ModelLoader()
    for module in (inference_tasks, job_runner):
        monkeypatch.setattr(module, "get_database", lambda: database)
    monkeypatch.setattr(inference_tasks, "_loader", lambda: loader)
    monkeypatch.setenv("MODELYARD_WORKER_NAME", "host:inference")
    workers: list[threading.Thread] = []

    def work(_queue: str, task_name: str, job_id: str) -> None:
        if task_name == "models.unload":
            workers.append(threading.Thread(target=inference_tasks.unload_model_task, args=(job_id,)))
            workers[-1].start()

    monkeypatch.setattr(core_queue.outbox, "put", work)
    yield Holding(database, cache, zoo.make("llama", tmp_path), loader)
    for worker in workers:
        worker.join(30)
    loader.close()


def test_idle_models_make_room_when_the_run_starts(
    database: Database,
    cache: HubCache,
    corpus: Path,
    free: dict[str, int],
    holding: Holding,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del free["cuda:0"]
    row_id = add_model(database, cache)
    oldest = holding.load("oldest")
    for name, pinned in (("pinned", True), ("newer", False)):
        holding.load(name, pinned=pinned)
    plenty = TrainingRunService(database).plan(asked(row_id, corpus))
    assert (plenty.fits, plenty.unloads) == (True, [])

    # One byte is missing: the model that was used last longest ago is enough.
    free["cpu"] = int(plenty.total_bytes / 0.9) - 1
    training = TrainingRunService(database).start(asked(row_id, corpus))
    assert training.plan["unloads"] == [oldest]
    seen: list[set[str]] = []
    phases: list[str] = []
    record = TrainingService.record

    def child(*_: Any, **__: Any) -> dict[str, Any]:
        seen.append(holding.names())
        return {"output": "/somewhere"}

    def note(self: TrainingService, training_id: str, report: dict[str, Any]) -> None:
        phases.append(report["phase"])
        record(self, training_id, report)

    monkeypatch.setattr(process, "run_child", child)
    monkeypatch.setattr(TrainingService, "record", note)
    TrainingRunService(database).run(training.id, Wishes())
    assert seen == [{"pinned", "newer"}]
    assert phases == ["making_room", "starting"]
    with database.reading() as session:
        unloaded = ModelResponses(session).of_id(oldest["id"]).response()
    assert (unloaded.loaded, unloaded.error) == (False, None)

    # What all of them hold together would not do, so none is unloaded.
    free["cpu"] -= 10 * oldest["measured_bytes"]
    poor = TrainingRunService(database).plan(asked(row_id, corpus))
    assert (poor.fits, poor.unloads, poor.refusal and poor.refusal.code) == (False, [], "out_of_memory")


def test_models_that_are_pinned_or_in_use_are_never_unloaded(database: Database, holding: Holding) -> None:
    pinned, used, idle = holding.load("pinned", pinned=True), holding.load("used"), holding.load("idle")
    with holding.loader.get(holding.spec("used")):
        LoadedModels(database, "host:inference").publish(holding.loader)
        with database.reading() as session:
            assert [model.name for model in memory_room.idle_models(session, "cpu")] == ["idle"]
            assert memory_room.idle_models(session, "cuda:0") == []
        # Asked for by somebody who saw them idle a moment ago.
        late = [memory_room.IdleModel(row["id"], "host:inference", row["name"], 1) for row in (pinned, used, idle)]
        memory_room.unload(database, late, lambda: False)
        assert holding.names() == {"pinned", "used"}
    with database.reading() as session:
        assert {session.get_one(Model, row["id"]).error for row in (pinned, used, idle)} == {None}


# Rows


@pytest.fixture
def started(database: Database, cache: HubCache, corpus: Path) -> tuple[str, str]:
    """(model row, training) of a run that waits for a worker."""
    row_id = add_model(database, cache)
    return row_id, TrainingRunService(database).start(asked(row_id, corpus)).id


def test_a_run_waits_for_a_worker(
    database: Database, started: tuple[str, str], wakeups: list[tuple[str, str, str]]
) -> None:
    with database.reading() as session:
        training = TrainingService(session).get_by_id(started[1])
        answer = training_response(training)
        assert session.get_one(Job, training.job_id).queue == "training"
    assert wakeups == [("compute", "trainings.train", training.job_id)]
    assert (answer.status, answer.d_in, answer.d_sae, answer.k) == ("pending", 64, 512, 32)
    # A new run from this one may be on another machine.
    assert (answer.device, answer.plan.device) == ("auto", "cuda:0")
    assert (answer.model_id, answer.model_name, answer.output_path) == (started[0], "owner/name", None)


def test_its_model_cannot_be_deleted(database: Database, cache: HubCache, started: tuple[str, str]) -> None:
    row_id, training_id = started
    with database.session() as session:
        models = ModelService(session)
        facts = models.deletion.facts(models.get_by_id(row_id))
    with pytest.raises(ModelInUse, match=training_id[:8]) as refused:
        confirmed_plan(cache, facts, confirm_shared=False)
    with database.session() as session:
        assert [user["kind"] for user in refused.value.extra["used_by"]] == ["training"]
        assert [user.id for user in ModelResponses(session).of_id(row_id).response().used_by] == [training_id]
        TrainingService(session).cancel(training_id)
        assert ModelResponses(session).of_id(row_id).response().used_by == []
    delete_model(database, row_id)
    with database.session() as session:
        training = TrainingService(session).get_by_id(training_id)
        assert (training.model_row_id, training.model_id) == (None, "owner/name")
        assert training_response(training).resumable is False
        with pytest.raises(NotReady, match="deleted"):
            TrainingService(session).resume(training_id)


def test_steering(database: Database, started: tuple[str, str]) -> None:
    training_id = started[1]
    with database.session() as session:
        trainings = TrainingService(session)
        with pytest.raises(Conflict):
            trainings.resume(training_id)
        assert trainings.cancel(training_id).status is TrainingStatus.CANCELLED
        assert trainings.cancel(training_id).status is TrainingStatus.CANCELLED
        resumed = trainings.resume(training_id)
        assert resumed.status is TrainingStatus.PENDING
        job = JobService(session).claim(resumed.job_id or "", "w")
        assert job is not None
        trainings.mark_running(resumed)
        assert trainings.cancel(training_id).status is TrainingStatus.CANCELLING
        trainings.mark_running(resumed)
        assert resumed.status is TrainingStatus.CANCELLING
        JobService(session).finish(job.id, job.owner or "", JobState.CANCELLED)
        trainings.mark_ended(resumed, TrainingStatus.CANCELLED)
        with pytest.raises(TrainingNotFound):
            trainings.get_by_id("nothing")


@pytest.fixture
def waiting(
    database: Database, started: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """(training, job) of a run that met a full disk."""
    monkeypatch.setattr(job_runner, "get_database", lambda: database)
    monkeypatch.setenv("MODELYARD_WORKER_NAME", "host:compute")
    with database.reading() as session:
        job_id = TrainingService(session).get_by_id(started[1]).job_id
    assert job_id is not None

    def work(_job: RunningJob) -> None:
        with database.session() as session:
            trainings = TrainingService(session)
            trainings.mark_running(trainings.get_by_id(started[1]))
        raise DiskFull("The disk is full.", folder=str(tmp_path), needed_bytes=1000)

    job_runner.run_job(job_id, work, TRAINING_ENDINGS)
    return started[1], job_id


def test_a_full_disk_is_waited_for(
    database: Database, waiting: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, resumed, state in ((999, 0, JobState.PAUSED), (1000, 1, JobState.QUEUED), (1000, 0, JobState.QUEUED)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        with database.session() as session:
            before = training_response(TrainingService(session).get_by_id(waiting[0]))
            assert (before.status, before.resumable, before.finished_at) == ("pending", False, None)
            assert resume_waiting(session) == resumed
            after = training_response(TrainingService(session).get_by_id(waiting[0]))
            assert after.status == "pending"
            assert (after.error and after.error.code) == ("disk_full" if state is JobState.PAUSED else None)
            assert after.job_id == waiting[1]
            assert session.get_one(Job, waiting[1]).state is state


def test_a_run_that_waits_for_a_disk_can_be_cancelled(database: Database, waiting: tuple[str, str]) -> None:
    with database.session() as session:
        trainings = TrainingService(session)
        assert trainings.cancel(waiting[0]).status is TrainingStatus.CANCELLED
        assert session.get_one(Job, waiting[1]).state is JobState.CANCELLED
        assert trainings.get_by_id(waiting[0]).error is None
        assert resume_waiting(session) == 0
        assert trainings.resume(waiting[0]).job_id != waiting[1]


def test_a_run_that_cannot_save_its_state_when_it_is_cancelled_has_failed(
    database: Database, started: tuple[str, str]
) -> None:
    with database.session() as session:
        training = TrainingService(session).get_by_id(started[1])
        job = JobService(session).claim(training.job_id or "", "w")
        assert job is not None
        TrainingService(session).mark_running(training)
        TrainingService(session).cancel(started[1])
    TRAINING_ENDINGS.paused(database, job.id, job.owner or "", started[1], DiskFull("Full.").as_dict())
    with database.session() as session:
        assert TrainingService(session).get_by_id(started[1]).status is TrainingStatus.FAILED
        assert resume_waiting(session) == 0


def test_the_curve_goes_on_from_where_a_crash_left_it(database: Database, started: tuple[str, str]) -> None:
    def report(step: int, mse: float) -> dict[str, Any]:
        figures = {
            "mse": mse,
            "explained_variance": 0.5,
            "explained_variance_per_token": 0.4,
            "held_out_explained_variance": 0.3,
            "held_out_explained_variance_per_token": 0.2,
            "l0": 32.0,
            "dead_features": 0,
        }
        return figures | {
            "step": step,
            "tokens": step * 100,
            "tokens_per_second": 10.0,
            "eta_seconds": 1.0,
            "point": True,
        }

    with database.session() as session:
        trainings = TrainingService(session)
        for step in (1, 2, 3, 4):
            trainings.record(started[1], report(step, 9.0))
        trainings.record(started[1], report(3, 5.0))
        assert [(point.step, point.mse) for point in trainings.curve(started[1])] == [(1, 9.0), (2, 9.0), (3, 5.0)]
        assert [point.step for point in trainings.curve(started[1], 2)] == [3]
        assert trainings.get_by_id(started[1]).tokens_done == 300


@pytest.fixture
def ended(database: Database, started: tuple[str, str]) -> tuple[str, Path]:
    """A cancelled run and its folder."""
    folder = get_settings().trainings_folder / started[1]
    (folder / "sae").mkdir(parents=True)
    (folder / "sae" / "weights").write_bytes(b"x" * 500)
    with pytest.raises(Conflict):
        delete_training(database, started[1])
    with database.session() as session:
        TrainingService(session).cancel(started[1])
    return started[1], folder


def test_a_run_is_deleted_with_what_it_wrote(database: Database, ended: tuple[str, Path]) -> None:
    training_id, folder = ended
    assert delete_training(database, training_id) == 500
    assert not list(folder.parent.glob(f"{training_id}*"))
    with database.reading() as session:
        assert TrainingService(session).list(limit=10, offset=0) == ([], 0)
        assert session.scalars(select(Job).where(Job.subject_id == training_id)).all() == []
    with pytest.raises(TrainingNotFound):
        delete_training(database, training_id)


def test_a_run_whose_folder_cannot_be_removed_stays_and_says_why(
    database: Database, ended: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    training_id, folder = ended
    real = Path.rename

    def denied(self: Path, target: Path) -> Path:
        if self == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(StorageDenied):
        delete_training(database, training_id)
    with database.session() as session:
        trainings = TrainingService(session)
        answer = training_response(trainings.get_by_id(training_id))
        assert (answer.status, answer.resumable, answer.error and answer.error.code) == (
            "cancelled",
            True,
            "storage_denied",
        )
        assert (folder / "sae" / "weights").exists()
        assert trainings.resume(training_id).error is None
        trainings.cancel(training_id)
    monkeypatch.setattr(Path, "rename", real)
    assert delete_training(database, training_id) == 500


def test_an_interrupted_deletion_is_finished_and_not_resumed(
    database: Database, ended: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    training_id, folder = ended
    with database.session() as session:
        trainings = TrainingService(session)
        trainings.begin_deletion(training_id)
        assert not training_response(trainings.get_by_id(training_id)).resumable
        with pytest.raises(Conflict, match="being deleted"):
            trainings.resume(training_id)
    maintenance.check_files(database, set())
    assert folder.exists()
    monkeypatch.setattr(training_service, "HALF_REMOVED_SECONDS", 0.0)
    maintenance.check_files(database, set())
    assert not folder.exists()
    with database.reading() as session:
        assert TrainingService(session).list(limit=10, offset=0) == ([], 0)


# Data sets


def store(datasets: DatasetService, name: str, content: bytes) -> DatasetResponse:
    """Keep a file that arrives in two pieces."""
    arriving = datasets.receive(name, len(content))
    try:
        arriving.write(content[:5])
        arriving.write(content[5:])
        return arriving.finish()
    finally:
        arriving.discard()


@pytest.mark.parametrize(
    ("name", "content", "rows", "columns"),
    [
        ("a.jsonl", b'{"text": "one", "n": 1}\n\n{"text": "two"}\n', 2, ["text"]),
        ("../../my notes.txt", b"One\nparagraph.\n\n\nAnother.", 2, ["text"]),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "one"}\n', 1, ["text"]),
        ("a.txt", b"\xef\xbb\xbfOne.", 1, ["text"]),
        ("a.jsonl", b'{"te\\udc80xt": "half of a pair: \\ud83d"}\n', 1, ["te\ufffdxt"]),
        ("a.jsonl", b'{"text": null, "n": 1}\n' * 150 + b'{"text": "one", "n": 1}\n', 151, ["text"]),
        ("a.jsonl", b'{"n": 1}\n' * 20_000 + b'{"text": "one"}\n', 20_001, ["text"]),
        ("a.jsonl", b'{"title": "a", "text": null}\n' * 150 + b'{"text": "one"}\n', 151, ["title", "text"]),
    ],
)
def test_stored_data_sets(tmp_path: Path, name: str, content: bytes, rows: int, columns: list[str]) -> None:
    service = DatasetService(tmp_path / "datasets")
    stored = store(service, name, content)
    assert (stored.rows, stored.columns, stored.size_bytes) == (rows, columns, len(content))
    assert Path(stored.path).parent == tmp_path / "datasets"
    assert Path(stored.path).read_bytes() == content
    assert store(service, name, content).path == stored.path
    assert len(list((tmp_path / "datasets").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\none\n", "none of the kinds"),
        ("", b"", "none of the kinds"),
        ("a.jsonl", b'{"text": "one"}\nnonsense\n', r"Line 2 of a\.jsonl"),
        ("a.jsonl", b"[" * 100_000, "Line 1"),
        ("a.jsonl", b'{"n": 1}\n', "holds no text"),
        ("a.jsonl", b'{"text": null}\n' * 150, "holds no text"),
        ("a.jsonl", b"\xef\xbb\xbf", "holds no text"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.txt", b"half of a pair in UTF-8: \xed\xa0\xbd", "not UTF-8"),
        ("a.parquet", b"PAR1", "Parquet"),
    ],
)
def test_data_sets_that_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        store(DatasetService(tmp_path / "datasets"), name, content)
    assert not (tmp_path / "datasets").exists() or not list((tmp_path / "datasets").iterdir())


def test_a_data_set_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="must stay free"):
        DatasetService(tmp_path).receive("a.txt", 2**60)


@pytest.mark.sae
def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"words": ["one", "two"], "n": [1, 2]}), path)
    stored = store(DatasetService(tmp_path / "datasets"), "a.parquet", path.read_bytes())
    assert (stored.rows, stored.columns) == (2, ["words"])
    # Dates that Python does not have, texts in a dictionary, nothing in the first row.
    far = pyarrow.array([2**62, 1], pyarrow.timestamp("us"))
    words = pyarrow.array(["one", None]).dictionary_encode()
    odd = pyarrow.Table.from_arrays([far, words, pyarrow.array([None, "two"])], ["when", "words", "more"])
    parquet.write_table(odd, path)
    stored = store(DatasetService(tmp_path / "datasets"), "b.parquet", path.read_bytes())
    assert (stored.rows, stored.columns) == (2, ["words", "more"])


def test_what_was_sent_is_listed_and_removed(database: Database, cache: HubCache) -> None:
    datasets = DatasetService()
    content = "".join(json.dumps({"text": f"Sentence {n}."}) + "\n" for n in range(300)).encode()
    path = Path(store(datasets, "listed.jsonl", content).path)
    training_id = TrainingRunService(database).start(asked(add_model(database, cache), path)).id
    with database.session() as session:
        [found] = [one for one in datasets.stored(session) if one.path == str(path)]
        assert (found.name, found.size_bytes) == (path.name, len(content))
        assert [(user.id, user.status) for user in found.used_by] == [(training_id, "pending")]
        with pytest.raises(Conflict, match=training_id[:8]):
            datasets.delete(session, path.name)
        TrainingService(session).cancel(training_id)
        for name in ("nothing.jsonl", "../modelyard.db", ".", ""):
            with pytest.raises(DatasetNotFound):
                datasets.delete(session, name)
        assert datasets.delete(session, path.name) == len(content)
        assert path.name not in [one.name for one in datasets.stored(session)]
    assert not path.exists()


@pytest.fixture
def move_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Have another MODELYARD_HOME."""

    def move(home: Path) -> None:
        monkeypatch.setenv("MODELYARD_HOME", str(home))
        get_settings.cache_clear()

    yield move
    monkeypatch.undo()
    get_settings.cache_clear()


def test_a_home_that_has_moved(
    database: Database,
    cache: HubCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    move_to: Callable[[Path], None],
) -> None:
    homes = tmp_path / "before", tmp_path / "after"
    move_to(homes[0])
    content = "".join(json.dumps({"text": f"Sentence {n}."}) + "\n" for n in range(300)).encode()
    sent = store(DatasetService(), "sent.jsonl", content).path
    row_id = add_model(database, cache)
    training_id = TrainingRunService(database).start(asked(row_id, Path(sent))).id
    folder = get_settings().trainings_folder / training_id / "sae"
    folder.mkdir(parents=True)
    with database.session() as session:
        run = TrainingService(session).get_by_id(training_id)
        run.output_path, run.status = str(folder), TrainingStatus.COMPLETED

    homes[0].rename(homes[1])
    move_to(homes[1])
    here = str(homes[1] / "datasets" / Path(sent).name)
    told: list[dict[str, Any]] = []

    def child(_module: str, request: dict[str, Any], **__: Any) -> dict[str, Any]:
        told.append(request)
        return {"output": "/somewhere"}

    monkeypatch.setattr(process, "run_child", child)
    with database.session() as session:
        answer = training_response(TrainingService(session).get_by_id(training_id))
        assert (answer.output_path, answer.dataset.path) == (str(homes[1] / "trainings" / training_id / "sae"), here)
        assert [user.id for user in DatasetService().stored(session)[0].used_by] == [training_id]
    assert TrainingRunService(database).plan(asked(row_id, Path(sent))).dataset_tokens
    TrainingRunService(database).run(training_id, Wishes())
    assert told[0]["dataset_path"] == here
