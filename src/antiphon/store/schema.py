"""The tables, the same in SQLite and PostgreSQL. ``migrations`` creates them; a test compares the two.

Every object's primary key begins with its project, so that a look-up does not distinguish another project's object from
a missing one. Times are whole Unix seconds unless a column's ``doc`` differs.
"""

import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.types import TypeEngine

DEFAULT_PROJECT = "default"
"""The project of a server without keys; the first migration creates it."""

metadata = MetaData()


class ClientText(TypeDecorator[str]):
    r"""Text of any characters, compared by code point on both databases.

    PostgreSQL cannot store U+0000, which JSON can contain: it is stored as ``\0``, and a backslash as ``\\``.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type with code-point order, which is SQLite's default."""
        return dialect.type_descriptor(Text(collation="C") if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's)
        """Return the escaped value."""
        return None if value is None else value.replace("\\", "\\\\").replace("\0", "\\0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002 (SQLAlchemy's)
        """Return the unescaped value."""
        return None if value is None else re.sub(r"\\([\\0])", lambda found: "\0" if found[1] == "0" else "\\", value)


projects = Table(
    "projects",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("name", ClientText, nullable=False),
    Column("created", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ClientText, primary_key=True),
    Column("project_id", ClientText, ForeignKey("projects.id"), nullable=False),
    Column("name", ClientText, nullable=False),
    Column("scopes", ClientText, nullable=False, doc="Separated by blanks."),
    Column("created", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index("ix_api_keys_project_id", "project_id"),
)

api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("lookup", ClientText, primary_key=True, doc="The part of the key that finds the row; not secret."),
    Column("key_id", ClientText, ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False),
    Column("digest", ClientText, nullable=False, doc="SHA-256 of the whole key, in hexadecimal."),
    Column("created", BigInteger, nullable=False),
    Column("expires_at", BigInteger, doc="The end of the grace period after a rotation."),
    Index("ix_api_key_secrets_key_id", "key_id"),
)


def _stored_at(doc: str) -> Column[int]:
    return Column("stored_at", BigInteger, nullable=False, server_default="0", doc=doc)


completions = Table(
    "completions",
    metadata,
    Column("project_id", ClientText, ForeignKey("projects.id"), primary_key=True),
    Column("id", ClientText, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("model", ClientText, nullable=False),
    Column("status", ClientText, nullable=False, doc="completed, cancelled (the client disconnected) or failed."),
    Column("message_count", Integer, nullable=False),
    Column("metadata", Text, nullable=False, doc="A JSON object; completion_metadata is its index."),
    Column("body", Text, nullable=False, doc="The completion in JSON, with empty metadata."),
    _stored_at("Unix microseconds; rises within a second of ``created``. 0 in rows of schema 0003 and older."),
    Index("ix_completions_created", "project_id", "created", "stored_at", "id"),
    Index("ix_completions_model", "project_id", "model", "created", "stored_at", "id"),
)


def _of_completion() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["project_id", "completion_id"], ["completions.project_id", "completions.id"], ondelete="CASCADE"
    )


completion_messages = Table(
    "completion_messages",
    metadata,
    Column("project_id", ClientText, primary_key=True),
    Column("completion_id", ClientText, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    _of_completion(),
)

completion_metadata = Table(
    "completion_metadata",
    metadata,
    Column("project_id", ClientText, primary_key=True),
    Column("completion_id", ClientText, primary_key=True),
    Column("key", ClientText, primary_key=True),
    Column("value", ClientText, nullable=False),
    Column("created", BigInteger, nullable=False, doc="The completion's, so that one index filters and orders."),
    _of_completion(),
    _stored_at("The completion's."),
    Index("ix_completion_metadata_pair", "project_id", "key", "value", "created", "stored_at", "completion_id"),
)

deleted_completions = Table(
    "deleted_completions",
    metadata,
    Column("project_id", ClientText, ForeignKey("projects.id"), primary_key=True),
    Column("id", ClientText, primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    _stored_at("The completion's."),
    Index("ix_deleted_completions_deleted_at", "deleted_at"),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("scope", ClientText, primary_key=True),
    Column("requests_full_at", BigInteger, nullable=False, doc="Unix microseconds."),
    Column("tokens_full_at", BigInteger, nullable=False, doc="Unix microseconds."),
    Column("updated_at", BigInteger, nullable=False, doc="Unix microseconds of the last change."),
)

rate_leases = Table(
    "rate_leases",
    metadata,
    Column("scope", ClientText, primary_key=True),
    Column("request_id", ClientText, primary_key=True),
    Column("holder", ClientText, nullable=False, doc="The process that renews it."),
    Column("expires_at", BigInteger, nullable=False, doc="Unix microseconds."),
    Index("ix_rate_leases_holder", "holder"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", ClientText, ForeignKey("projects.id"), primary_key=True),
    Column("key", ClientText, primary_key=True),
    Column("body_hash", ClientText, nullable=False),
    Column("token", ClientText, nullable=False, doc="Identifies the request that answers."),
    Column("holder", ClientText, doc="The process that answers; null after the answer."),
    Column("status", Integer, doc="The HTTP status; null before the answer."),
    Column("answer", LargeBinary),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
    Index("ix_idempotency_keys_holder", "holder"),
)
