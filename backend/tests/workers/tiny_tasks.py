"""What the tests run instead of Modelyard's own tasks: each notes its argument in a folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

from celery.signals import worker_init, worker_ready
from huggingface_hub import constants

from modelyard.core.queue import create_celery
from modelyard.core.settings import get_settings

celery_app = create_celery(get_settings())
NOTES = Path(os.environ["TINY_NOTES"])


def note(name: str, text: str = "") -> None:
    with (NOTES / name).open("a") as file:
        file.write(f"{text}\n")


def on_init(**_signal: object) -> None:
    name = os.environ["MODELYARD_WORKER_NAME"]
    note("names", name)
    for secret in sorted({"HF_TOKEN", "MODELYARD_API_KEY"} & os.environ.keys()):
        note("secrets", f"{name.rpartition(':')[2]}:{secret}")
    if constants.is_offline_mode():
        note("offline", name.rpartition(":")[2])


def on_ready(**_signal: object) -> None:
    note("pids", str(os.getpid()))


worker_init.connect(on_init)
worker_ready.connect(on_ready)


@celery_app.task(name="tiny.note")
def note_job(job_id: str) -> None:
    note(f"job-{job_id}", str(os.getpid()))


@celery_app.task(name="tiny.wait_until_stopping")
def wait_until_stopping(job_id: str) -> None:
    from modelyard.workers.celery_app import stopping

    note(f"waiting-{job_id}")
    note(f"stopped-{job_id}", str(stopping.wait(30)))


@celery_app.task(name="tiny.stubborn")
def stubborn(job_id: str) -> None:
    """Ignores the stop flag, and has a child process that would outlive it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    note(f"stubborn-{job_id}", str(child.pid))
    time.sleep(120)
