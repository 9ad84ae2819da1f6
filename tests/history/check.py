"""acknowledged ⊆ stored ⊆ attempted, each once, in MLflow's metrics and in the parts."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from mlflow import MlflowClient

from backslide.contract import Artifact, Metric, Tag

DENSE = 200
"""The first points of a series all become rows."""


@dataclass
class Diary:
    """One job's own account.

    Attributes:
        client: names the job.
        tried, acked: the numbers it logged, in order.
        dropped: what it said it gave up; None when it was killed.
    """

    client: str
    tried: list[int]
    acked: list[int]
    dropped: int | None

    @classmethod
    def read(cls, path: Path) -> "Diary | None":
        """None for a job that was killed before it began."""
        words = [line.split() for line in path.read_text().splitlines() if " " in line]
        said: dict[str, list[str]] = {}
        for kind, what in words:
            said.setdefault(kind, []).append(what)
        if "job" not in said:
            return None
        tried, acked = ([int(n) for n in said.get(kind, ())] for kind in ("try", "ack"))
        dropped = said.get("dropped")
        return cls(said["job"][0], tried, acked, int(dropped[0]) if dropped else None)


@dataclass
class Verdict:
    """What the history shows.

    Attributes:
        attempted, acknowledged, stored: numbers of points.
        missing: acknowledged and not stored, or not as a row where it must be one.
        duplicate: stored more than once, in either place, or two values at one step.
        phantom: stored and never attempted.
        runs: in MLflow.
        twins: jobs with more or fewer than one run.
        dropped: records that MLflow was told were lost.
    """

    attempted: int
    acknowledged: int
    stored: int
    missing: int
    duplicate: int
    phantom: int
    runs: int
    twins: int
    dropped: int

    @property
    def clean(self) -> bool:
        return not (self.missing or self.duplicate or self.phantom or self.twins)


def judge(uri: str, diaries: list[Diary], created: set[str], scratch: Path) -> Verdict:
    """Reads everything back, past any proxy.

    Args:
        uri: the server.
        diaries: of all jobs.
        created: clients of the jobs that were to create a run of their own.
        scratch: an empty folder.
    """
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("history").experiment_id
    runs = client.search_runs([experiment], max_results=1_000)
    parts: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    steps: Counter[tuple[str, int]] = Counter()
    row_steps: Counter[tuple[str, int]] = Counter()
    dropped = 0
    for run in runs:
        run_id = run.info.run_id
        dropped += int(run.data.metrics.get(Metric.DROPPED, 0))
        for value, step in stored(client, run_id, scratch):
            parts[value] += 1
            steps[run_id, step] += 1
        if "loss" in run.data.metrics:
            for row in client.get_metric_history(run_id, "loss"):
                rows[int(row.value)] += 1
                row_steps[run_id, row.step] += 1
    owners = Counter(run.data.tags.get(Tag.CLIENT) for run in runs)
    tried = {value for diary in diaries for value in diary.tried}
    acked = {value for diary in diaries for value in diary.acked}
    must = {value for diary in diaries for value in diary.acked[:DENSE] if not diary.dropped}
    counts = (parts, rows, steps, row_steps)
    return Verdict(
        attempted=len(tried),
        acknowledged=len(acked),
        stored=len(parts),
        missing=len(acked - parts.keys()) + len(must - rows.keys()),
        duplicate=sum(n > 1 for count in counts for n in count.values()),
        phantom=len((parts.keys() | rows.keys()) - tried),
        runs=len(runs),
        # A run that was taken up carries the name of its newest job; none is there twice.
        twins=sum(n > 1 for n in owners.values()) + abs(len(runs) - len(created)),
        dropped=dropped,
    )


def stored(client: MlflowClient, run_id: str, scratch: Path) -> list[tuple[int, int]]:
    """(value, step) of every point in the parts of a run."""
    if not client.list_artifacts(run_id, Artifact.SCALARS):
        return []
    target = scratch / run_id
    target.mkdir(parents=True)
    folder = client.download_artifacts(run_id, Artifact.SCALARS, str(target))
    found = []
    for path in Path(folder).glob("*.parquet"):
        table = pq.read_table(path, page_checksum_verification=True).to_pydict()
        found += [
            (int(value), step)
            for key, step, value in zip(
                table["key"], table["step"], table["value"], strict=True
            )
            if key == "loss"
        ]
    return found
