"""`python -m modelyard.workers.processes.worker_parent FD`: imports what every worker needs, but not torch, and forks.

Its children are the workers that load no model, and the warm parent (`fork_server`).
"""

from huggingface_hub import constants  # noqa: F401 - each child has it read the environment again, so this does not count

from modelyard.workers.processes import fork_server

CHILDREN = ("modelyard.workers", "modelyard.workers.processes.warm_parent")

LIBRARIES = (
    "alembic.command",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.virtual",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "modelyard.core.migrate",
    "modelyard.services.huggingface_model_service",
    "modelyard.services.inference.loaded_models",
    "modelyard.services.inspection.fast_dtype",
    "modelyard.services.local_model_service",
    "modelyard.services.quantization_service",
    "modelyard.services.settings_service",
    "modelyard.services.shared_folders",
    "modelyard.services.training.run_service",
    "modelyard.workers.broker.consumer",
    "modelyard.workers.broker.safe_filesystem",
)
"""None of them reads the settings when it is imported, as the tasks do: a worker's are its own."""

ENVIRONMENT = {"TQDM_DISABLE": "1"}
"""What is set while they are imported; tqdm reads it, and no child has a terminal."""

READ_ONCE = ("HF_ENDPOINT", "HUGGINGFACE_CO_STAGING")
"""huggingface_hub also makes the list of the servers that get the token from them, when it is imported."""


def main() -> None:
    fork_server.run("workers", CHILDREN, LIBRARIES, ENVIRONMENT, READ_ONCE)


if __name__ == "__main__":
    main()
