"""Runs the programs a user runs, with this checkout's code."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    """Runs the `backslide` command."""
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


def scan(uri: str, home: Path) -> list[dict[str, Any]]:
    """One pass of the detector; one record a judged run."""
    state = str(home / "ledger.db")
    done = backslide(uri, home, "detector", "scan", "--json", "--state", state)
    return [json.loads(line) for line in done.stdout.splitlines()]
