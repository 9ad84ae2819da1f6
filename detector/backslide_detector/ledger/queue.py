"""The work: which runs are due, and who judges them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, case, exists, func, or_, select, update

from backslide.contract import DEAD_AFTER_SECONDS, Metric, Tag
from backslide_detector.errors import LeaseLostError
from backslide_detector.evidence import RunHead
from backslide_detector.ledger.database import hashed, now, upsert
from backslide_detector.ledger.tables import work

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
class Left:
    """Runs that a pass could not judge.

    Attributes:
        postponed: to be tried again: the tracker did not take or give something.
        elsewhere: in the hands of another detector, or of one that was killed.
    """

    postponed: int
    elsewhere: int


class Queue:
    """The runs that are due, each leased to one replica at a time."""

    def __init__(self, engine: Engine, owner: str) -> None:
        """Wraps a migrated database; `owner` names this replica in its leases."""
        self._engine = engine
        self._owner = owner

    def enqueue(self, heads: Iterable[RunHead]) -> None:
        """Notes what was found; a run whose revision or stage is news becomes due."""
        with self._engine.begin() as connection:
            clock = now(connection)
            for head in heads:
                _enqueue(connection, head, clock)

    def claim(self, limit: int) -> list[Lease]:
        """Takes due runs, at most `limit`: running jobs first, then the oldest.

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
                .order_by(
                    case((work.c.stage == Stage.LIVE.value, 0), else_=1),
                    work.c.started,
                    work.c.run_id,
                )
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

    def last_active(self) -> float | None:
        """When work was last found or finished, or is put off to; None before the first."""
        with self._engine.connect() as connection:
            found: float | None = connection.scalar(select(func.max(work.c.due_at)))
        return found

    def left(self) -> Left:
        """What should have been judged by now and was not."""
        with self._engine.connect() as connection:
            clock = now(connection)
            held = work.c.lease_until >= clock
            undone = or_(work.c.done.is_(None), work.c.done != work.c.revision)
            counts = connection.execute(
                select(
                    func.count().filter(held.is_not(True)).label("postponed"),
                    func.count().filter(held).label("elsewhere"),
                ).where(undone, work.c.attempts > 0)
            ).one()
        return Left(counts.postponed, counts.elsewhere)

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

    def _release(self, connection: Connection, lease: Lease, **values: object) -> None:
        connection.execute(
            update(work)
            .where(work.c.run_id == lease.run_id)
            .values(owner=None, lease_until=None, **values)
        )


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
        "lineage": hashed(head.lineage),
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
        upsert(connection, work, {"run_id": head.run_id}, values, fresh)
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
