"""What this instance offers to others through its Hub endpoint: the snapshots whose every file was verified."""

from modelyard.core.database import Database
from modelyard.hub.repos import ReadyFile, ReadySnapshot
from modelyard.services.model_service import ModelService


def ready_snapshots(database: Database) -> list[ReadySnapshot]:
    with database.reading() as session:
        rows = ModelService(session).list_ready()
    snapshots = {}
    for row in rows:
        if row.files:
            snapshots[row.model_id, row.commit] = ReadySnapshot(
                model_id=row.model_id,
                canonical_id=row.canonical_id,
                commit=row.commit,
                revision=row.revision,
                files=tuple(
                    ReadyFile(
                        path=file["path"], size=file["size_bytes"], sha256=file["sha256"], git_sha1=file["git_sha1"]
                    )
                    for file in row.files
                ),
                ready_at=row.updated_at,
                gated=row.gated,
            )
    return list(snapshots.values())
