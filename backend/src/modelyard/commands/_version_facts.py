"""What is said of the version of an installed model."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.client.answers import ModelResponse


def version_facts(row: "ModelResponse") -> Iterator[tuple[str, str]]:
    """Yield the newer version, the one before, the one in use and the pin, where there are any."""
    if row["update_available"]:
        newer = row.get("pinned_commit") or row["latest_commit"]
        yield "newer version", f"{newer}; `modelyard update {row['id'][:8]}` gets it"
    if (replaced_by := row.get("replaced_by")) is not None:
        yield (
            "replaced by",
            f"{replaced_by[:8]}; `modelyard rollback {replaced_by[:8]} --to {row['commit'][:12]}` returns",
        )
    if (previous := row.get("previous_commit")) is not None:
        yield "version before", f"{previous}; `modelyard rollback {row['id'][:8]}` returns to it"
    if (pinned := row.get("pinned_commit")) is not None:
        yield "pinned to", f"{pinned}; `modelyard unpin {row['model_id']}` follows {row['revision']} again"
