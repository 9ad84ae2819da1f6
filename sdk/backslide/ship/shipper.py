"""Spool -> MLflow: a process of its own, the only part of the SDK that talks to the network.

`python -m backslide.ship.shipper SPOOL` runs beside the training and survives it. What it sends
may be sent again after a crash: metrics carry the time at which they were recorded, so MLflow's
own key makes a replay the same rows; parts and files keep their names and are overwritten. The
cursor is saved after MLflow has answered and before a segment is removed, so nothing is lost.
"""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag, ViewType
from mlflow.entities import Metric as MetricRow
from mlflow.exceptions import MlflowException, RestException

from backslide.contract import Tag
from backslide.ship.cursor import Row
from backslide.ship.delivery import AwayError, Delivery, GoneError, RejectedError
from backslide.spool.job import CALLS, SHIPPER_LOCK, WRITER_LOCK, Job, Lock, held

TICK: Final = 1.0
GIVE_UP_SECONDS: Final = 3_600.0
"""How long an orphaned shipper keeps trying before it leaves the rest to `backslide sync`."""
LINGER_SECONDS: Final = 5.0
REFUSALS: Final = frozenset({400, 404, 409, 413, 422})
VERDICT_SECONDS: Final = 1.0

PART: Final = re.compile(r"part-(\d+)\.parquet$")


def refused(error: Exception) -> bool:
    """True when sending the same again can only fail again.

    An answer counts as a refusal only when it is MLflow's own JSON; an HTML page comes from
    something in between and says nothing about the content. The exception is 413, which a proxy
    gives to what is too large for it.
    """
    match error:
        case requests.HTTPError() if error.response is not None:
            return error.response.status_code in REFUSALS
        case RestException():
            return error.get_http_status_code() in REFUSALS
        case MlflowException():
            text = str(error)
            if "API request to" in text:
                return "failed with error code 413" in text
            return error.get_http_status_code() in REFUSALS  # MLflow's own check on this side
        case _:
            return False


@contextmanager
def answers() -> Iterator[None]:
    """Turns whatever goes wrong with a call into AwayError or RejectedError."""
    try:
        yield
    except (AwayError, RejectedError, GoneError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise (RejectedError if refused(error) else AwayError)(text) from error


class Tracking:
    """One run on a real MLflow server; see `delivery.Remote` for the contract."""

    def __init__(self, uri: str) -> None:
        """Makes no request yet."""
        self._uri = uri
        self._client = MlflowClient(uri)
        self._run_id = ""
        self._job: Job | None = None

    def connect(self, job: Job, run_id: str | None) -> tuple[str, str | None]:
        """Finds the run by id or by the client's unique tag; creates it when there is none."""
        self._job = job
        try:
            with answers():
                run = self._find(job, run_id or job.run_id)
        except RejectedError as why:
            # Nothing is lost by asking again later, and everything by giving up here: a wrong
            # address or a deleted experiment can be mended.
            raise AwayError(str(why)) from why
        self._run_id = run.info.run_id
        if run.info.lifecycle_stage == "deleted":
            raise GoneError
        if job.run_id and run.data.tags.get(Tag.CLIENT) != job.client:
            tags = [item for item in job.tags.items() if not item[0].startswith("mlflow.")]
            self.log(tags=tags)
        return self._run_id, run_url(self._uri, run.info.experiment_id, self._run_id)

    def _find(self, job: Job, run_id: str | None) -> Any:  # noqa: ANN401  # mlflow has no types
        if run_id:
            return self._client.get_run(run_id)
        experiment = self._experiment(job)
        found = self._client.search_runs(
            [experiment], f"tags.`{Tag.CLIENT}` = '{job.client}'", ViewType.ALL, max_results=1
        )
        if found:
            return found[0]
        return self._client.create_run(
            experiment, start_time=job.started, tags=dict(job.tags), run_name=job.run_name
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

    def next_part(self, folder: str) -> int:
        """One more than the highest part number in the folder."""
        with answers():
            listed = self._client.list_artifacts(self._run_id, folder)
        numbers = [int(found[1]) for info in listed if (found := PART.search(info.path))]
        return max(numbers, default=-1) + 1

    def stop_reason(self) -> str | None:
        """The tag `backslide.stop`."""
        with self._checked():
            tags = self._client.get_run(self._run_id).data.tags
        reason: str | None = tags.get(Tag.STOP)
        return reason

    def finish(self, status: str, ended: int) -> None:
        """Ends a run of ours; of a joined one, only the orphan of a job that was killed."""
        assert self._job is not None  # noqa: S101  # connect comes first
        with self._checked():
            if self._job.run_id is not None:
                run = self._client.get_run(self._run_id)
                ours = run.data.tags.get(Tag.CLIENT) == self._job.client
                if status != "KILLED" or run.info.status != "RUNNING" or not ours:
                    return
            self._client.set_terminated(self._run_id, status, ended)

    @contextmanager
    def _checked(self) -> Iterator[None]:
        """Like `answers`, but a refusal because the run was deleted is Gone."""
        try:
            with answers():
                yield
        except RejectedError:
            with answers():
                run = self._client.get_run(self._run_id)
            if run.info.lifecycle_stage == "deleted":
                raise GoneError from None
            raise


def run_url(uri: str, experiment_id: str, run_id: str) -> str | None:
    """The run's page; None for a store without a server."""
    if not uri.startswith(("http://", "https://")):
        return None
    page = f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    return f"{uri.rstrip('/')}/{page}"


def ship(folder: Path) -> None:
    """Ships a spool until it is empty and its run has ended; waits for a shipper before it."""
    try:
        lock = Lock(folder / SHIPPER_LOCK)
        while not lock.acquire():
            time.sleep(TICK)
        job = Job.read(folder)
    except FileNotFoundError:
        return  # the other shipper has finished
    delivery = Delivery(folder, job, Tracking(job.uri))
    orphaned = None
    while not delivery.round():
        alive = held(folder / WRITER_LOCK)
        orphaned = None if alive else orphaned or time.monotonic()
        if orphaned and time.monotonic() - orphaned > GIVE_UP_SECONDS:
            return
        if not folder.exists():  # somebody threw it away
            return
        _sleep(TICK if alive else TICK / 4, folder, alive=alive)
    deadline = time.monotonic() + LINGER_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)  # the trainer reads the last state and removes the folder
    shutil.rmtree(folder, ignore_errors=True)


def _sleep(seconds: float, folder: Path, *, alive: bool) -> None:
    """Sleeps, but not through the end of the training."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and held(folder / WRITER_LOCK) is alive:
        time.sleep(0.1)


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


def main(arguments: Sequence[str]) -> None:
    """`SPOOL`, or `--verdict URI RUN` to print the run's tags once it has a verdict."""
    os.environ.update(CALLS)
    match arguments:
        case ["--verdict", uri, run_id]:
            json.dump(wait_for_verdict(uri, run_id), sys.stdout)
        case [folder]:
            ship(Path(folder))
        case _:
            raise SystemExit(
                "usage: python -m backslide.ship.shipper SPOOL | --verdict URI RUN"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
