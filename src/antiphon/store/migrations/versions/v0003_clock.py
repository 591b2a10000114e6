"""When each rate limit was written, so that a clock that steps back is noticed. What was charged is forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table anew: what it holds is worth a minute."""
    op.drop_table("rate_limits")
    _make(sa.Column("updated_at", sa.BigInteger, nullable=False))


def downgrade() -> None:
    """Make the table as it was."""
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
