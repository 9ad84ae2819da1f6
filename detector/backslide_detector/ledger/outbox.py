"""Alerts on their way: at least once, with a key by which a receiver drops repeats."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from backslide_detector.ledger.tables import outbox

RETRY_SECONDS = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Standard Webhooks' schedule: about three days, then the alert is given up."""
SENDING_SECONDS = 60.0
"""A sender that does not report back within this time is taken for dead."""


_NEVER_SENT = "taken back before it was sent"
CLEARED = "cleared:"
"""Before a reason that was given and holds no longer."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One message for one channel; `id` is the same on every attempt.

    `reason` is one or several, comma-separated.
    """

    id: str
    channel: str
    run_id: str
    reason: str
    payload: Mapping[str, object]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What was already said about a run, whether it has been delivered yet or not.

    Attributes:
        messages: in all.
        holds: reasons that were given and not taken back since.
        times: how often each reason was given.
    """

    messages: int = 0
    holds: frozenset[str] = frozenset()
    times: Mapping[str, int] = field(default_factory=dict)


class Outbox:
    """The queue of alerts, in the ledger's database.

    What is said about a run reaches each channel in the order in which it was said.
    """

    def __init__(self, engine: Engine, now: Callable[[Connection], float]) -> None:
        """Shares the ledger's database and its clock."""
        self._engine = engine
        self._now = now

    def put(self, connection: Connection, alerts: Iterable[Alert], clock: float) -> None:
        """Adds alerts inside the caller's transaction; one that is known is left as it is.

        What is taken back before anybody tried to send it is not sent at all.
        """
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        for alert in alerts:
            unsent = alert.reason.startswith(CLEARED) and self._unsend(connection, alert)
            connection.execute(
                dialect.insert(outbox)
                .values(
                    id=alert.id,
                    channel=alert.channel,
                    run_id=alert.run_id,
                    reason=alert.reason,
                    payload=json.dumps(dict(alert.payload), sort_keys=True),
                    created_at=clock,
                    due_at=None if unsent else clock,
                    attempts=0,
                    error=_NEVER_SENT if unsent else None,
                )
                .on_conflict_do_nothing(index_elements=["id", "channel"])
            )

    def _unsend(self, connection: Connection, alert: Alert) -> bool:
        """Withdraws an alert that nobody tried to send; False if there is none."""
        withdrawn = connection.execute(
            update(outbox)
            .where(
                outbox.c.run_id == alert.run_id,
                outbox.c.channel == alert.channel,
                outbox.c.reason == alert.reason.replace(CLEARED, ""),
                outbox.c.due_at.is_not(None),
                outbox.c.attempts == 0,
            )
            .values(due_at=None, error=_NEVER_SENT)
        )
        return withdrawn.rowcount > 0

    def told(self, run_id: str) -> Told:
        """What was already said about a run."""
        with self._engine.connect() as connection:
            # The channels' copies of one message are one.
            rows = connection.execute(
                select(outbox.c.id, outbox.c.reason, func.min(outbox.c.created_at))
                .where(outbox.c.run_id == run_id)
                .group_by(outbox.c.id, outbox.c.reason)
                .order_by(func.min(outbox.c.created_at))
            ).all()
        holds: set[str] = set()
        times: Counter[str] = Counter()
        for reason in (reason for row in rows for reason in row.reason.split(",")):
            if reason.startswith(CLEARED):
                holds.discard(reason.removeprefix(CLEARED))
            else:
                holds.add(reason)
                times[reason] += 1
        return Told(len(rows), frozenset(holds), times)

    def take(self, limit: int = 20) -> list[Alert]:
        """The alerts to send now; another sender leaves them alone for a minute."""
        earlier = outbox.alias("earlier")
        with self._engine.begin() as connection:
            clock = self._now(connection)
            said_before = exists().where(
                earlier.c.run_id == outbox.c.run_id,
                earlier.c.channel == outbox.c.channel,
                earlier.c.created_at < outbox.c.created_at,
                earlier.c.due_at.is_not(None),
            )
            due = (
                select(outbox.c.id, outbox.c.channel)
                .where(outbox.c.due_at <= clock, ~said_before)
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
