"""Tests that overlap, claims about recipes, noise of the fleet, what alarms ran against."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = (
    ("began", sa.Float()),
    ("ended", sa.Float()),
    ("place", sa.Integer()),
    ("recipe_worse", sa.Float()),
    ("recipe_better", sa.Float()),
    ("recipe_level_worse", sa.Float()),
    ("recipe_level_better", sa.Float()),
    ("recipe_found_worse", sa.Boolean()),
    ("recipe_found_better", sa.Boolean()),
    ("recipe_place", sa.Integer()),
    ("reference", sa.String(64)),
    ("yardstick", sa.String(64)),
    ("phi", sa.Float()),
    ("leads", sa.Boolean()),
)


def upgrade() -> None:
    """Adds them, and writes the streams down in their new form."""
    for name, kind in COLUMNS:
        op.add_column("spent", sa.Column(name, kind))
    op.create_index("spent_ended", "spent", ["ended"])
    op.create_table(
        "repeats",
        sa.Column("lineage", sa.String(64), primary_key=True),
        sa.Column("squares", sa.Float, nullable=False),
        sa.Column("df", sa.Integer, nullable=False),
    )
    _rewrite_streams(op.get_bind())


def _rewrite_streams(connection: sa.Connection) -> None:
    """The old states were a library's; what was spent tells where each stream stands.

    The alert channels begin anew: what they ran against was not kept.
    """
    stream = sa.table("stream", sa.column("name"), sa.column("state"))
    spent = sa.table(
        "spent",
        *map(
            sa.column,
            ("run_id", "number", "procedure", "place", "worse", "better", "found_worse",
             "found_better"),
        ),
    )  # fmt: skip
    connection.execute(sa.delete(stream))
    for procedure in ("addis", "lord++"):
        rows = connection.execute(
            sa.select(spent).where(spent.c.procedure == procedure).order_by(spent.c.number)
        ).all()
        if not rows:
            continue
        for place, row in enumerate(rows, start=1):
            connection.execute(
                sa.update(spent).where(spent.c.run_id == row.run_id).values(place=place)
            )
        for direction in ("worse", "better"):
            counted, discoveries = 0, []
            for place, row in enumerate(rows, start=1):
                pvalue = getattr(row, direction)
                counted += procedure != "addis" or 0.25 < pvalue <= 0.5
                if getattr(row, f"found_{direction}"):
                    discoveries.append((place, counted))
            state = {
                "procedure": procedure,
                "alpha": 0.05,
                "tested": len(rows),
                "counted": counted,
                "discoveries": discoveries,
            }
            connection.execute(
                sa.insert(stream).values(
                    name=f"{direction}:{procedure}", state=json.dumps(state)
                )
            )


def downgrade() -> None:
    """Takes them away; the streams begin anew."""
    op.execute("DELETE FROM stream")
    op.drop_table("repeats")
    op.drop_index("spent_ended", "spent")
    with op.batch_alter_table("spent") as table:
        for name, _ in COLUMNS:
            table.drop_column(name)
