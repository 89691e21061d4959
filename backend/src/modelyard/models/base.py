"""What every table shares."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Enum, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

from modelyard.core.database import UtcDateTime

# None is SQL NULL, not the JSON value null.
_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Base(DeclarativeBase):
    """The base of all tables."""

    # Named constraints, so that Alembic can drop them on every database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        datetime: UtcDateTime(),
        dict[str, Any]: _JSON,
        list[dict[str, Any]]: _JSON,
        list[str]: _JSON,
    }


Bytes = BigInteger


def string_enum(enum: type[StrEnum], name: str) -> Enum:
    """Return a string column with a CHECK constraint: readable in any database client, the same on all databases."""
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda e: [member.value for member in e],
    )


def new_id() -> str:
    return uuid.uuid4().hex
