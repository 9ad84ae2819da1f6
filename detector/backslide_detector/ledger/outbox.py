"""Alerts on their way: at least once, with a key by which a receiver drops repeats."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from backslide_detector.ledger.tables import outbox

RETRY_SECONDS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Standard Webhooks' schedule: about three days, then the alert is given up."""
SENDING_SECONDS = 60.0
"""A sender that does not report back within this time is taken for dead."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One message for one channel; `id` is the same on every attempt."""

    id: str
    channel: str
    run_id: str
    reason: str
    payload: Mapping[str, object]
    attempts: int = 0


class Outbox:
    """The queue of alerts, in the ledger's database."""

    def __init__(self, engine: Engine, now: Callable[[Connection], float]) -> None:
        """Shares the ledger's database and its clock."""
        self._engine = engine
        self._now = now

    def put(self, connection: Connection, alerts: Iterable[Alert], clock: float) -> None:
        """Adds alerts inside the caller's transaction; one that is known is left as it is."""
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        for alert in alerts:
            connection.execute(
                dialect.insert(outbox)
                .values(
                    id=alert.id,
                    channel=alert.channel,
                    run_id=alert.run_id,
                    reason=alert.reason,
                    payload=json.dumps(dict(alert.payload), sort_keys=True),
                    created_at=clock,
                    due_at=clock,
                    attempts=0,
                )
                .on_conflict_do_nothing(index_elements=["id", "channel"])
            )

    def reasons(self, run_id: str) -> frozenset[str]:
        """What was already said about a run, whether it has been delivered yet or not."""
        with self._engine.connect() as connection:
            found = connection.scalars(
                select(outbox.c.reason).where(outbox.c.run_id == run_id)
            ).all()
        return frozenset(reason for joined in found for reason in joined.split(","))

    def take(self, limit: int = 20) -> list[Alert]:
        """The alerts to send now; another sender leaves them alone for a minute."""
        with self._engine.begin() as connection:
            clock = self._now(connection)
            due = (
                select(outbox.c.id, outbox.c.channel)
                .where(outbox.c.due_at <= clock)
                .order_by(outbox.c.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            rows = [
                connection.execute(
                    update(outbox)
                    .where(outbox.c.id == key.id, outbox.c.channel == key.channel)
                    .values(attempts=outbox.c.attempts + 1, due_at=clock + SENDING_SECONDS)
                    .returning(outbox)
                ).one()
                for key in connection.execute(due).all()
            ]
        return [
            Alert(
                row.id,
                row.channel,
                row.run_id,
                row.reason,
                json.loads(row.payload),
                row.attempts,
            )
            for row in rows
        ]

    def delivered(self, alert: Alert) -> None:
        """The receiver has it."""
        with self._engine.begin() as connection:
            self._set(connection, alert, delivered_at=self._now(connection), due_at=None)

    def failed(self, alert: Alert, reason: str, retry_in: float | None) -> None:
        """It could not be handed over; `retry_in` None gives it up."""
        with self._engine.begin() as connection:
            due_at = None if retry_in is None else self._now(connection) + retry_in
            self._set(connection, alert, error=reason, due_at=due_at)

    def pending(self) -> int:
        """Alerts that are still to be delivered."""
        with self._engine.connect() as connection:
            return int(
                connection.scalar(
                    select(func.count()).select_from(outbox).where(outbox.c.due_at.is_not(None))
                )
                or 0
            )

    def _set(self, connection: Connection, alert: Alert, **values: object) -> None:
        connection.execute(
            update(outbox)
            .where(outbox.c.id == alert.id, outbox.c.channel == alert.channel)
            .values(**values)
        )
