"""Work, judgements, memories, outbox.

The migrations spell the tables out: what a version once made must not change with the code.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "work",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("lineage", sa.String(64)),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("stage", sa.String(8), nullable=False),
        sa.Column("revision", sa.String(64), nullable=False),
        sa.Column("done", sa.String(64)),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_seen", sa.Float),
        sa.Column("advanced_at", sa.Float),
        sa.Column("owner", sa.String(64)),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Float),
    )
    op.create_index("work_due", "work", ["due_at", "started"])
    op.create_index("work_lineage", "work", ["lineage"])
    op.create_table(
        "judgement",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("revision", sa.String(64), primary_key=True),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("health", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("traceback", sa.Text),
        sa.Column("judged_at", sa.Float, nullable=False),
    )
    op.create_table(
        "past",
        sa.Column("run_id", sa.String(64), primary_key=True),
        sa.Column("lineage", sa.String(64)),
        sa.Column("memory", sa.Text, nullable=False),
    )
    op.create_index("past_lineage", "past", ["lineage"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("channel", sa.String(32), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("due_at", sa.Float),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("delivered_at", sa.Float),
        sa.Column("error", sa.Text),
    )
    op.create_index("outbox_due", "outbox", ["due_at"])
    op.create_index("outbox_run", "outbox", ["run_id"])


def downgrade() -> None:
    """Drops them."""
    for table in ("outbox", "past", "judgement", "work"):
        op.drop_table(table)
