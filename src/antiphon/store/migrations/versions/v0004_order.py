"""Adds the time of storing to completions, which orders the completions of one second.

Rows of an older version have 0 there: they stay in the order of their ids, before the newer ones of their second.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = ("completions", "completion_metadata", "deleted_completions")
INDEXES = {
    "ix_completions_created": ("completions", ["project_id"], "id"),
    "ix_completions_model": ("completions", ["project_id", "model"], "id"),
    "ix_completion_metadata_pair": ("completion_metadata", ["project_id", "key", "value"], "completion_id"),
}
"""Of each index: its table, the columns of the filter, and the last column."""


def upgrade() -> None:
    """Add the columns, and put them into the indexes."""
    for table in TABLES:
        op.add_column(table, sa.Column("stored_at", sa.BigInteger, nullable=False, server_default="0"))
    _index("created", "stored_at")


def downgrade() -> None:
    """Remove the columns."""
    _index("created")
    for table in TABLES:
        op.drop_column(table, "stored_at")


def _index(*order: str) -> None:
    for name, (table, filters, last) in INDEXES.items():
        op.drop_index(name, table)
        op.create_index(name, table, [*filters, *order, last])
