"""Adds the time of the last change to rate limits, to detect a clock that steps back. Charges so far are lost."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table anew: it has the charges of a minute only."""
    op.drop_table("rate_limits")
    _make(sa.Column("updated_at", sa.BigInteger, nullable=False))


def downgrade() -> None:
    """Create the older table."""
    op.drop_table("rate_limits")
    _make()


def _make(*more: sa.Column[int]) -> None:
    op.create_table(
        "rate_limits",
        sa.Column("scope", TEXT, primary_key=True),
        sa.Column("requests_full_at", sa.BigInteger, nullable=False),
        sa.Column("tokens_full_at", sa.BigInteger, nullable=False),
        *more,
    )
