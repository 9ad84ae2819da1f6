"""Tables of the ledger. Times are epoch seconds by the database's clock."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

work = Table(
    "work",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("lineage", String(64)),
    Column("started", Float, nullable=False),
    Column("stage", String(8), nullable=False),
    Column("revision", String(64), nullable=False),
    Column("done", String(64)),
    Column("due_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_seen", Float),
    Column("advanced_at", Float),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False),
    Column("lease_until", Float),
    Index("work_due", "due_at", "started"),
    Index("work_lineage", "lineage"),
)
"""One row a run. `revision` is what was last found, `done` what was last judged and written
back; a row is due while they differ. `fence` grows with each lease."""

judgement = Table(
    "judgement",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("revision", String(64), primary_key=True),
    Column("fence", Integer, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("health", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("traceback", Text),
    Column("judged_at", Float, nullable=False),
)
"""What was said about a run as it stood at a revision; `document` is its `verdict.json`."""

past = Table(
    "past",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("lineage", String(64)),
    Column("memory", Text, nullable=False),
    Index("past_lineage", "lineage"),
)
"""What later runs of a lineage must know of each judged run, as JSON. Lineages are hashed."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("channel", String(32), primary_key=True),
    Column("run_id", String(64), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float),
    Column("attempts", Integer, nullable=False),
    Column("delivered_at", Float),
    Column("error", Text),
    Index("outbox_due", "due_at"),
    Index("outbox_run", "run_id"),
)
"""Alerts on their way. `id` is the receiver's idempotency key; `due_at` is empty once an alert
was delivered or given up."""

stream = Table(
    "stream",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("state", Text, nullable=False),
)
"""Where each stream stands; it follows from the rows of `spent`."""

spent = Table(
    "spent",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("number", Integer, nullable=False, unique=True),
    Column("lineage", String(64)),
    Column("procedure", String(16), nullable=False),
    Column("worse", Float, nullable=False),
    Column("better", Float, nullable=False),
    Column("level_worse", Float, nullable=False),
    Column("level_better", Float, nullable=False),
    Column("found_worse", Boolean, nullable=False),
    Column("found_better", Boolean, nullable=False),
    Column("broken", Integer),
    Column("fixed", Integer),
    Column("alarm_value", Float),
    Column("alarm_every", Float),
    Column("alarmed", Boolean, nullable=False),
    Column("test_set", String(64)),
    Column("uses", Integer, nullable=False),
    Column("spent_at", Float, nullable=False),
    Column("began", Float),
    Column("ended", Float),
    Column("place", Integer),
    Column("recipe_worse", Float),
    Column("recipe_better", Float),
    Column("recipe_level_worse", Float),
    Column("recipe_level_better", Float),
    Column("recipe_found_worse", Boolean),
    Column("recipe_found_better", Boolean),
    Column("recipe_place", Integer),
    Column("group_worse", Float),
    Column("group_better", Float),
    Column("group_level_worse", Float),
    Column("group_level_better", Float),
    Column("group_found_worse", Boolean),
    Column("group_found_better", Boolean),
    Column("group_place", Integer),
    Column("reference", String(64)),
    Column("yardstick", String(64)),
    Column("phi", Float),
    Column("leads", Boolean),
    Index("spent_test_set", "test_set"),
    Index("spent_ended", "ended"),
)
"""The evidence of each retrain, spent once and for all, and what it bought. `number` is the
order of the fleet, `place`, `recipe_place` and `group_place` that in the streams of the
procedure. A test is open from `began` to `ended`. `broken` and `fixed` are against `reference`,
that of the alert channel."""

repeats = Table(
    "repeats",
    metadata,
    Column("lineage", String(64), primary_key=True),
    Column("squares", Float, nullable=False),
    Column("df", Integer, nullable=False),
)
"""What the repeats of each lineage's recipes say of retrain noise: the fleet is their sum."""

decision = Table(
    "decision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(64), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("who", String(250), nullable=False),
    Column("why", Text),
    Column("decided_at", Float, nullable=False),
    Index("decision_run", "run_id"),
)
"""What people decided about runs; nothing is overwritten, the last row counts."""
