"""Rate limits and idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _limits()
    _idempotency()


def downgrade() -> None:
    """Drop the tables."""
    for table in ("idempotency_keys", "rate_leases", "rate_limits"):
        op.drop_table(table)


def _limits() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("scope", TEXT, primary_key=True),
        sa.Column("requests_full_at", sa.BigInteger, nullable=False),
        sa.Column("tokens_full_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "rate_leases",
        sa.Column("scope", TEXT, primary_key=True),
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_rate_leases_holder", "rate_leases", ["holder"])


def _idempotency() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", TEXT, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("body_hash", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("holder", TEXT),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    op.create_index("ix_idempotency_keys_holder", "idempotency_keys", ["holder"])
