"""Other spools beside this one that hold another part of the same MLflow run.

A job that was killed and started again on the same run has a spool of its own; what the first
one left may not be in MLflow yet, and may get there in any order.
"""

from dataclasses import dataclass
from pathlib import Path

from backslide.ship.cursor import Cursor
from backslide.spool import points
from backslide.spool.frames import Kind
from backslide.spool.job import JOB, Job, RunState
from backslide.spool.segments import read, segment_path, segments


@dataclass(frozen=True)
class Sibling:
    """One job's part of a run.

    Attributes:
        started: when the job was.
        base: where the run stood when it took the run up; None while that is not decided.
        steps: how many it has made since.
    """

    started: int
    base: int | None
    steps: int


def siblings(job: Job, folder: Path) -> list[Sibling]:
    """What spools beside `folder`, and it itself, hold of the job's run, oldest job first."""
    found = []
    for other in folder.parent.glob(f"*/{JOB}"):
        try:
            theirs, cursor = Job.read(other.parent), Cursor.load(other.parent)
        except (OSError, ValueError, TypeError):  # shipped in this moment, or not ours
            continue
        if job.run_id in (theirs.run_id, RunState.read(other.parent).run_id):
            base = cursor.base
            steps = max(cursor.step - (base or 0), _steps(other.parent))
            found.append(Sibling(theirs.started, base, steps))
    return sorted(found, key=lambda sibling: sibling.started)


def take_up(job: Job, beside: list[Sibling], stored: int) -> int:
    """Where the run stood when this job took it up: what to add to each of its steps.

    Jobs that have not decided yet get their room in the order in which they started, and a
    later one that was quicker has left it free just below its own.

    Args:
        job: which one.
        beside: from `siblings`, looked at before the server was asked.
        stored: the last step that MLflow knows of.
    """
    last = max([stored, *(one.base + one.steps for one in beside if one.base is not None)])
    earlier = [one for one in beside if one.started < job.started]
    later = [one for one in beside if one.started > job.started and one.base is not None]
    if not later:
        return last + sum(one.steps for one in earlier if one.base is None)
    next_one = min(later, key=lambda one: one.base or 0)
    between = (
        one.steps
        for one in beside
        if one.base is None and job.started <= one.started < next_one.started
    )
    return (next_one.base or 0) - sum(between)


def _steps(folder: Path) -> int:
    """The last step of the scalars that are still in a spool, as the job counted; 0 if none."""
    last = 0
    for number in segments(folder):
        try:
            records = read(segment_path(folder, number), 0, closed=True).records
        except OSError:  # shipped in this moment: the cursor knows
            continue
        for record in records:
            if record.kind == Kind.SCALARS:
                last = max(last, int(points.decode(record.payload)["step"]))
    return last
