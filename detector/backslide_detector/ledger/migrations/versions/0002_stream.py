"""The stream of retrains, and what people decided."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "stream",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "spent",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        sa.Column("lineage", sa.String(64)),
        sa.Column("procedure", sa.String(16), nullable=False),
        sa.Column("worse", sa.Float, nullable=False),
        sa.Column("better", sa.Float, nullable=False),
        sa.Column("level_worse", sa.Float, nullable=False),
        sa.Column("level_better", sa.Float, nullable=False),
        sa.Column("found_worse", sa.Boolean, nullable=False),
        sa.Column("found_better", sa.Boolean, nullable=False),
        sa.Column("broken", sa.Integer),
        sa.Column("fixed", sa.Integer),
        sa.Column("alarm_value", sa.Float),
        sa.Column("alarm_every", sa.Float),
        sa.Column("alarmed", sa.Boolean, nullable=False),
        sa.Column("test_set", sa.String(64)),
        sa.Column("uses", sa.Integer, nullable=False),
        sa.Column("spent_at", sa.Float, nullable=False),
    )
    op.create_index("spent_test_set", "spent", ["test_set"])
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("who", sa.String(250), nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("decided_at", sa.Float, nullable=False),
    )
    op.create_index("decision_run", "decision", ["run_id"])


def downgrade() -> None:
    """Drops them."""
    for table in ("decision", "spent", "stream"):
        op.drop_table(table)
