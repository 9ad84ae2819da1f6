"""The store as a dictionary, for tests of everything above it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from backslide.contract import Tag
from backslide_detector.errors import RunGoneError
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.probe import Inside
from backslide_detector.store import Writes


@dataclass
class MemoryStore:
    """Keeps runs and what was written onto them.

    Attributes:
        runs: run id -> evidence as it would be read.
        artifacts, metrics: what was written, by run id.
        views: experiment id -> state of the saved view.
        written: run ids in the order of the calls of `write`.
        champions: lineage -> run id behind the alias.
    """

    runs: dict[str, RunEvidence] = field(default_factory=dict)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    champions: dict[str, str] = field(default_factory=dict)

    def add(self, run: RunEvidence) -> None:
        """Puts a run in, or in the place of what it was before."""
        self.runs[run.run_id] = run

    def tags(self, run_id: str) -> dict[str, str]:
        """The tags of a run as they stand."""
        return dict(self.runs[run_id].tags)

    def changed(self, since: float) -> list[RunHead]:  # noqa: ARG002  # all runs are few
        """Every live run, and every other without a verdict."""
        heads = [self._head(run) for run in self.runs.values()]
        return sorted(
            (h for h in heads if h.status == "RUNNING" or Tag.VERDICT not in h.tags),
            key=lambda head: head.started,
        )

    def heads(self, run_ids: Sequence[str]) -> list[RunHead]:
        """These runs, without those that are not there."""
        return [self._head(self.runs[run_id]) for run_id in run_ids if run_id in self.runs]

    def lineage(self, name: str) -> list[RunHead]:
        """All runs of a lineage."""
        return [self._head(run) for run in self.runs.values() if run.lineage == name]

    def champion(self, lineage: str, run_ids: Sequence[str]) -> str | None:  # noqa: ARG002  # models are not kept here
        """As put in."""
        return self.champions.get(lineage)

    def read(self, head: RunHead) -> RunEvidence:
        """The run as it was put in."""
        return self._run(head.run_id)

    def inside(self, head: RunHead) -> Inside:
        """As of the run that was put in."""
        return self._run(head.run_id).inside

    def write(self, run_id: str, writes: Writes) -> None:
        """Changes the run's tags, and keeps the rest beside it."""
        run = self._run(run_id)
        tags = {k: v for k, v in run.tags.items() if k not in writes.removed}
        self.artifacts.setdefault(run_id, {}).update(writes.artifacts)
        self.metrics.setdefault(run_id, {}).update(writes.metrics)
        self.runs[run_id] = replace(run, tags=tags | dict(writes.tags) | dict(writes.marks))
        self.written.append(run_id)

    def publish_view(self, experiment_id: str, state: str) -> None:
        """Keeps the state."""
        self.views[experiment_id] = state

    def _run(self, run_id: str) -> RunEvidence:
        if run_id not in self.runs:
            raise RunGoneError(f"run {run_id} does not exist")
        return self.runs[run_id]

    def _head(self, run: RunEvidence) -> RunHead:
        metrics = {key: series.last for key, series in run.series.items() if len(series)}
        return RunHead(
            run_id=run.run_id,
            name=run.name,
            experiment_id=run.experiment_id,
            status=run.status,
            started=run.started,
            ended=run.ended,
            lineage=run.lineage,
            params=run.params,
            tags=run.tags,
            metrics=metrics,
            revision=sha256(f"{run.status} {run.ended} {metrics}".encode()).hexdigest()[:40],
        )
