"""What a delivery needs of MLflow, and how MLflow can fail it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backslide.ship.cursor import Row
from backslide.spool.job import Job


class AwayError(Exception):
    """The server did not answer, or not sensibly: the same may work later.

    Attributes:
        wait: seconds that the server asked to be left alone for; None when it did not say.
    """

    def __init__(self, why: str = "no answer", wait: float | None = None) -> None:
        """Says why, for people."""
        super().__init__(why)
        self.wait = wait


class RejectedError(Exception):
    """The server understood and refused: the same can only be refused again."""


class GoneError(Exception):
    """The run was deleted in MLflow."""


@dataclass(frozen=True)
class Found:
    """A run in MLflow.

    Attributes:
        run_id: its id.
        url: its page; None for a store without a server.
        step: the last step that another job has recorded in it; 0 without one.
    """

    run_id: str
    url: str | None = None
    step: int = 0


class Remote(Protocol):
    """One run in MLflow. Every method raises AwayError, RejectedError or GoneError."""

    def connect(self, job: Job, run_id: str | None) -> Found:
        """Finds or creates the run; `run_id` once it is known."""

    def claim(self) -> None:
        """Makes a run that was joined carry the job's tags; of others nothing is changed."""

    def log(
        self,
        rows: Sequence[Row] = (),
        params: Sequence[tuple[str, str]] = (),
        tags: Sequence[tuple[str, str]] = (),
    ) -> None:
        """One batch within MLflow's limits."""

    def dataset(self, fields: dict[str, Any]) -> None:
        """One dataset input."""

    def upload(self, file: Path, folder: str) -> None:
        """Puts a file into a folder below the run's artifact root, over what is there."""

    def stop_reason(self) -> str | None:
        """The detector's wish to stop this run."""

    def finish(self, status: str, ended: int) -> None:
        """Gives the run its final status, if it is ours to give; `ended` in epoch ms."""
