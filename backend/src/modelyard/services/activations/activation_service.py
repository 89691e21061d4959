"""Activations of models: reading them at once, and writing them to files."""

import time
from pathlib import Path
from typing import Any

from modelyard.core.database import Database
from modelyard.core.errors import DatasetNotFound, error_from
from modelyard.core.settings import get_settings
from modelyard.core.storage import folder_bytes, remove_folder, storage_errors
from modelyard.models import Job, JobKind, JobState
from modelyard.schemas.activations import ActivationsRequest, CapturePage, CaptureResponse, DatasetRows
from modelyard.schemas.training import DatasetChoice
from modelyard.services.activations.captures import CaptureService, capture_response
from modelyard.services.activations.hook_names import hook_paths
from modelyard.services.activations.interventions import resolve
from modelyard.services.inference.inference_service import InferenceService, holder
from modelyard.services.inference.served import Served
from modelyard.services.jobs.job_service import JobService
from modelyard.services.jobs.payloads import ActivationsPayload, CapturePayload, DatasetSlice
from modelyard.services.settings_service import SettingsService
from modelyard.services.training.text import find_text

ESTIMATE_SECONDS = 10.0
"""How long whoever starts to write files waits to hear how large they become, or why they do not."""
_POLL_SECONDS = 0.1


class ActivationService:
    """The API's side; the model is run in `workers.activation_tasks`. Owns its transactions."""

    def __init__(self, inference: InferenceService) -> None:
        self.inference = inference
        self.database: Database = inference.database

    def start_direct(self, row_id: str, request: ActivationsRequest) -> str:
        """Queue the reading of activations for an answer at once. Returns the job's id.

        Raises ModelNotFound, NotReady, BaseMissing, InvalidRequest, PathNotAllowed, DatasetNotFound.
        """
        served = self.inference.served(row_id)
        payload = ActivationsPayload(**self._fields(served, request))
        return self.inference.enqueue(JobKind.ACTIVATIONS, served.row, payload)

    def start(self, row_id: str, request: ActivationsRequest) -> str:
        """Queue the writing of activations to files. Returns their id. Raises as `start_direct` does."""
        served = self.inference.served(row_id)
        payload = CapturePayload(
            **self._fields(served, request), batch_size=request.batch_size, shard_bytes=request.shard_bytes
        )
        with self.database.session() as session:
            worker = holder(session, served.row.id)
            return CaptureService(session).create(served.row, payload, worker=worker).id

    def await_estimate(self, capture_id: str) -> CaptureResponse:
        """Return the set once its size is known, or after ESTIMATE_SECONDS.

        Raises the error of one that was refused meanwhile, of which nothing stays.
        """
        deadline = time.monotonic() + ESTIMATE_SECONDS
        while True:
            found = self.get(capture_id)
            if found.status == "failed" and found.estimated_bytes is None:
                with self.database.reading() as session:
                    error = CaptureService(session).get(capture_id)[1].error or {}
                self.delete(capture_id)
                raise error_from(error)
            if found.estimated_bytes is not None or found.progress is None or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_SECONDS)

    def get(self, capture_id: str) -> CaptureResponse:
        """Raises ActivationsNotFound."""
        with self.database.reading() as session:
            return capture_response(*CaptureService(session).get(capture_id))

    def list(self, *, limit: int, offset: int) -> CapturePage:
        """Return one page, the newest first."""
        with self.database.reading() as session:
            rows, total = CaptureService(session).list(limit=limit, offset=offset)
            items = [capture_response(capture, job) for capture, job in rows]
        return CapturePage(items=items, total=total, limit=limit, offset=offset)

    def pause(self, capture_id: str) -> CaptureResponse:
        """Stop and keep what is written. Raises ActivationsNotFound, Conflict."""
        with self.database.session() as session:
            CaptureService(session).pause(capture_id)
        return self.get(capture_id)

    def resume(self, capture_id: str) -> CaptureResponse:
        """Go on with a set that was paused or failed. Raises ActivationsNotFound, Conflict."""
        with self.database.session() as session:
            CaptureService(session).resume(capture_id)
        return self.get(capture_id)

    def cancel(self, capture_id: str) -> CaptureResponse:
        """Stop and remove what is written. Raises ActivationsNotFound, Conflict, StorageError."""
        with self.database.session() as session:
            may_remove = CaptureService(session).cancel(capture_id)
        if may_remove:
            remove_files(capture_id)
        return self.get(capture_id)

    def delete(self, capture_id: str) -> int:
        """Remove a set that has ended; return the bytes freed. Raises ActivationsNotFound, Conflict, StorageError."""
        with self.database.reading() as session:
            CaptureService(session).require_ended(capture_id)
        freed = folder_bytes(capture_folder(capture_id))
        remove_files(capture_id)
        with self.database.session() as session:
            CaptureService(session).remove(capture_id)
        return freed

    def _fields(self, served: Served, request: ActivationsRequest) -> dict[str, Any]:
        with self.database.reading() as session:
            rules = SettingsService(session).path_rules()
        dataset = None
        if request.dataset is not None:
            begin, end = request.dataset.rows or (0, None)
            text = find_text(DatasetChoice(path=_path(request.dataset), column=request.dataset.column), rules)
            dataset = DatasetSlice(path=str(text.path), column=text.column, begin=begin, end=end)
        return {
            "hook_points": hook_paths(self.database, served.row, request.hook_points),
            "texts": request.texts,
            "token_ids": request.token_ids,
            "dataset": dataset,
            "path_rules": rules.stored(),
            "positions": request.positions,
            "dtype": request.dtype,
            "max_tokens": request.max_tokens,
            "adapter": served.adapter_id,
            "interventions": resolve(self.database, served.row, request.interventions).interventions,
            "load": self.inference.any_load(served.row),
        }


def capture_folder(capture_id: str) -> Path:
    """Return where the files of a set are."""
    return get_settings().activations_folder / capture_id


def remove_files(capture_id: str) -> None:
    """Remove the files of a set. Raises StorageError."""
    folder = capture_folder(capture_id)
    with storage_errors(folder):
        remove_folder(folder)


def end_capture(
    database: Database, job_id: str, owner: str, state: JobState, error: dict[str, Any] | None = None
) -> None:
    """End or pause the job of a set; of one that is complete, the texts are forgotten. Raises LeaseLost."""
    with database.session() as session:
        JobService(session).finish(job_id, owner, state, error=error)
        if state is JobState.DONE:
            session.get_one(Job, job_id).payload = None


def _path(dataset: DatasetRows) -> str:
    if dataset.id is None:
        return dataset.path or ""
    folder = get_settings().datasets_folder
    if Path(dataset.id).name != dataset.id or not (folder / dataset.id).is_file():
        raise DatasetNotFound(f"There is no data set {dataset.id!r}.")
    return str(folder / dataset.id)
