"""What was found, judged and sent: the detector's memory, one database for all replicas."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Self

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from backslide.contract import DEAD_AFTER_SECONDS, Metric, Tag
from backslide_detector.errors import LeaseLostError, UserError
from backslide_detector.evidence import RunHead
from backslide_detector.judgement import Stake, Standing
from backslide_detector.ledger.migrate import migrate
from backslide_detector.ledger.outbox import Alert, Outbox
from backslide_detector.ledger.streams import spend
from backslide_detector.ledger.tables import decision, judgement, past, work

__all__ = ["Alert", "Lease", "Ledger", "Outbox", "Record", "Stage"]

CLAIM_LOCK = 7_221_905
"""Key of the PostgreSQL advisory lock that lets one replica claim at a time."""
LEASE_SECONDS = 600.0
REMAKE_SECONDS = 60.0


class Stage(StrEnum):
    """Where a run's job stands."""

    LIVE = "live"
    """More evidence will come."""
    OVER = "over"
    """It ended as it should."""
    DEAD = "dead"
    """MLflow says RUNNING, but its heartbeat stopped: the job was killed."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to judge one run; void once another replica holds a higher fence."""

    run_id: str
    stage: Stage
    fence: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger keeps of a judgement.

    Attributes:
        document: the judgement as JSON.
        past: what later runs of the lineage must know of this one, as plain JSON values; None
            while that is not known.
        traceback: where the analysis crashed, if it did.
    """

    revision: str
    lineage: str | None
    verdict: str
    health: str
    summary: str
    document: str
    past: Mapping[str, object] | None = None
    traceback: str | None = None


class Ledger:
    """Work, judgements and outgoing alerts, in one database and so in one transaction."""

    def __init__(self, engine: Engine, owner: str) -> None:
        """Wraps a migrated database; `owner` names this replica in its leases."""
        self._engine = engine
        self._owner = owner
        self.outbox = Outbox(engine, now)

    @classmethod
    def open(cls, url: str, owner: str) -> Self:
        """Opens the database and brings its schema up to date.

        Raises:
            UserError: the URL is wrong or the database cannot be used, in one line.
        """
        try:
            engine = _connect(url)
            migrate(engine)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise UserError(
                f"state: not a usable database URL: {_first_line(error)}"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise UserError(
                f"state: cannot open {_shown(url)}: {_first_line(error)}"
            ) from error
        return cls(engine, owner)

    def close(self) -> None:
        """Lets go of all connections."""
        self._engine.dispose()

    def enqueue(self, heads: Iterable[RunHead]) -> None:
        """Notes what was found; a run whose revision or stage is news becomes due."""
        with self._engine.begin() as connection:
            clock = now(connection)
            for head in heads:
                _enqueue(connection, head, clock)

    def claim(self, limit: int) -> list[Lease]:
        """Takes the oldest due runs, at most `limit`.

        A lineage is judged by one replica at a time, so that a predecessor always has its
        verdict before its successor is looked at.
        """
        other = work.alias("other")
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
            clock = now(connection)
            held_elsewhere = exists().where(
                other.c.lineage == work.c.lineage,
                other.c.lease_until >= clock,
                other.c.owner != self._owner,
            )
            due = (
                select(work.c.run_id)
                .where(
                    or_(work.c.done.is_(None), work.c.done != work.c.revision),
                    work.c.due_at <= clock,
                    or_(work.c.lease_until.is_(None), work.c.lease_until < clock),
                    ~held_elsewhere,
                )
                .order_by(work.c.started, work.c.run_id)
                .limit(limit)
            )
            taken = connection.execute(
                update(work)
                .where(work.c.run_id.in_(due))
                .values(
                    owner=self._owner,
                    fence=work.c.fence + 1,
                    attempts=work.c.attempts + 1,
                    lease_until=clock + LEASE_SECONDS,
                )
                .returning(
                    work.c.run_id, work.c.stage, work.c.fence, work.c.attempts, work.c.started
                )
            ).all()
        taken = sorted(taken, key=lambda row: (row.started, row.run_id))
        return [Lease(row.run_id, Stage(row.stage), row.fence, row.attempts) for row in taken]

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
            hashed = _hashed(lineage)
            standing = spend(connection, lease.run_id, hashed, stake, now(connection))
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

    def past(self, lineage: str) -> list[dict[str, object]]:
        """What was kept of the judged runs of a lineage, in no order."""
        with self._engine.connect() as connection:
            kept = connection.scalars(
                select(past.c.memory).where(past.c.lineage == _hashed(lineage))
            ).all()
        return [json.loads(memory) for memory in kept]

    def again(self, run_id: str) -> None:
        """Makes a judged run due once more: something new is known about it."""
        with self._engine.begin() as connection:
            connection.execute(
                update(work)
                .where(work.c.run_id == run_id, work.c.stage != Stage.LIVE.value)
                .values(done=None, due_at=now(connection))
            )

    def check(self, lease: Lease) -> None:
        """Raises LeaseLostError when the run is no longer ours to write to."""
        with self._held(lease):
            pass

    def done(self, lease: Lease, revision: str, again_in: float = 0.0) -> None:
        """Gives the lease back: all that `revision` asks for is judged and written.

        News about the run may wait for `again_in` seconds.
        """
        with self._held(lease) as connection:
            self._release(
                connection,
                lease,
                done=revision,
                revision=revision,
                attempts=0,
                due_at=now(connection) + again_in,
            )

    def postpone(self, lease: Lease, seconds: float, *, blameless: bool = False) -> None:
        """Gives the lease back undone, to be tried again later.

        A `blameless` delay has nothing to do with this run and is no attempt at it.
        """
        with self._held(lease) as connection:
            attempts = lease.attempts - blameless
            due_at = now(connection) + seconds
            self._release(connection, lease, due_at=due_at, attempts=attempts)

    def forget(self, lease: Lease) -> None:
        """Drops the work: the run is gone."""
        with self._held(lease) as connection:
            connection.execute(work.delete().where(work.c.run_id == lease.run_id))

    def dead_runs(self, within: float) -> list[str]:
        """Runs judged as dead in the last `within` seconds: a late sync may end them."""
        with self._engine.connect() as connection:
            return list(
                connection.scalars(
                    select(work.c.run_id).where(
                        work.c.stage == Stage.DEAD.value,
                        work.c.due_at > now(connection) - within,
                    )
                )
            )

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[Connection]:
        """A transaction in which the lease is known to be ours."""
        with self._engine.begin() as connection:
            held = connection.execute(
                update(work)
                .where(
                    work.c.run_id == lease.run_id,
                    work.c.fence == lease.fence,
                    work.c.owner == self._owner,
                )
                .values(lease_until=now(connection) + LEASE_SECONDS)
            )
            if held.rowcount != 1:
                raise LeaseLostError(f"run {lease.run_id} was taken over by another detector")
            yield connection

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
        _upsert(
            connection,
            judgement,
            {"run_id": lease.run_id, "revision": record.revision},
            values,
        )
        if record.past is not None:
            _upsert(
                connection,
                past,
                {"run_id": lease.run_id},
                {"lineage": _hashed(record.lineage), "memory": json.dumps(record.past)},
            )
        self.outbox.put(connection, alerts, clock)

    def _release(self, connection: Connection, lease: Lease, **values: object) -> None:
        connection.execute(
            update(work)
            .where(work.c.run_id == lease.run_id)
            .values(owner=None, lease_until=None, **values)
        )


def now(connection: Connection) -> float:
    """Epoch seconds by the database's clock, which is the one clock all replicas share."""
    clock = (
        "extract(epoch from clock_timestamp())"
        if connection.dialect.name == "postgresql"
        else "(julianday('now') - 2440587.5) * 86400.0"
    )
    return float(connection.execute(select(literal_column(clock))).scalar_one())


def _enqueue(connection: Connection, head: RunHead, clock: float) -> None:
    known = connection.execute(select(work).where(work.c.run_id == head.run_id)).one_or_none()
    last_seen = head.metrics.get(Metric.LAST_SEEN)
    advanced_at = known.advanced_at if known else None
    if known and known.last_seen is not None and known.last_seen != last_seen:
        advanced_at = clock
    stage = _stage(head, last_seen, advanced_at, clock)
    revision = f"{stage.value}:{head.revision}"
    # The end of a job is never kept waiting by what was said about it while it ran.
    due_at = known.due_at if known and known.stage == stage.value else clock
    done = known.done if known else None
    if done == revision and stage is not Stage.LIVE and Tag.VERDICT not in head.tags:
        # Somebody took the verdict off: make it again, but not in a circle.
        done, due_at = None, clock + REMAKE_SECONDS
    values = {
        "lineage": _hashed(head.lineage),
        "started": head.started,
        "stage": stage.value,
        "revision": revision,
        "done": done,
        "due_at": due_at,
        "last_seen": last_seen,
        "advanced_at": advanced_at,
    }
    if known is None:
        fresh = {"attempts": 0, "fence": 0, "owner": None, "lease_until": None}
        _upsert(connection, work, {"run_id": head.run_id}, values, fresh)
    elif any(getattr(known, key) != value for key, value in values.items()):
        connection.execute(update(work).where(work.c.run_id == head.run_id).values(**values))


def _stage(
    head: RunHead, last_seen: float | None, advanced_at: float | None, clock: float
) -> Stage:
    """A heartbeat that we saw advance counts more than the training host's clock."""
    if head.status not in ("RUNNING", "SCHEDULED"):
        return Stage.OVER
    beats = [beat for beat in (last_seen, advanced_at) if beat is not None]
    alive = not beats or clock - max(beats) < DEAD_AFTER_SECONDS
    return Stage.LIVE if alive else Stage.DEAD


def _hashed(lineage: str | None) -> str | None:
    """A name may be longer than what a database can index."""
    return None if lineage is None else sha256(lineage.encode()).hexdigest()


def _upsert(
    connection: Connection,
    table: Table,
    key: Mapping[str, object],
    values: Mapping[str, object],
    fresh: Mapping[str, object] | None = None,
) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**key, **values, **(fresh or {}))
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def _connect(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.get_backend_name() != "sqlite":
        raise ArgumentError(f"{parsed.get_backend_name()} is not SQLite or PostgreSQL")
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 30.0})

    # The driver's own transactions start late and cannot be upgraded under contention;
    # BEGIN IMMEDIATE takes the write lock at once.
    @event.listens_for(engine, "connect")
    def connected(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # a DBAPI connection
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]  # the same
        connection.execute("PRAGMA synchronous=NORMAL")  # type: ignore[attr-defined]  # the same

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
