"""Light records of earlier runs: to the ledger and back, or from a listing."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from backslide.contract import Cause, Health, Tag, Verdict
from backslide_detector.evidence import RunHead, Series
from backslide_detector.names import error_rate, mean_loss
from backslide_detector.retrain.association import LATELY
from backslide_detector.retrain.history import PastRun, of_plain_run

_RECORD: Final = TypeAdapter(PastRun)


def to_memory(run: PastRun) -> dict[str, object]:
    """Plain JSON values, without the parameters: every listing has them."""
    unlisted = {**run.made_from}
    unlisted.pop(Cause.CONFIG, None)
    slim = replace(run, made_from=unlisted)
    memory: dict[str, object] = _RECORD.dump_python(slim, mode="json")
    return memory


def recalled(run: PastRun, head: RunHead) -> PastRun:
    """A run as the ledger keeps it, with what only its listing says of its recipe."""
    return replace(run, made_from={**of_plain_run(head.params, head.tags), **run.made_from})


def from_memory(memories: Iterable[Mapping[str, object]]) -> list[PastRun]:
    """The records; one that another version wrote differently is left out."""
    runs = []
    for memory in memories:
        try:
            runs.append(_RECORD.validate_python(memory))
        except ValidationError:
            continue
    return runs


def of_late(runs: Iterable[PastRun]) -> tuple[PastRun, ...]:
    """The runs, of which all but the last `LATELY` forget what they were made from."""
    ordered = sorted(runs, key=lambda run: run.started)
    older = [replace(run, made_from={}) for run in ordered[:-LATELY]]
    return (*older, *ordered[-LATELY:])


def from_head(head: RunHead, mapping: Mapping[str, str]) -> PastRun:
    """As much as a listing tells: its recipe stays unknown."""
    series = {
        key: Series(np.zeros(1, np.int64), np.array([value]), np.array([head.started]))
        for key, value in head.metrics.items()
    }
    verdict, health = head.tags.get(Tag.VERDICT), head.tags.get(Tag.HEALTH)
    return PastRun(
        run_id=head.run_id,
        name=head.name,
        started=head.started,
        finished=head.status not in ("RUNNING", "SCHEDULED"),
        lineage=head.lineage,
        error=error_rate(series, head.params, head.tags, {}, {}, mapping=mapping)
        or mean_loss(series, {}),
        verdict=Verdict(verdict) if verdict in set(Verdict) else None,
        health=Health(health) if health in set(Health) else None,
        recipe=head.tags.get(Tag.REPEAT),
        seed=head.tags.get(Tag.SEED),
        made_from=of_plain_run(head.params, head.tags),
    )
