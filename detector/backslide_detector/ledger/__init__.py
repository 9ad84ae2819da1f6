"""What was found, judged and sent: the detector's memory, one database for all replicas."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from backslide_detector.errors import UserError
from backslide_detector.ledger.database import connect, first_line, hashed, now, shown, upsert
from backslide_detector.ledger.migrate import migrate
from backslide_detector.ledger.outbox import Alert, Outbox
from backslide_detector.ledger.queue import Lease, Left, Queue, Stage
from backslide_detector.ledger.streams import spend
from backslide_detector.ledger.tables import decision, judgement, past, repeats
from backslide_detector.lineage import Stake, Standing
from backslide_detector.stats.dispersion import NO_REPEATS, Dispersion

__all__ = ["Alert", "Lease", "Ledger", "Left", "Outbox", "Record", "Stage"]


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger keeps of a judgement.

    Attributes:
        document: the judgement as JSON, with `seen`: see `engine.Judged`.
        past: what later runs of the lineage must know of this one, as plain JSON values; None
            while that is not known.
        traceback: where the analysis crashed, if it did.
        repeats: what the repeats of this lineage's recipes say of retrain noise.
    """

    revision: str
    lineage: str | None
    verdict: str
    health: str
    summary: str
    document: str
    past: Mapping[str, object] | None = None
    traceback: str | None = None
    repeats: Dispersion = NO_REPEATS


class Ledger(Queue):
    """Work, judgements and outgoing alerts, in one database and so in one transaction."""

    def __init__(self, engine: Engine, owner: str) -> None:
        """Wraps a migrated database; `owner` names this replica in its leases."""
        super().__init__(engine, owner)
        self.outbox = Outbox(engine, now)

    @classmethod
    def open(cls, url: str, owner: str) -> Self:
        """Opens the database and brings its schema up to date.

        Raises:
            UserError: the URL is wrong or the database cannot be used, in one line.
        """
        try:
            engine = connect(url)
            migrate(engine)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise UserError(f"state: not a usable database URL: {first_line(error)}") from error
        except (SQLAlchemyError, OSError) as error:
            raise UserError(f"state: cannot open {shown(url)}: {first_line(error)}") from error
        return cls(engine, owner)

    def close(self) -> None:
        """Lets go of all connections."""
        self._engine.dispose()

    def record(self, lease: Lease, record: Record, alerts: Sequence[Alert]) -> None:
        """Keeps a judgement and the alerts that it causes, in one transaction.

        Raises:
            LeaseLostError: another replica has taken the run over meanwhile.
        """
        with self._held(lease) as connection:
            self._record(connection, lease, record, alerts)

    def spend(
        self,
        lease: Lease,
        lineage: str | None,
        stake: Stake,
        told: Callable[[Standing], tuple[Record, Sequence[Alert]]],
    ) -> None:
        """Spends a retrain's evidence and keeps the judgement made of it, in one transaction.

        Args:
            lease: of the run.
            lineage: of the run; its alert channel moves on.
            stake: what is spent, unless the run spent its evidence before.
            told: makes the record and the alerts from the answer; quick, and without I/O.

        Raises:
            LeaseLostError: another replica has taken the run over meanwhile.
        """
        with self._held(lease) as connection:
            clock = now(connection)
            standing = spend(connection, lease.run_id, hashed(lineage), stake, clock)
            self._record(connection, lease, *told(standing))

    def decide(self, run_id: str, verdict: str, who: str, why: str | None) -> None:
        """Keeps what a person decided about a run, beside all that was decided before."""
        with self._engine.begin() as connection:
            connection.execute(
                decision.insert().values(
                    run_id=run_id,
                    decision=verdict,
                    who=who,
                    why=why,
                    decided_at=now(connection),
                )
            )

    def decisions(self, run_ids: Iterable[str]) -> dict[str, str]:
        """The last decision about each of these runs, where anybody made one."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                select(decision.c.run_id, decision.c.decision)
                .where(decision.c.run_id.in_(list(run_ids)))
                .order_by(decision.c.id)
            ).all()
        return {row.run_id: row.decision for row in rows}

    def seen(self, run_id: str) -> dict[str, int]:
        """Checks that saw something when this run was last judged, and since which step."""
        with self._engine.connect() as connection:
            kept = connection.scalar(
                select(judgement.c.document)
                .where(judgement.c.run_id == run_id)
                .order_by(judgement.c.judged_at.desc())
                .limit(1)
            )
        seen = json.loads(kept or "{}").get("seen", {})
        # A list of names is what earlier versions kept, without the steps.
        return dict.fromkeys(seen, 0) if isinstance(seen, list) else seen

    def past(self, lineage: str) -> list[dict[str, object]]:
        """What was kept of the judged runs of a lineage, in no order."""
        with self._engine.connect() as connection:
            kept = connection.scalars(
                select(past.c.memory).where(past.c.lineage == hashed(lineage))
            ).all()
        return [json.loads(memory) for memory in kept]

    def fleet(self, lineage: str | None) -> Dispersion:
        """What the repeats of all other lineages say of retrain noise."""
        with self._engine.connect() as connection:
            row = connection.execute(
                select(
                    func.coalesce(func.sum(repeats.c.squares), 0.0).label("squares"),
                    func.coalesce(func.sum(repeats.c.df), 0).label("df"),
                ).where(repeats.c.lineage != (hashed(lineage) or ""))
            ).one()
        return Dispersion(float(row.squares), int(row.df))

    def _record(
        self, connection: Connection, lease: Lease, record: Record, alerts: Sequence[Alert]
    ) -> None:
        clock = now(connection)
        values = {
            "fence": lease.fence,
            "verdict": record.verdict,
            "health": record.health,
            "summary": record.summary,
            "document": record.document,
            "traceback": record.traceback,
            "judged_at": clock,
        }
        upsert(
            connection,
            judgement,
            {"run_id": lease.run_id, "revision": record.revision},
            values,
        )
        if record.past is not None:
            upsert(
                connection,
                past,
                {"run_id": lease.run_id},
                {"lineage": hashed(record.lineage), "memory": json.dumps(record.past)},
            )
        if record.repeats.df and record.lineage is not None:
            known = {"squares": record.repeats.squares, "df": record.repeats.df}
            upsert(connection, repeats, {"lineage": hashed(record.lineage)}, known)
        self.outbox.put(connection, alerts, clock)
