"""The verdict onto the MLflow run that this process is about, as a tag and a JSON file."""

import json
import subprocess
import sys
from typing import Final

from backslide import ending
from backslide.active import Active
from backslide.contract import SCHEMA
from backslide.guard import logger
from backslide.smalldata.verdict import SmallDataVerdict
from backslide.spool.keeper import shipper_environment

SECONDS: Final = 60.0


def document(verdict: SmallDataVerdict) -> dict[str, object]:
    """What `backslide/small-data.json` holds."""
    return {"schema": SCHEMA, "title": verdict.title, **verdict.to_dict()}


def record(verdict: SmallDataVerdict) -> None:
    """Into the open run of `backslide.start`, else MLflow's active run; else nowhere.

    Never raises: the verdict is worth more than its copy.
    """
    try:
        if (run := ending.newest()) is not None:
            run.small_data(document(verdict))
            return
        active = Active.find(None)
        if active.run_id is not None and active.tracking_uri is not None and not active.ours:
            send(verdict, active.tracking_uri, run_id=active.run_id)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("backslide: the small-data verdict is not in MLflow: %s", error)


def send(
    verdict: SmallDataVerdict, uri: str, *, run_id: str = "", name: str = "small-data"
) -> str:
    """Writes the verdict onto a run, or onto a new one called `name`; returns the run id.

    In a process of its own, because this one may be training.

    Raises:
        ValueError: MLflow did not take it, and why.
        subprocess.TimeoutExpired: it did not answer in time.
    """
    done = subprocess.run(  # noqa: S603  # our own interpreter with our own code
        [
            *(sys.executable, "-P", "-m", "backslide.ship.shipper"),
            *("--small-data", uri, run_id, name),
        ],
        input=json.dumps(document(verdict)),
        timeout=SECONDS,
        check=False,
        capture_output=True,
        text=True,
        env=shipper_environment(),
    )
    if done.returncode:
        raise ValueError(done.stderr.strip().rpartition("\n")[2] or "no answer")
    return done.stdout.strip()
