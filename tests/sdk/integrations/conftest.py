"""What each framework's test asks of the server afterwards."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from backslide.contract import Artifact, Tag


class Stored:
    """One run as it lies in MLflow."""

    def __init__(self, uri: str, run_id: str, scratch: Path) -> None:
        self._client = MlflowClient(uri)
        self._run_id = run_id
        self._scratch = str(scratch)
        self.run = self._client.get_run(run_id)

    def steps(self, key: str) -> dict[int, float]:
        history = self._client.get_metric_history(self._run_id, key)
        return {metric.step: metric.value for metric in history}

    def files(self, folder: str) -> set[str]:
        return {
            Path(item.path).name for item in self._client.list_artifacts(self._run_id, folder)
        }

    def roles(self) -> set[str]:
        folder = self._client.download_artifacts(self._run_id, Artifact.LAYERS, self._scratch)
        files = Path(folder).glob("*.parquet")
        return {role for file in files for role in pq.read_table(file)["role"].to_pylist()}


@pytest.fixture
def stored(mlflow_server: str, tmp_path: Path) -> Callable[[str | None], Stored]:
    def of(run_id: str | None) -> Stored:
        assert run_id is not None
        return Stored(mlflow_server, run_id, tmp_path)

    return of


@pytest.fixture
def ask_to_stop(mlflow_server: str) -> Callable[[Any], None]:
    """Asks as the detector does, and returns when the job has heard of it."""

    def ask(run: Any) -> None:
        MlflowClient(mlflow_server).set_tag(run.id, Tag.STOP, "diverged: the loss is 1e9")
        deadline = time.monotonic() + 60.0
        while not run.should_stop:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return ask


@pytest.fixture
def where(mlflow_server: str, tmp_path: Path) -> dict[str, Any]:
    """Arguments of `backslide.start` for a test."""
    return {"tracking_uri": mlflow_server, "spool_dir": tmp_path / "spool", "overhead": None}
