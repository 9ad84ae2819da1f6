"""The stream of retrains: evidence is spent once a run, in the judgement's transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, select

from backslide_detector.ledger.database import upsert
from backslide_detector.ledger.tables import spent, stream
from backslide_detector.lineage import Claim, Stake, Standing
from backslide_detector.stats.alarm import FlipAlarm
from backslide_detector.stats.online import OnlineTest, Procedure, Spent

STREAM_LOCK = 7_221_906
"""Key of the PostgreSQL advisory lock under which one replica spends at a time: the streams
are the whole fleet's, and each test depends on all before it."""

Direction = Literal["worse", "better"]
Question = Literal["", "recipe_", "group_"]
"""What a column is about, as the start of its name: the model, the recipe, or its classes and
slices."""


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
    overlapping = _overlapping(connection, procedure, stake.began)
    values = _tested(connection, "", procedure, (stake.worse, stake.better), overlapping)
    if stake.recipe is not None:
        values |= _tested(connection, "recipe_", procedure, stake.recipe, overlapping)
    if stake.groups is not None:
        values |= _tested(connection, "group_", procedure, stake.groups, overlapping)
    if lineage is not None:
        values |= _watched(connection, lineage, stake)
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
            test_set=stake.test_set,
            uses=0 if stake.test_set is None else (uses or 0) + 1,
            spent_at=clock,
            began=stake.began,
            ended=stake.ended,
            **({"alarmed": False} | values),
        )
        .returning(spent)
    ).one()
    return _standing(row)


def _overlapping(
    connection: Connection, procedure: Procedure, began: float | None
) -> Sequence[Row[Any]]:
    """Tests that were open when this one began: they tell it nothing."""
    if began is None:
        return []
    return connection.execute(
        select(spent).where(spent.c.procedure == procedure.value, spent.c.ended > began)
    ).all()


def _tested(
    connection: Connection,
    question: Question,
    procedure: Procedure,
    pvalues: tuple[float, float],
    overlapping: Sequence[Row[Any]],
) -> dict[str, object]:
    """One question, asked in both directions: the columns of what came of it."""
    values: dict[str, object] = {}
    directions: tuple[Direction, Direction] = ("worse", "better")
    for direction, pvalue in zip(directions, pvalues, strict=True):
        name = f"{question}{direction}:{procedure.value}"
        test = OnlineTest(procedure, state=_state(connection, name))
        answer = test.spend(pvalue, _open(overlapping, question, direction))
        _keep(connection, name, test.dump())
        values |= {
            f"{question}{direction}": pvalue,
            f"{question}level_{direction}": answer.level,
            f"{question}found_{direction}": answer.rejected,
            f"{question}place": answer.number,
        }
    return values


def _open(rows: Sequence[Row[Any]], question: Question, direction: Direction) -> list[Spent]:
    """The rows as tests of one stream."""
    return [
        Spent(
            number=values[f"{question}place"],
            level=values[f"{question}level_{direction}"],
            rejected=bool(values[f"{question}found_{direction}"]),
            pvalue=values[f"{question}{direction}"],
        )
        for row in rows
        if (values := row._mapping)[f"{question}place"] is not None  # noqa: SLF001 -- SQLAlchemy's public name
    ]


def _watched(connection: Connection, lineage: str, stake: Stake) -> dict[str, object]:
    """The alert channel after this retrain: the columns of where it stands."""
    if stake.broken is None or stake.fixed is None:
        return {}
    against = sha256(f"{lineage} {stake.reference or ''}".encode()).hexdigest()
    state = _state(connection, f"alarm:{against}")
    before = FlipAlarm() if state is None else _restored(json.loads(state))
    after = before.after(stake.broken, stake.fixed, yardstick=stake.yardstick, phi=stake.phi)
    watched = after.watched(stake.false_alarm_every)
    _keep(connection, f"alarm:{against}", json.dumps(asdict(watched.then)))
    return {
        "broken": stake.broken,
        "fixed": stake.fixed,
        "reference": stake.reference,
        "yardstick": stake.yardstick,
        "phi": stake.phi,
        "alarm_value": after.value,
        "alarm_every": stake.false_alarm_every,
        "alarmed": watched.alarmed,
        "leads": watched.leads,
    }


def _restored(kept: dict[str, Any]) -> FlipAlarm:
    return FlipAlarm(tuple(kept["scores"]), tuple(kept["yardsticks"]), kept["settled"])


def _state(connection: Connection, name: str) -> str | None:
    found: str | None = connection.scalar(select(stream.c.state).where(stream.c.name == name))
    return found


def _keep(connection: Connection, name: str, state: str) -> None:
    upsert(connection, stream, {"name": name}, {"state": state})


def _standing(row: Row[Any]) -> Standing:
    return Standing(
        number=row.number,
        procedure=row.procedure,
        model=_claim(row, ""),
        recipe=None if row.recipe_place is None else _claim(row, "recipe_"),
        groups=None if row.group_place is None else _claim(row, "group_"),
        alarm_value=row.alarm_value,
        alarm_every=row.alarm_every,
        alarmed=bool(row.alarmed),
        leads=bool(row.leads),
        uses=row.uses,
    )


def _claim(row: Row[Any], question: Question) -> Claim:
    values = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name
    return Claim(
        worse=values[f"{question}worse"],
        better=values[f"{question}better"],
        level_worse=values[f"{question}level_worse"],
        level_better=values[f"{question}level_better"],
        found_worse=bool(values[f"{question}found_worse"]),
        found_better=bool(values[f"{question}found_better"]),
    )
