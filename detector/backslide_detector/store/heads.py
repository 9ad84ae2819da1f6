"""MLflow's runs -> heads: what a listing alone says, and whether it is news."""

import json
from hashlib import sha256
from typing import Final

from mlflow.entities import Run

from backslide.contract import Tag
from backslide_detector.evidence import RunHead
from backslide_detector.store.histories import OWN_METRICS, SYSTEM

_EVIDENCE_TAGS: Final = (Tag.LINEAGE, Tag.BASELINE, Tag.PARENT, Tag.SEED, Tag.SCHEMA)


def head_of(run: Run) -> RunHead:
    """A run of MLflow as a listing shows it."""
    tags = dict(run.data.tags)
    return RunHead(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        started=(run.info.start_time or 0) / 1_000.0,
        ended=None if run.info.end_time is None else run.info.end_time / 1_000.0,
        lineage=tags.get(Tag.LINEAGE),
        params=dict(run.data.params),
        tags=tags,
        metrics=dict(run.data.metrics),
        revision=_revision(run),
    )


def _revision(run: Run) -> str:
    """Digest of what a run says about itself, so not of what the detector or a person added."""
    metrics = sorted(
        (m.key, repr(m.value), m.step, m.timestamp)
        for m in run.data.to_proto().metrics
        if _of_the_job(m.key)
    )
    tags = [run.data.tags.get(key) for key in _EVIDENCE_TAGS]
    said = [run.info.status, run.info.end_time, sorted(run.data.params.items()), metrics, tags]
    return sha256(json.dumps(said).encode()).hexdigest()[:40]


def _of_the_job(key: str) -> bool:
    """Whether a metric is news about training: neither ours nor the machine's."""
    return key not in OWN_METRICS and not key.startswith(SYSTEM)


def last_logged(run: Run) -> float:
    """Epoch seconds of the newest metric; 0 without any."""
    times = (m.timestamp for m in run.data.to_proto().metrics if _of_the_job(m.key))
    return max(times, default=0) / 1_000.0
