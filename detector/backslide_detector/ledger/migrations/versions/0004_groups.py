"""Classes and slices of a retrain have streams of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = (
    ("group_worse", sa.Float()),
    ("group_better", sa.Float()),
    ("group_level_worse", sa.Float()),
    ("group_level_better", sa.Float()),
    ("group_found_worse", sa.Boolean()),
    ("group_found_better", sa.Boolean()),
    ("group_place", sa.Integer()),
)


def upgrade() -> None:
    """Adds them; retrains that were spent before are in no such stream."""
    for name, kind in COLUMNS:
        op.add_column("spent", sa.Column(name, kind))


def downgrade() -> None:
    """Takes them away, with the streams."""
    op.execute("DELETE FROM stream WHERE name LIKE 'group_%'")
    with op.batch_alter_table("spent") as table:
        for name, _ in COLUMNS:
            table.drop_column(name)
