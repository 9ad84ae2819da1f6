"""The stream of retrains: evidence is spent once a run, in the judgement's transaction."""

import json
from typing import Any

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.dialects import postgresql, sqlite

from backslide_detector.judgement import Stake, Standing
from backslide_detector.ledger.tables import spent, stream
from backslide_detector.stats.alarm import FlipAlarm
from backslide_detector.stats.online import OnlineTest, Procedure, Spent

STREAM_LOCK = 7_221_906
"""Key of the PostgreSQL advisory lock under which one replica spends at a time: the streams
are the whole fleet's, and each test depends on all before it."""


def spend(
    connection: Connection, run_id: str, lineage: str | None, stake: Stake, clock: float
) -> Standing:
    """Spends the evidence of a run inside the caller's transaction.

    A run that has spent its evidence gets the same answer again, whatever it says now: evidence
    that could be spent anew until it fits would promise nothing.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(STREAM_LOCK)))
    before = connection.execute(select(spent).where(spent.c.run_id == run_id)).one_or_none()
    if before is not None:
        return _standing(before)
    procedure = Procedure.LORD if stake.frozen else Procedure.ADDIS
    worse = _test(connection, f"worse:{procedure.value}", procedure, stake.worse)
    better = _test(connection, f"better:{procedure.value}", procedure, stake.better)
    alarm = _alarm(connection, f"alarm:{lineage}", stake) if lineage else None
    count = connection.scalar(select(func.max(spent.c.number))) or 0
    uses = connection.scalar(
        select(func.count()).select_from(spent).where(spent.c.test_set == stake.test_set)
    )
    row = connection.execute(
        spent.insert()
        .values(
            run_id=run_id,
            number=count + 1,
            lineage=lineage,
            procedure=procedure.value,
            worse=stake.worse,
            better=stake.better,
            level_worse=worse.level,
            level_better=better.level,
            found_worse=worse.rejected,
            found_better=better.rejected,
            broken=stake.broken,
            fixed=stake.fixed,
            alarm_value=alarm,
            alarm_every=None if alarm is None else stake.false_alarm_every,
            alarmed=alarm is not None and alarm >= stake.false_alarm_every,
            test_set=stake.test_set,
            uses=0 if stake.test_set is None else (uses or 0) + 1,
            spent_at=clock,
        )
        .returning(spent)
    ).one()
    return _standing(row)


def _test(connection: Connection, name: str, procedure: Procedure, pvalue: float) -> Spent:
    test = OnlineTest(procedure, state=_state(connection, name))
    answer = test.spend(pvalue)
    _keep(connection, name, test.dump())
    return answer


def _alarm(connection: Connection, name: str, stake: Stake) -> float | None:
    """The detector after this retrain; one that reached its threshold begins anew."""
    if stake.broken is None or stake.fixed is None:
        return None
    state = _state(connection, name)
    before = FlipAlarm(tuple(json.loads(state))) if state else FlipAlarm()
    after = before.after(stake.broken, stake.fixed)
    rung = after.value >= stake.false_alarm_every
    _keep(connection, name, json.dumps([] if rung else list(after.log_detectors)))
    return after.value


def _state(connection: Connection, name: str) -> str | None:
    found: str | None = connection.scalar(select(stream.c.state).where(stream.c.name == name))
    return found


def _keep(connection: Connection, name: str, state: str) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(stream).values(name=name, state=state)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["name"], set_={"state": state})
    )


def _standing(row: Row[Any]) -> Standing:
    return Standing(
        number=row.number,
        procedure=row.procedure,
        worse=row.worse,
        better=row.better,
        level_worse=row.level_worse,
        level_better=row.level_better,
        found_worse=bool(row.found_worse),
        found_better=bool(row.found_better),
        alarm_value=row.alarm_value,
        alarm_every=row.alarm_every,
        alarmed=bool(row.alarmed),
        uses=row.uses,
    )
