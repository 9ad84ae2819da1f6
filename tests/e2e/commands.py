"""Runs the programs a user runs, with this checkout's code.

A process of its own takes seconds to load what it needs: it is for what only a process shows.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from backslide.cli import main
from backslide.spool.job import CALLS

HOUSE = Path(__file__).parents[2]


def environment(uri: str, spool: Path) -> dict[str, str]:
    """What the programs see of the outside."""
    rooms = (HOUSE, *(HOUSE / room for room in ("sdk", "detector", "tracker")))
    outside = {k: v for k, v in os.environ.items() if k != "BACKSLIDE_SCREENSHOTS"}
    return outside | {
        "MLFLOW_TRACKING_URI": uri,
        "BACKSLIDE_SPOOL_DIR": str(spool),
        "PYTHONPATH": os.pathsep.join(map(str, rooms)),
        "OMP_NUM_THREADS": "1",
    }


def train(uri: str, spool: Path, *arguments: str) -> str:
    """Runs the training job to its end and returns the run id."""
    job = subprocess.run(
        [sys.executable, "-m", "tests.e2e.job", *arguments],
        env=environment(uri, spool),
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert job.returncode == 0, job.stderr
    return job.stdout.split()[-1]


def backslide(
    uri: str, spool: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs the `backslide` command as a process."""
    done = subprocess.run(
        [sys.executable, "-m", "backslide.cli", *arguments],
        env=environment(uri, spool),
        cwd=spool,
        capture_output=True,
        text=True,
        timeout=240,
    )
    if check:
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def inside(uri: str, *arguments: str, status: int = 0) -> Result:
    """Runs the `backslide` command in this process."""
    settings = {"MLFLOW_TRACKING_URI": uri, "BACKSLIDE_WORKERS": "1", **CALLS}
    done = CliRunner().invoke(main, arguments, env=settings, catch_exceptions=False)
    assert done.exit_code == status, done.output
    return done


def scan(uri: str, home: Path) -> dict[str, dict[str, Any]]:
    """One pass of the detector; one record a judged run, by its id."""
    done = inside(uri, "detector", "scan", "--json", "--state", str(home / "ledger.db"))
    return records(done.stdout)


def records(lines: str) -> dict[str, dict[str, Any]]:
    """What `detector scan --json` printed, by run id."""
    return {record["run_id"]: record for record in map(json.loads, lines.splitlines())}
