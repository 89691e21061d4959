"""The `repo_facts` table: what a snapshot's own files say of it, read once and searched by the Hub endpoint."""

from sqlalchemy import BigInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from modelyard.models.base import Base


class StoredRepoFacts(Base):
    __tablename__ = "repo_facts"

    model_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    commit: Mapped[str] = mapped_column(String(64), primary_key=True)
    servable: Mapped[bool]
    """False where the manifest is empty, or a name in it could lead out of the snapshot's folder."""
    pipeline_tag: Mapped[str | None] = mapped_column(Text)
    library_name: Mapped[str | None] = mapped_column(Text)
    num_parameters: Mapped[int | None] = mapped_column(BigInteger)
    tags: Mapped[str] = mapped_column(Text)
    """One a line, with a line break before the first and after the last."""
    facts: Mapped[str] = mapped_column(Text)
    """All of them as JSON. Not a JSON column: PostgreSQL's has no NUL, which a stranger's file may contain."""
