"""Training sparse autoencoders: what a run would take, starting one, and a worker's part of it."""

import signal
import socket
import sys
from dataclasses import asdict
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import ModelyardError, OutOfMemory
from modelyard.core.extras import Extra, has, missing, require
from modelyard.core.paths import PathRules
from modelyard.core.queues import Queue
from modelyard.core.settings import get_settings
from modelyard.models import JobControl, Model, Quantization, Training
from modelyard.schemas.common import ErrorDetail
from modelyard.schemas.system import Device
from modelyard.schemas.training import (
    TrainingCreate,
    TrainingPlan,
    UnloadedForRun,
)
from modelyard.services import system_service
from modelyard.services.inference.load_spec import weights_folder
from modelyard.services.inspection.fast_dtype import fast_dtype
from modelyard.services.jobs.control import JobPaused, JobReporter, raise_if_stopped
from modelyard.services.model_service import ModelService
from modelyard.services.settings_service import SettingsService
from modelyard.services.training import memory_room, run_log
from modelyard.services.training.compatibility import TrainingCompatibilityService
from modelyard.services.training.memory_room import IdleModel
from modelyard.services.training.plan import (
    active_features,
    check_request,
    hook_point,
    memory_needed,
    model_bytes,
    no_room,
)
from modelyard.services.training.text import Text, beginning_token, count_tokens, find_text, special_tokens, wrong_field
from modelyard.services.training.training_service import TrainingService, asked_of

SAVE_SECONDS = 120.0
"""How long the process of a run may take to save its state when it is stopped."""


class TrainingRunService:
    """`plan` and `start` are the API's side, `run` a worker's."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.compatibility = TrainingCompatibilityService(database)

    def plan(self, request: TrainingCreate) -> TrainingPlan:
        """Return what a run would take, and whether it would be refused.

        Raises ModelNotFound, NotReady, TrainingIncompatible, InvalidRequest, PathNotAllowed, and SaeEngineMissing where
        even torch is not installed.
        """
        return self._plan(request, find_text(request.dataset, PathRules.of(get_settings())))[0]

    def _plan(self, request: TrainingCreate, text: Text) -> tuple[TrainingPlan, ModelyardError | None]:
        """Return the plan, and the error with which it would be refused."""
        from modelyard.ml.sae.plan import USABLE_FRACTION, refusal

        if not has(Extra.TORCH):
            raise missing(Extra.SAE)  # which brings torch: without that, no hook point is known
        row = self._row(request.model_id)
        verdict = self.compatibility.of_row(row.id)
        point = hook_point(verdict, request.hook_point)
        check_request(request, row, point.width, verdict)
        tokens = count_tokens(text, weights_folder(row))
        special = special_tokens(weights_folder(row))
        beginning = beginning_token(request.beginning, special)
        if tokens.counted and tokens.number is not None and tokens.number < request.context_size:
            raise wrong_field(
                "dataset.path",
                f"{text.path.name} has {tokens.number} tokens, less than one context of {request.context_size}.",
                "Use a longer text or a smaller context_size.",
            )
        device = self._device(request.device)
        memory = memory_needed(row, request, point, verdict, device)
        refused: ModelyardError | None = None
        unloads: list[IdleModel] = []
        given_up = 0
        if device is not None:
            unloads = self._in_the_way(device, memory.total_bytes)
            given_up = sum(model.measured_bytes for model in unloads)
            refused = refusal(memory.total_bytes, device.free_bytes + given_up, device.id, memory.hint())
            refused = refused or no_room(memory)
        fits = None if device is None else not isinstance(refused, OutOfMemory)
        if not has(Extra.SAE):
            refused = missing(Extra.SAE)
        plan = TrainingPlan(
            d_in=point.width,
            d_sae=point.width * request.expansion_factor,
            steps=-(-request.training_tokens // request.batch_tokens),
            k=active_features(request, point.width),
            device=request.device if device is None else device.id,
            free_bytes=None if device is None else device.free_bytes,
            usable_bytes=None if device is None else int(USABLE_FRACTION * (device.free_bytes + given_up)),
            unloads=[UnloadedForRun(id=m.row_id, name=m.name, measured_bytes=m.measured_bytes) for m in unloads],
            fits=fits,
            dataset_column=text.column,
            dataset_columns=list(text.columns),
            **self._faster(row, request, device),
            beginning_token=beginning,
            beginning_tokens=list(special.tokens),
            dataset_tokens=tokens.number,
            dataset_counted=tokens.counted,
            epochs=round(request.training_tokens / tokens.number, 2) if tokens.number else None,
            refusal=ErrorDetail.model_validate(refused.as_dict()) if refused else None,
            **memory.as_dict() | {"model_bytes": model_bytes(row, request)},
        )
        return plan, refused

    def _faster(self, row: Model, request: TrainingCreate, device: Device | None) -> dict[str, Any]:
        """The plan's fields about a dtype in which the machine is faster than in the one the model is stored in."""
        if device is None or request.dtype != "auto" or row.quantization is not Quantization.NONE:
            return {}
        faster = fast_dtype(self.database, row.dtype, [device], queue="compute")
        if faster is None:
            return {}
        stored = model_bytes(row, request)
        wanted = model_bytes(row, request.model_copy(update={"dtype": faster.dtype}))
        more = None if stored is None or wanted is None else wanted - stored
        return {"fast_dtype": faster, "fast_dtype_bytes": more}

    def start(self, request: TrainingCreate) -> Training:
        """Queue a run. Raises SaeEngineMissing, OutOfMemory, DiskFull, and what `plan` raises."""
        require(Extra.SAE)
        text = find_text(request.dataset, PathRules.of(get_settings()))
        plan, refused = self._plan(request, text)
        if refused is not None:
            raise refused
        standard = request.architecture == "standard"
        config = request.model_dump(exclude={"model_id"}) | {
            "k": plan.k,
            "l1_coefficient": (request.l1_coefficient or 1.0) if standard else None,
            "dataset": {"path": str(text.path), "column": text.column},
        }
        with self.database.session() as session:
            model = ModelService(session).get_by_id(request.model_id)
            return TrainingService(session).create(
                Training(
                    model_row_id=model.id,
                    model_id=model.model_id,
                    commit=model.commit,
                    quantization=model.quantization.value,
                    config=config,
                    hook_point=request.hook_point,
                    d_in=plan.d_in,
                    d_sae=plan.d_sae,
                    plan=plan.model_dump(mode="json"),
                    tokens_total=request.training_tokens,
                )
            )

    def run(self, training_id: str, reporter: JobReporter) -> None:
        """Train in a child process until it is done or somebody wants it to stop. Called in a worker.

        Raises JobPaused or JobCancelled when asked to stop (the state is saved), and what the child raises.
        """
        from modelyard.core.process import ChildCrashed, ChildStopped, run_child

        raise_if_stopped(reporter)
        with self.database.session() as session:
            trainings = TrainingService(session)
            training = trainings.get_by_id(training_id)
            trainings.mark_running(training)
        model = self._row(training.model_row_id or "")
        with self.database.reading() as session:
            rules = SettingsService(session).path_rules()
        request = _request(training, model, rules)
        self._make_room(training, reporter)
        raise_if_stopped(reporter)

        def on_report(report: dict[str, Any]) -> None:
            if "live" in report:
                # What was seen in another precision says nothing of the model as it is stored.
                if request["dtype"] == "auto":
                    self.compatibility.remember_live(model, training.hook_point, report["live"])
                return
            with self.database.session() as session:
                TrainingService(session).record(training_id, report)

        on_report({"phase": "starting"})
        log = run_log.log_file(training_id)
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = run_child(
                "modelyard.workers.processes.train_child",
                request,
                on_report=on_report,
                should_stop=lambda: reporter.control() is not JobControl.RUN,
                log=log,
                grace_seconds=SAVE_SECONDS,
            )
        except ChildCrashed as error:
            run_log.append(training_id, error.message)
            # The name of a module and of a signal are for the log.
            error.message = _how_it_ended(error.exit_code)
            raise
        except ChildStopped:
            raise_if_stopped(reporter)
            raise JobPaused from None
        with self.database.session() as session:
            TrainingService(session).get_by_id(training_id).output_path = made["output"]

    def _in_the_way(self, device: Device, needed_bytes: int) -> list[IdleModel]:
        """Return the idle models without which a run fits.

        None if it fits with them, or does not fit without them either.
        """
        from modelyard.ml.sae.plan import USABLE_FRACTION

        with self.database.reading() as session:
            idle = memory_room.idle_models(session, device.id)
        return memory_room.enough(idle, needed_bytes / USABLE_FRACTION - device.free_bytes)

    def _make_room(self, training: Training, reporter: JobReporter) -> None:
        """By what is free now, which may be less or more than when the run was planned."""
        device = self._device(training.config["device"])
        unloads = [] if device is None else self._in_the_way(device, training.plan["total_bytes"])
        if not unloads:
            return
        with self.database.session() as session:
            TrainingService(session).record(training.id, {"phase": "making_room"})
        memory_room.unload(self.database, unloads, lambda: reporter.control() is not JobControl.RUN)

    def _row(self, row_id: str) -> Model:
        with self.database.reading() as session:
            return ModelService(session).get_by_id(row_id)

    def _device(self, name: str) -> Device | None:
        """Return where the run would be, with its free memory; None if no worker that could do it is on this machine.

        Raises InvalidRequest for a device this machine does not have.
        """
        with self.database.reading() as session:
            machine = system_service.devices(system_service.local_pids(session))
            alive = [w for w in system_service.workers(session) if w.alive and Queue.COMPUTE in w.queues]
        if alive and all(worker.host != socket.gethostname() for worker in alive):
            return None
        known = {device.id: device for device in machine}
        if name == "auto":
            return known.get("cuda:0") or known["cpu"]
        if name == "mps" and sys.platform == "darwin":
            return None
        if name not in known:
            raise wrong_field("device", f"There is no device {name!r} here.", f"Use auto or one of {', '.join(known)}.")
        return known[name]


def _how_it_ended(exit_code: int) -> str:
    if exit_code == -signal.SIGKILL:
        return "The run's process was killed; often the memory has run out."
    return "The run's process ended before the run was done."


def _request(training: Training, model: Model, rules: PathRules) -> dict[str, Any]:
    """Return what the child is told. Raises NotReady."""
    from modelyard.ml.sae.engine import TrainingRun

    asked = asked_of(training)
    run = TrainingRun(
        folder=str(get_settings().trainings_folder / training.id),
        weights_folder=str(weights_folder(model)),
        model_id=training.model_id,
        commit=training.commit,
        quantization=model.quantization.value,
        allow_pickle=model.allow_pickle,
        dtype=asked["dtype"],
        hook_point=training.hook_point,
        d_in=training.d_in,
        d_sae=training.d_sae,
        architecture=asked["architecture"],
        k=asked["k"],
        l1_coefficient=asked["l1_coefficient"],
        dataset_path=asked["dataset"]["path"],
        dataset_column=asked["dataset"]["column"],
        path_rules=rules.stored(),
        training_tokens=asked["training_tokens"],
        context_size=asked["context_size"],
        batch_tokens=asked["batch_tokens"],
        learning_rate=asked["learning_rate"],
        seed=asked["seed"],
        device=asked["device"],
        # What the child itself takes by then is not free any more.
        planned_bytes=training.plan["total_bytes"] - training.plan["process_bytes"],
        checkpoint_seconds=asked["checkpoint_seconds"],
        beginning=asked["beginning"],
        skip_positions=asked["skip_positions"],
    )
    return asdict(run)
