"""The process that ships a spool into MLflow and outlives the trainer.

May be killed at any moment and started again, beside another one too: a lock lets one at a
time work. The cursor is saved after MLflow has answered and before a segment is removed, so
nothing is lost and nothing counts twice.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backslide.ship.twins import settle
from backslide.spool.job import CALLS, HANDOVER, SHIPPER_LOCK, WRITER_LOCK, Job, Lock, held

TICK: Final = 1.0
GIVE_UP_SECONDS: Final = 3_600.0
"""How long an orphaned shipper keeps trying before it leaves the rest to `backslide sync`."""
LINGER_SECONDS: Final = 5.0


def ship(folder: Path) -> None:
    """Ships a spool until it is empty and its run has ended; waits for a shipper before it."""
    # Imported here: mlflow takes seconds, and it reads its settings when it is.
    from backslide.ship.delivery import Delivery  # noqa: PLC0415
    from backslide.ship.tracking import Tracking, delete_twins  # noqa: PLC0415

    try:
        lock = Lock(folder / SHIPPER_LOCK)
        while not lock.acquire("shipper"):
            time.sleep(TICK)
        (folder / HANDOVER).unlink(missing_ok=True)  # who still wants it asks again
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
        if not alive and (folder / HANDOVER).exists():
            return  # somebody at a terminal takes over
    settle(folder.parent, delete_twins, client=job.client)
    deadline = time.monotonic() + LINGER_SECONDS
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)  # the trainer reads the last state and removes the folder
    shutil.rmtree(folder, ignore_errors=True)


def _sleep(seconds: float, folder: Path, *, alive: bool) -> None:
    """Sleeps, but not through the end of the training."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and held(folder / WRITER_LOCK) is alive:
        time.sleep(0.1)


def main(arguments: Sequence[str]) -> None:
    """`SPOOL`, or an errand to MLflow that is run in a process of its own.

    `--verdict URI RUN` prints the run's tags once it has a verdict; `--small-data URI RUN NAME`
    writes a small-data verdict from stdin onto a run, or a new one, and prints its id.
    """
    os.environ.update(CALLS)
    match arguments:
        case ["--verdict", uri, run_id]:
            from backslide.ship.tracking import wait_for_verdict  # noqa: PLC0415  # as above

            json.dump(wait_for_verdict(uri, run_id), sys.stdout)
        case ["--small-data", uri, run_id, name]:
            from backslide.ship.tracking import put_small_data  # noqa: PLC0415  # as above

            sys.stdout.write(put_small_data(uri, run_id, name, json.load(sys.stdin)))
        case [folder]:
            ship(Path(folder))
        case _:
            raise SystemExit(
                "usage: python -m backslide.ship.shipper SPOOL | --verdict URI RUN | "
                "--small-data URI RUN NAME"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
