"""Variables that a child process which needs no credential must not have in its environment."""

from pathlib import Path

SECRETS = (
    "AWS_SECRET_ACCESS_KEY",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "HUGGING_FACE_HUB_TOKEN",
    "MODELYARD_API_KEY",
    "MODELYARD_BROKER_URL",
    "MODELYARD_DATABASE_URL",
    "PGPASSWORD",
)


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with, as the kernel shows it."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)
