"""MLflow as the detector sees it: eight methods, so that a dictionary can stand in for it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.probe import Inside

# Read when `server` imports mlflow: its telemetry speaks to the outside, and sets and unsets a
# variable of this process from several threads, on which a request can fail.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@dataclass(frozen=True)
class Writes:
    """What is to be written onto one run.

    Attributes:
        artifacts: path below the artifact root -> text.
        tags: written together with the metrics, after the artifacts.
        metrics: written at step 0.
        marks: tags written last: who sees them may rely on all the rest.
        removed: tags to take away, before anything else.
        moment: epoch milliseconds that the metrics are stamped with.
    """

    artifacts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    moment: int = 0


class Store(Protocol):
    """Every method may raise TrackerAwayError, TrackerRefusedError and RunGoneError."""

    def changed(self, since: float) -> list[RunHead]:
        """Runs that may have news since then (epoch seconds), oldest first.

        Work grows with these, not with all runs.
        """
        ...

    def heads(self, run_ids: Sequence[str]) -> list[RunHead]:
        """These runs as they stand now, lineage resolved; those that are gone are left out."""
        ...

    def lineage(self, name: str) -> list[RunHead]:
        """The newest runs of a lineage, in no order."""
        ...

    def champion(self, lineage: str, run_ids: Sequence[str]) -> str | None:
        """The run behind the alias `champion` of the registered model of a lineage, if any.

        The model is the one of the lineage's name, else one that these runs were registered as.
        """
        ...

    def read(self, head: RunHead) -> RunEvidence:
        """Everything about one run; what cannot be read becomes a problem, not an error."""
        ...

    def inside(self, head: RunHead) -> Inside:
        """What one run's layers do: the part of it that other runs are compared with."""
        ...

    def write(self, run_id: str, writes: Writes) -> None:
        """Writes onto one run; doing it twice is the same as once."""
        ...

    def publish_view(self, experiment_id: str, state: str) -> None:
        """Offers a saved view of the runs table, unless it is there already."""
        ...
