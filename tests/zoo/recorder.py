"""Takes one training run through the SDK and back: no network, all else is the real thing.

The run is started by `backslide.start` and lands in a spool, as on a user's machine; the
shipper's own delivery empties the spool into a folder in place of a server's artifact store,
and the detector's own reader makes evidence of what lies there.
"""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from mlflow.entities import Run as MlflowRun
from mlflow.entities import RunData, RunInfo

import backslide
from backslide.ship.delivery import Delivery
from backslide.ship.remote import Found
from backslide.spool.job import Job
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.keys import NO_MAPPING
from backslide_detector.store.reading import read_run

QUIET = {"BACKSLIDE_OFFLINE": "1", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


class Folder:
    """A run's artifacts as plain files: what a delivery needs of MLflow, without MLflow."""

    def __init__(self, root: Path):
        self.root = root

    def connect(self, job: Job, run_id: str | None) -> Found:
        return Found("run")

    def claim(self):
        """The run is ours from the start."""

    def log(self, rows: Sequence[Any] = (), params: Sequence[Any] = (), tags: Any = ()):
        """Rows are thinned copies of what lies in the files."""

    def dataset(self, fields: dict[str, Any]):
        """Digests concern no check."""

    def upload(self, file: Path, folder: str):
        target = self.root / folder
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)

    def stop_reason(self) -> None:
        return None

    def finish(self, status: str, ended: int):
        """There is nobody to tell."""


def record(name: str, training: Callable[[Callable[..., backslide.Run]], None]) -> RunEvidence:
    """The evidence of a training run.

    Args:
        name: of the run.
        training: is given a `backslide.start` without the first argument, and trains.
    """
    with TemporaryDirectory(prefix="zoo-") as scratch, _quiet():
        spools, artifacts = Path(scratch, "spools"), Path(scratch, "artifacts")
        artifacts.mkdir()

        def start(**parts: Any) -> backslide.Run:
            return backslide.start("zoo", run_name=name, spool_dir=spools, **parts)

        with patch.dict(os.environ, QUIET):
            training(start)
            (spool,) = spools.iterdir()
            delivery = Delivery(spool, Job.read(spool), Folder(artifacts))
            while not delivery.round():
                delivery.hurry()
            assert not delivery.state.rejected, delivery.state.problem
            return _read(name, artifacts)


@contextmanager
def _quiet():
    """No word of what is not shipped yet."""
    logger = logging.getLogger("backslide")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _read(name: str, artifacts: Path) -> RunEvidence:
    info = RunInfo(name, "0", "zoo", "FINISHED", 0, 1, "active", str(artifacts))
    head = RunHead(name, name, "0", "FINISHED", 0.0, 1.0, "zoo")
    evidence = read_run("", MlflowRun(info, RunData()), head, NO_MAPPING)
    assert not evidence.problems, evidence.problems
    return evidence
