"""Projects, their keys and their stored completions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables and the default project."""
    _projects()
    _keys()
    _completions()
    _parts()


def downgrade() -> None:
    """Drop all tables."""
    parts = ["completion_metadata", "completion_messages", "deleted_completions", "completions"]
    for table in [*parts, "api_key_secrets", "api_keys", "projects"]:
        op.drop_table(table)


def _projects() -> None:
    projects = op.create_table(
        "projects",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(projects, [{"id": "default", "name": "Default project", "created": 0}])


def _keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("project_id", TEXT, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_index("ix_api_keys_project_id", "api_keys", ["project_id"])
    op.create_table(
        "api_key_secrets",
        sa.Column("lookup", TEXT, primary_key=True),
        sa.Column("key_id", TEXT, sa.ForeignKey("api_keys.id", ondelete="CASCADE"), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
    )
    op.create_index("ix_api_key_secrets_key_id", "api_key_secrets", ["key_id"])


def _completions() -> None:
    op.create_table(
        "completions",
        sa.Column("project_id", TEXT, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("ix_completions_created", "completions", ["project_id", "created", "id"])
    op.create_index("ix_completions_model", "completions", ["project_id", "model", "created", "id"])
    op.create_table(
        "deleted_completions",
        sa.Column("project_id", TEXT, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_deleted_completions_deleted_at", "deleted_completions", ["deleted_at"])


def _parts() -> None:
    op.create_table(
        "completion_messages",
        sa.Column("project_id", TEXT, primary_key=True),
        sa.Column("completion_id", TEXT, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
        _of_completion(),
    )
    op.create_table(
        "completion_metadata",
        sa.Column("project_id", TEXT, primary_key=True),
        sa.Column("completion_id", TEXT, primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        _of_completion(),
    )
    columns = ["project_id", "key", "value", "created", "completion_id"]
    op.create_index("ix_completion_metadata_pair", "completion_metadata", columns)


def _of_completion() -> sa.ForeignKeyConstraint:
    columns, target = ["project_id", "completion_id"], ["completions.project_id", "completions.id"]
    return sa.ForeignKeyConstraint(columns, target, ondelete="CASCADE")
