"""`backslide sync`: ships what a killed or offline job left in its spool."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from backslide.spool.job import CALLS, JOB, SHIPPER_LOCK, WRITER_LOCK, Job, Lock, held
from backslide.spool.segments import segments, used_bytes

if TYPE_CHECKING:
    from backslide.ship.delivery import Delivery

PATIENCE_SECONDS: Final = 10.0


def default_folder() -> Path:
    """Where `backslide.start` keeps spools unless told otherwise."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(os.environ.get("BACKSLIDE_SPOOL_DIR") or Path(state, "backslide", "spool"))


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--tracking-uri",
    metavar="URI",
    help="Where to; default: what the job was told, then MLFLOW_TRACKING_URI.",
)
def sync(folder: Path | None, tracking_uri: str | None) -> None:
    """Ship what killed or offline jobs left on disk.

    FOLDER is one spool or holds several; default: where jobs keep them. Safe to run twice, or
    beside a job that is still shipping.
    """
    root = folder or default_folder()
    if folder is not None and not folder.is_dir():
        raise click.ClickException(f"{folder} is no folder")
    spools = sorted(path.parent for path in root.rglob(JOB))
    if not spools:
        click.echo(f"Nothing to ship in {root}.")
        return
    left = 0
    for place, spool in enumerate(spools, start=1):
        try:
            outcome = _ship(spool, tracking_uri, f"{place}/{len(spools)} {spool.name[:8]}")
        except (OSError, ValueError, TypeError) as error:
            if not spool.exists():  # another shipper has just finished it
                continue
            outcome = f"cannot be read: {error}"
        if outcome is not None:
            left += 1
            click.echo(f"{spool}: {outcome}", err=True)
    if left:
        raise click.ClickException(f"{left} of {len(spools)} spools still hold something")
    click.echo(f"{len(spools)} of {len(spools)} spools shipped.")


def _ship(spool: Path, uri: str | None, label: str) -> str | None:
    """Ships one spool as far as it goes; None when nothing is left to do here, else why."""
    if held(spool / WRITER_LOCK) and held(spool / SHIPPER_LOCK):
        click.echo(f"{spool}: still training; its own shipper is at work.")
        return None
    total = max(1, used_bytes(spool))
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:

        def show() -> None:
            left = min(total, used_bytes(spool)) if spool.exists() else 0
            bar.update(total - left - bar.pos)

        lock = Lock(spool / SHIPPER_LOCK)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not lock.acquire():
                # The orphaned shipper of a killed job: let it finish, unless it gets nowhere.
                before = used_bytes(spool)
                time.sleep(0.2)
                show()
                if not spool.exists():
                    return None
                if used_bytes(spool) != before:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                elif time.monotonic() > deadline:
                    return "another shipper holds it, and its server is away"
            if not (spool / JOB).exists():
                return None
            return _deliver(_delivery(spool, uri), spool, show)
        finally:
            lock.release()


def _delivery(spool: Path, uri: str | None) -> "Delivery":
    # Imported here: mlflow takes seconds, which `--help` need not wait for.
    from backslide.ship.delivery import Delivery  # noqa: PLC0415
    from backslide.ship.shipper import Tracking  # noqa: PLC0415

    os.environ.update(CALLS)
    job = Job.read(spool)
    return Delivery(spool, job, Tracking(uri or job.uri))


def _deliver(delivery: "Delivery", spool: Path, show: Callable[[], None]) -> str | None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not delivery.round():
        show()
        away = delivery.state.away
        if away is None:
            deadline = time.monotonic() + PATIENCE_SECONDS
            if held(spool / WRITER_LOCK) and len(segments(spool)) <= 1:
                return None  # an offline job that goes on: all it closed so far is shipped
        elif time.monotonic() > deadline:
            return f"the server is away: {away}"
        time.sleep(0.1)
    shutil.rmtree(spool, ignore_errors=True)
    return None
