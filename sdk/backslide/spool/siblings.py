"""Other spools beside this one that hold an earlier part of the same MLflow run.

A job that was killed and started again on the same run has a spool of its own; what the first
one left may not be in MLflow yet.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backslide.ship.cursor import Cursor
from backslide.spool.job import JOB, Job, RunState
from backslide.spool.segments import Kind, read, segment_path, segments


@dataclass(frozen=True)
class Sibling:
    """An earlier job's spool for the same run."""

    folder: Path
    job: Job


def siblings(job: Job, folder: Path) -> list[Sibling]:
    """Spools beside `folder` of jobs that started earlier on the same run, oldest first."""
    found = [
        Sibling(other.parent, theirs)
        for other in folder.parent.glob(f"*/{JOB}")
        if other.parent != folder and (theirs := _job(other.parent)) is not None
        if theirs.started < job.started
        and job.run_id in (theirs.run_id, RunState.read(other.parent).run_id)
    ]
    return sorted(found, key=lambda sibling: sibling.job.started)


def last_step(job: Job, folder: Path) -> int:
    """The last step that earlier jobs on the same run have left on this machine; 0 if none."""
    last = 0
    for sibling in siblings(job, folder):
        try:
            cursor = Cursor.load(sibling.folder)
        except (OSError, ValueError, TypeError):
            cursor = Cursor()
        base = last if cursor.base is None else cursor.base
        last = max(last, cursor.step, *(base + step for step in _steps(sibling.folder)))
    return last


def _job(folder: Path) -> Job | None:
    try:
        return Job.read(folder)
    except (
        OSError,
        ValueError,
        TypeError,
    ):  # shipped in this moment, or not ours to understand
        return None


def _steps(folder: Path) -> Iterator[int]:
    """Steps of the scalars that are still in a spool, and 0."""
    yield 0
    for number in segments(folder):
        try:
            records = read(segment_path(folder, number), 0, closed=True).records
        except OSError:  # shipped in this moment: the server then knows its steps
            continue
        for record in records:
            if record.kind == Kind.SCALARS:
                yield int(json.loads(record.payload)["step"])
