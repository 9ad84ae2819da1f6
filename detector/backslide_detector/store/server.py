"""The store on a real MLflow server."""

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import requests
from mlflow import MlflowClient
from mlflow.entities import Metric as MetricRow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException

from backslide.contract import (
    SHARED_VIEW_NAME,
    SHARED_VIEW_TAG,
    Metric,
    Tag,
)
from backslide_detector.errors import RunGoneError, TrackerAwayError, TrackerRefusedError
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.probe import Inside
from backslide_detector.store import Writes
from backslide_detector.store.heads import head_of, last_logged
from backslide_detector.store.kept import KeptParts
from backslide_detector.store.reading import read_inside, read_run
from backslide_detector.store.runs import Runs

LINEAGE_RUNS: Final = 100
CHAMPION: Final = "champion"
KEPT_INSIDES: Final = 48
"""Of about a megabyte each."""
PLAIN_SECONDS: Final = 7 * 86_400.0
"""How long a run without a heartbeat is looked at while it says RUNNING: killed ones say so for
ever. An older one is judged when it has ended."""
RECENT_SECONDS: Final = 3_600.0
"""How far back listings overlap: more than clocks of training hosts are usually wrong by."""

_RUN_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""Whatever a person wrote into a tag as a run id goes into a filter between quotes."""

_BUSY: Final = frozenset({"REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE"})
_ENDED: Final = "attributes.status != 'RUNNING' and attributes.status != 'SCHEDULED'"
_ALIVE: Final = "attributes.status = 'RUNNING'"
_UNJUDGED: Final = f"tags.`{Tag.VERDICT}` IS NULL"


class MlflowStore:
    """Reads and writes over MLflow's REST interface."""

    def __init__(
        self,
        uri: str,
        experiments: Sequence[str] = (),
        mapping: Mapping[str, str] | None = None,
    ) -> None:
        """Watches the named experiments, or all; `mapping` says what the user's keys mean."""
        # MLflow's defaults keep a caller waiting for minutes; a pass is tried again anyway.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._uri = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._runs = Runs(self._client, experiments)
        self._mapping = dict(mapping or {})
        self._published: set[str] = set()
        self._publishing = threading.Lock()
        self._parts = KeptParts()
        self._insides: dict[tuple[str, str], Inside] = {}
        self._keeping = threading.Lock()

    def changed(self, since: float) -> list[RunHead]:
        """Ended without a verdict, ended or filled up lately, alive, or silent for long.

        A run without the SDK has no heartbeat: it is alive while it logs metrics.
        """
        since -= RECENT_SECONDS
        seen = f"metrics.`{Metric.LAST_SEEN}`"
        born = int((since - PLAIN_SECONDS) * 1_000)
        filters = (
            f"{_ENDED} and {_UNJUDGED}",
            f"{_ENDED} and attributes.end_time > {int(since * 1_000)}",
            f"{_ENDED} and {seen} > {since:.0f}",
            f"{_ALIVE} and {seen} > {since:.0f}",
            f"{_ALIVE} and {seen} <= {since:.0f} and {_UNJUDGED}",
        )
        plain = f"{_ALIVE} and tags.`{Tag.CLIENT}` IS NULL and attributes.start_time > {born}"
        with self._translated():
            self._runs.list_experiments()
            found = {
                run.info.run_id: run
                for text in filters
                for run in self._runs.search(text, "attributes.start_time ASC")
            }
            for run in self._runs.search(plain, "attributes.start_time ASC"):
                beats = Metric.LAST_SEEN in run.data.metrics
                if not beats and last_logged(run) > since:
                    found[run.info.run_id] = run
        heads = map(head_of, found.values())
        return sorted(heads, key=lambda head: (head.started, head.run_id))

    def heads(self, run_ids: Sequence[str]) -> list[RunHead]:
        """These runs; one without the tag belongs to the model that it was registered as."""
        run_ids = [run_id for run_id in run_ids if _RUN_ID.fullmatch(run_id)]
        if not run_ids:
            return []
        with self._translated():
            found = self._runs.by_id(run_ids)
            if len(found) < len(run_ids):  # deleted, or of an experiment that is new
                self._runs.list_experiments()
                found = self._runs.by_id(run_ids)
            heads = [head_of(run) for run in found]
            if nameless := [head.run_id for head in heads if head.lineage is None]:
                models = self._runs.models(nameless)
                heads = [
                    replace(head, lineage=head.lineage or models.get(head.run_id))
                    for head in heads
                ]
        return heads

    def lineage(self, name: str) -> list[RunHead]:
        """The newest runs with the tag, and those behind versions of a model of that name."""
        # The filter language has no escape: what cannot be quoted is matched loosely.
        pattern = re.sub(r"['\"%\\]", "_", name)
        with self._translated():
            tagged = self._runs.search(
                f"tags.`{Tag.LINEAGE}` LIKE '{pattern}'",
                "attributes.start_time DESC",
                limit=LINEAGE_RUNS,
            )
            heads = [head for head in map(head_of, tagged) if head.lineage == name]
            versions = self._client.search_model_versions(
                f"name = '{pattern}'", max_results=LINEAGE_RUNS
            )
        known = {head.run_id for head in heads}
        registered = [v.run_id for v in versions if v.run_id and v.run_id not in known]
        return heads + [head for head in self.heads(registered) if head.lineage == name]

    def champion(self, lineage: str, run_ids: Sequence[str]) -> str | None:
        """By the alias of the registered model."""
        with self._translated():
            registered = self._runs.models(run_ids) if run_ids else {}
            for name in dict.fromkeys((lineage, *sorted(set(registered.values())))):
                if run := self._behind_alias(name):
                    return run
        return None

    def _behind_alias(self, name: str) -> str | None:
        try:
            version = self._client.get_model_version_by_alias(name, CHAMPION)
        except MlflowException as error:
            # No such model or alias, or a lineage that is no name for a model.
            if error.error_code in _BUSY or error.get_http_status_code() >= 500:
                raise
            return None
        return version.run_id or None

    def read(self, head: RunHead) -> RunEvidence:
        """Histories, artifacts and data inputs of one run."""
        with self._translated():
            run = self._client.get_run(head.run_id)
            if run.info.lifecycle_stage != "active":
                raise RunGoneError(f"run {head.run_id} was deleted")
            kept = self._parts.folder(head.run_id, running=run.info.status == "RUNNING")
            return read_run(self._uri, run, head, self._mapping, kept)

    def inside(self, head: RunHead) -> Inside:
        """Kept for the next retrain of the lineage, which is compared with nearly the same."""
        key = (head.run_id, head.revision)
        with self._keeping:
            if key in self._insides:
                return self._insides[key]
        with self._translated():
            found = read_inside(self._uri, self._client.get_run(head.run_id))
        with self._keeping:
            self._insides[key] = found
            while len(self._insides) > KEPT_INSIDES:
                self._insides.pop(next(iter(self._insides)))
        return found

    def write(self, run_id: str, writes: Writes) -> None:
        """Artifacts, then tags and metrics, then the marks."""
        with self._translated():
            for key in writes.removed:
                self._client.delete_tag(run_id, key)
            for path, text in writes.artifacts.items():
                self._client.log_text(run_id, text, path)
            if writes.tags or writes.metrics:
                self._client.log_batch(
                    run_id,
                    metrics=[
                        MetricRow(key, value, writes.moment, 0)
                        for key, value in writes.metrics.items()
                    ],
                    tags=[RunTag(key, value) for key, value in writes.tags.items()],
                )
            if writes.marks:
                self._client.log_batch(
                    run_id, tags=[RunTag(key, value) for key, value in writes.marks.items()]
                )

    def publish_view(self, experiment_id: str, state: str) -> None:
        """Writes the view as an experiment tag when it is missing or another."""
        # MLflow fails one of two that write the first tag of a name at the same time.
        with self._publishing, self._translated():
            if experiment_id in self._published:
                return
            experiment = self._client.get_experiment(experiment_id)
            stored = experiment.tags.get(SHARED_VIEW_TAG, "{}")
            if _state_of(stored) != state:
                moment = int(experiment.creation_time or 0)
                view = {
                    "name": SHARED_VIEW_NAME,
                    "createdAt": moment,
                    "updatedAt": moment,
                    "state": state,
                }
                self._client.set_experiment_tag(
                    experiment_id, SHARED_VIEW_TAG, json.dumps(view)
                )
            self._published.add(experiment_id)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """MLflow's errors, by what the caller should do."""
        try:
            yield
        except MlflowException as error:
            line = error.message.strip().partition("\n")[0][:500]
            if (
                error.error_code == "RESOURCE_DOES_NOT_EXIST"
                or "must be in the 'active'" in line
            ):
                raise RunGoneError(line) from error
            if 400 <= error.get_http_status_code() < 500 and error.error_code not in _BUSY:
                raise TrackerRefusedError(line) from error
            # A connection that failed carries the code of an internal error, so 500.
            raise TrackerAwayError(self._away(line)) from error
        except (requests.RequestException, ConnectionError) as error:
            raise TrackerAwayError(self._away(str(error).partition("\n")[0][:500])) from error

    def _away(self, line: str) -> str:
        why = re.search(r"\[Errno -?\d+\] [\w ]+|timed out", line)
        return f"the MLflow server at {self._uri} does not answer: {why[0] if why else line}"


def _state_of(view: str) -> object:
    try:
        value = json.loads(view)
    except ValueError:
        return None
    return value.get("state") if isinstance(value, dict) else None
