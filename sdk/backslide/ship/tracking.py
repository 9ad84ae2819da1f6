"""One run on a real MLflow server: the only module that talks to it.

Metrics carry the time at which they were recorded, so MLflow's own key makes a replay the same
rows; parts and files keep their names and are overwritten.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag, ViewType
from mlflow.entities import Metric as MetricRow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from backslide.contract import Artifact, Tag
from backslide.ship.answers import answers, missing
from backslide.ship.cursor import Row
from backslide.ship.remote import AwayError, Found, GoneError, RejectedError
from backslide.ship.twins import Note
from backslide.spool.job import Job

VERDICT_SECONDS: Final = 1.0


class Tracking:
    """One run on a real MLflow server; see `remote.Remote` for the contract."""

    def __init__(self, uri: str) -> None:
        """Makes no request yet."""
        self._uri = uri
        self._client = MlflowClient(uri)
        self._run: Any = None  # mlflow has no types
        self._job: Job | None = None

    @property
    def _run_id(self) -> str:
        return str(self._run.info.run_id)

    def connect(self, job: Job, run_id: str | None) -> Found:
        """Finds the run by id or by the client's unique tag; creates it when there is none."""
        self._job = job
        try:
            with answers():
                self._run = self._find(job, run_id or job.run_id)
        except RejectedError as why:
            if run_id is not None and missing(why):
                raise GoneError from None
            # Nothing is lost by asking again later, and everything by giving up here: a wrong
            # address or a deleted experiment can be mended.
            raise AwayError(str(why)) from why
        if self._run.info.lifecycle_stage == "deleted":
            raise GoneError
        url = run_url(self._uri, self._run.info.experiment_id, self._run_id)
        return Found(
            self._run_id, url, 0 if self._owner() in (None, job.client) else self._step()
        )

    def claim(self) -> None:
        """Sets the job's tags, ours last: it says that all the rest is done."""
        job = self._job
        assert job is not None  # noqa: S101  # connect comes first
        if job.run_id is None or self._owner() == job.client:
            return
        if job.ours and self._run.info.status != "RUNNING":
            with self._checked():
                self._client.update_run(self._run_id, "RUNNING")
        if Tag.STOP in self._run.data.tags:  # said of the job before, whose run this goes on
            with self._checked():
                self._client.delete_tag(self._run_id, Tag.STOP)
        tags = [item for item in job.tags.items() if not item[0].startswith("mlflow.")]
        self.log(tags=tags)

    def _owner(self) -> str | None:
        owner: str | None = self._run.data.tags.get(Tag.CLIENT)
        return owner

    def _step(self) -> int:
        metrics = self._run.to_proto().data.metrics  # its entities keep no steps
        return max((int(metric.step) for metric in metrics), default=0)

    def _find(self, job: Job, run_id: str | None) -> Any:  # noqa: ANN401  # mlflow has no types
        if run_id:
            return self._client.get_run(run_id)
        experiment = self._experiment(job)
        found = self._twins(experiment, ViewType.ALL)
        if not found:
            created = self._client.create_run(
                experiment, start_time=job.started, tags=dict(job.tags), run_name=job.run_name
            )
            # A request whose answer was lost may have been carried out after we looked.
            found = self._twins(experiment, ViewType.ALL) or [created]
        return found[0]

    def _twins(self, experiment: str, view: int) -> list[Any]:
        """Runs created for this job, the one to use first."""
        assert self._job is not None  # noqa: S101  # connect comes first
        return sorted(
            _created_for(self._client, experiment, self._job.client, view),
            key=lambda run: (
                run.info.lifecycle_stage == "deleted",
                not run.data.metrics,
                run.info.run_id,
            ),
        )

    def _experiment(self, job: Job) -> str:
        if job.experiment is None:
            return job.experiment_id or "0"
        found = self._client.get_experiment_by_name(job.experiment)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(job.experiment))
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":  # somebody was quicker
                return str(self._client.get_experiment_by_name(job.experiment).experiment_id)
            raise

    def log(
        self,
        rows: Sequence[Row] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> None:
        """One request to log-batch."""
        with self._checked():
            self._client.log_batch(
                self._run_id,
                [MetricRow(*row) for row in rows],
                [Param(*param) for param in params],
                [RunTag(*tag) for tag in tags],
                synchronous=True,
            )

    def dataset(self, fields: dict[str, Any]) -> None:
        """One dataset input, in the context of its name."""
        context = [InputTag("mlflow.data.context", fields["name"])]
        with self._checked():
            self._client.log_inputs(
                self._run_id, datasets=[DatasetInput(Dataset(**fields), tags=context)]
            )

    def upload(self, file: Path, folder: str) -> None:
        """Overwrites what lies there."""
        with self._checked():
            self._client.log_artifact(self._run_id, str(file), folder)
            if self._run.info.artifact_uri.startswith(("mlflow-artifacts:", "http")):
                # A proxy's page instead of an answer passes for success: look what is there.
                # The client's own listing asks for the run and its models as well, each time.
                uri = self._run.info.artifact_uri
                listed = get_artifact_repository(uri, self._uri).list_artifacts(folder)
                sizes = {info.path.rpartition("/")[2]: info.file_size for info in listed}
                if sizes.get(file.name) != file.stat().st_size:
                    raise AwayError(f"{file.name} did not arrive as it was sent")

    def stop_reason(self) -> str | None:
        """The tag `backslide.stop`."""
        with self._checked():
            tags = self._client.get_run(self._run_id).data.tags
        reason: str | None = tags.get(Tag.STOP)
        return reason

    def finish(self, status: str, ended: int) -> None:
        """Ends a run of ours; of a joined one, only the orphan of a job that was killed.

        A run that another job has taken up since is left alone.
        """
        job = self._job
        assert job is not None  # noqa: S101  # connect comes first
        with self._checked():
            self._run = self._client.get_run(self._run_id)
            orphan = status == "KILLED" and self._run.info.status == "RUNNING"
            ours = job.run_id is None or job.ours or orphan
            if ours and self._owner() in (None, job.client):
                self._client.set_terminated(self._run_id, status, ended)
            if job.run_id is None:
                note = Note(self._uri, job.client, job.started, 0.0, self._run_id)
                _delete_twins(self._client, note, self._run.info.experiment_id)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Like `answers`, but a refusal because the run was deleted is Gone."""
        try:
            with answers():
                yield
        except RejectedError:
            try:
                with answers():
                    run = self._client.get_run(self._run_id)
            except RejectedError as why:
                if missing(why):
                    raise GoneError from None
                raise
            if run.info.lifecycle_stage == "deleted":
                raise GoneError from None
            raise


def delete_twins(note: Note) -> None:
    """Deletes runs created for the same job that nothing was ever written to.

    Raises:
        AwayError: the server did not answer; RejectedError when it refused.
    """
    client = MlflowClient(note.uri)
    with answers():
        experiment = client.get_run(note.run_id).info.experiment_id
        _delete_twins(client, note, experiment)


def _delete_twins(client: MlflowClient, note: Note, experiment: str) -> None:
    for twin in _created_for(client, experiment, note.client, ViewType.ACTIVE_ONLY):
        empty = not (twin.data.metrics or twin.data.params or twin.inputs.dataset_inputs)
        same = twin.info.start_time == note.started
        if twin.info.run_id != note.run_id and same and empty:
            client.delete_run(twin.info.run_id)


def _created_for(client: MlflowClient, experiment: str, job: str, view: int) -> list[Any]:
    """Runs that carry the tag of a job's client."""
    return list(client.search_runs([experiment], f"tags.`{Tag.CLIENT}` = '{job}'", view))


def run_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    """The run's page; None for a store without a server."""
    if not uri.startswith(("http://", "https://")):
        return None
    page = f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    return f"{uri.rstrip('/')}/{page}"


def wait_for_verdict(uri: str, run_id: str) -> dict[str, str]:
    """Polls until the detector has judged the run; its tags and the run's page."""
    client = MlflowClient(uri)
    while True:
        with suppress(AwayError, RejectedError), answers():
            run = client.get_run(run_id)
            if Tag.VERDICT in run.data.tags:
                url = run_url(uri, run.info.experiment_id, run_id) or ""
                return {**run.data.tags, "url": url}
        time.sleep(VERDICT_SECONDS)


def put_small_data(uri: str, run_id: str, name: str, document: Mapping[str, Any]) -> str:
    """Writes a small-data verdict onto a run, or onto a new one that ends at once; its id.

    A new run goes into the experiment that MLflow's environment names.
    """
    client = MlflowClient(uri)
    try:
        with answers():
            new = None if run_id else client.create_run(_chosen(client), run_name=name)
            target = run_id if new is None else str(new.info.run_id)
            client.log_text(target, json.dumps(document, indent=2) + "\n", Artifact.SMALL_DATA)
            client.set_tag(target, Tag.SMALL_DATA, document["title"])
            if new is not None:
                client.set_terminated(target)
    except (AwayError, RejectedError) as why:
        raise SystemExit(str(why)) from why
    return target


def _chosen(client: MlflowClient) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if not name:
        return os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)
