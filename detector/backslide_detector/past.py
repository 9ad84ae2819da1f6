"""Light records of earlier runs: to the ledger and back, or from a listing."""

from collections.abc import Iterable, Mapping

import numpy as np
from pydantic import TypeAdapter, ValidationError

from backslide.contract import Health, Tag, Verdict
from backslide_detector.evidence import RunHead, Series
from backslide_detector.names import error_rate, mean_loss
from backslide_detector.retrain.history import PastRun

_RECORD = TypeAdapter(PastRun)


def to_memory(run: PastRun) -> dict[str, object]:
    """Plain JSON values."""
    memory: dict[str, object] = _RECORD.dump_python(run, mode="json")
    return memory


def from_memory(memories: Iterable[Mapping[str, object]]) -> list[PastRun]:
    """The records; one that another version wrote differently is left out."""
    runs = []
    for memory in memories:
        try:
            runs.append(_RECORD.validate_python(memory))
        except ValidationError:
            continue
    return runs


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
    )
