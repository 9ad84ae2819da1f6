"""The job lives, but training stands still.

What it looks for:
    A run that still sends its heartbeat but has logged no training loss for half an hour,
    and for more than twenty times the usual time between two losses.

Why it matters:
    A machine is paid for and does nothing.

What usually causes it:
    A data loader that waits for a disk, a network or a lock.

What to do:
    Look at the data loader and at locks between processes first (`py-spy dump --pid`), then
    at full disks and the network.

When it is wrong:
    A long validation or checkpoint looks the same while it lasts. A job whose heartbeat is
    gone has died; that is not this finding.

References:
    Amazon SageMaker Debugger, rule StalledTrainingRule (1,800 seconds).
"""

import numpy as np

from backslide.contract import Metric
from backslide_detector.evidence import RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_SECONDS = 1_800.0
_USUAL = 20.0


def check(run: RunEvidence, loss: Series) -> Found | Clear | Skipped:
    """Compares the newest heartbeat with the newest loss."""
    heartbeat = run.series.get(Metric.LAST_SEEN)
    if run.finished:
        return Clear()
    if heartbeat is None or not len(heartbeat) or len(loss) < 2:
        return Skipped("no heartbeat was logged")
    silent = heartbeat.last - float(loss.times[-1])
    usual = float(np.median(np.diff(loss.times)))
    if not silent > max(_SECONDS, _USUAL * usual):
        return Clear()
    return Found(
        Severity.WARNING,
        f"No training step for {silent / 60:.0f} minutes, after one every {usual:.1f} s.",
        "Look at the data loader and at locks between processes (py-spy dump --pid PID).",
        since_step=int(loss.steps[-1]),
        numbers={"seconds": silent},
    )
