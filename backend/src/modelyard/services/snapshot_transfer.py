"""A worker's part of a download: files of one commit, within the limits that are set, and with patience for the Hub."""

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from modelyard.core.database import Database
from modelyard.core.errors import DatabaseUnavailable, HubRateLimited, HubUnreachable
from modelyard.hub.cache.hub_cache import HubCache
from modelyard.hub.client import HubClient
from modelyard.hub.download.fetcher import (
    Control,
    FetchLimits,
    TransferCancelled,
    TransferPaused,
    TransferProgress,
    fetch_snapshot,
)
from modelyard.hub.names import RemoteFile
from modelyard.hub.retry import RetryPolicy
from modelyard.models import JobControl
from modelyard.services.jobs.control import JobCancelled, JobPaused, JobProgress, JobReporter, raise_if_stopped
from modelyard.services.settings_service import SettingsService

PATIENCE = RetryPolicy(attempts=40, max_wait_seconds=60.0)
"""Nobody watches a long download: about half an hour of a Hub that does not answer is waited out."""

_CONTROLS = {JobControl.RUN: Control.RUN, JobControl.PAUSE: Control.PAUSE, JobControl.CANCEL: Control.CANCEL}

Answer = TypeVar("Answer")


class SnapshotTransfer:
    """Fetches for jobs, all of which share the bandwidth. Called in a worker."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def fetch(
        self,
        client: HubClient,
        store: HubCache,
        repo_id: str,
        commit: str,
        files: Sequence[RemoteFile],
        reporter: JobReporter,
        *,
        snapshot: str | None = None,
    ) -> None:
        """Fetch and verify as `fetch_snapshot` does. Raises JobPaused, JobCancelled, HubError, StorageError."""
        try:
            fetch_snapshot(
                endpoint=client.endpoint,
                repo_id=repo_id,
                commit=commit,
                snapshot=snapshot,
                files=files,
                store=store,
                token=client.token,
                limits=self._limits,
                on_progress=lambda progress: reporter.report(_job_progress(progress)),
                control=lambda: _CONTROLS[reporter.control()],
                reserve=self._reserve_bandwidth,
            )
        except TransferPaused:
            raise JobPaused from None
        except TransferCancelled:
            raise JobCancelled from None

    def _limits(self) -> FetchLimits:
        with self.database.reading() as session:
            transfers = SettingsService(session).transfers()
        return FetchLimits(
            retry=PATIENCE,
            connections=transfers.connections,
            bandwidth_bytes_per_second=transfers.bandwidth_limit_bytes_per_second,
        )

    def _reserve_bandwidth(self, byte_count: int, rate: float) -> float:
        try:
            with self.database.session() as session:
                return SettingsService(session).reserve_bandwidth(byte_count, rate)
        except DatabaseUnavailable:
            return byte_count / rate  # nobody else can be asked now: this download keeps to the limit alone


def patiently(reporter: JobReporter, call: Callable[[], Answer]) -> Answer:
    """`call()`, again while the Hub does not answer; the user sees each wait and can end it.

    Raises JobPaused or JobCancelled when asked to stop while waiting.
    """
    for failures in range(1, PATIENCE.attempts):
        try:
            return call()
        except (HubUnreachable, HubRateLimited) as error:
            end = time.monotonic() + PATIENCE.wait_seconds(failures)
            while (left := end - time.monotonic()) > 0:
                message = f"retrying in {math.ceil(left)} s ({error.message.rstrip('.')})"
                reporter.report(JobProgress(phase="retrying", message=message))
                raise_if_stopped(reporter)
                time.sleep(min(left, 0.5))
    return call()


def _job_progress(progress: TransferProgress) -> JobProgress:
    return JobProgress(
        phase=progress.phase,
        bytes_done=progress.bytes_done,
        bytes_moved=progress.bytes_moved,
        bytes_total=progress.bytes_total,
        bytes_per_second=progress.bytes_per_second,
        eta_seconds=progress.eta_seconds,
        files_done=progress.files_done,
        files_total=progress.files_total,
        message=progress.message,
    )
