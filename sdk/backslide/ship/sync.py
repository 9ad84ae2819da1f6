"""`backslide sync`: ships what a killed or offline job left in its spool."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from backslide.ship.twins import NOTES, Note, settle
from backslide.spool.job import (
    CALLS,
    HANDOVER,
    JOB,
    SHIPPER_LOCK,
    WRITER_LOCK,
    Job,
    Lock,
    held,
    holder,
)
from backslide.spool.segments import segments, used_bytes

if TYPE_CHECKING:
    from backslide.ship.delivery import Delivery

PATIENCE_SECONDS: Final = 10.0
"""How long a server may be away before sync gives up."""
HANDOVER_SECONDS: Final = 2.0
"""How long an orphaned shipper may take to let go before it is ended; a call may hang."""


class _Outcome(Enum):
    SHIPPED = "shipped"
    OTHERS = "left to the process that ships it now"


class LeftError(Exception):
    """A spool still holds something that nobody is shipping, and why."""


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
    spools = sorted((path.parent for path in root.rglob(JOB)), key=_started)
    if not spools:
        _settle({root}, tracking_uri)
        click.echo(f"Nothing to ship in {root}.")
        return
    outcomes = []
    for place, spool in enumerate(spools, start=1):
        try:
            label = f"{place}/{len(spools)} {spool.name[:8]}"
            outcomes.append(_ship(spool, tracking_uri, label))
        except (LeftError, OSError, ValueError, TypeError) as error:
            if not spool.exists():  # another shipper has just finished it
                outcomes.append(_Outcome.SHIPPED)
                continue
            why = error if isinstance(error, LeftError) else f"cannot be read: {error}"
            click.echo(f"{spool}: {why}", err=True)
    _settle({root, *(spool.parent for spool in spools)}, tracking_uri)
    left = len(spools) - len(outcomes)
    if left:
        raise click.ClickException(f"{left} of {len(spools)} spools still hold something")
    others = outcomes.count(_Outcome.OTHERS)
    rest = f", {others} {_Outcome.OTHERS.value}" if others else ""
    click.echo(f"{len(spools) - others} of {len(spools)} spools shipped{rest}.")


def default_folder() -> Path:
    """Where `backslide.start` keeps spools unless told otherwise."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(os.environ.get("BACKSLIDE_SPOOL_DIR") or Path(state, "backslide", "spool"))


def _started(spool: Path) -> int:
    """When its job was: several may belong to one run, and are best shipped in order."""
    try:
        return Job.read(spool).started
    except (OSError, ValueError, TypeError):  # told later, when it is its turn
        return 0


def _settle(roots: set[Path], uri: str | None) -> None:
    """Deletes empty twins of runs whose creation was carried out twice."""
    for root in roots:
        if (root / NOTES).exists():
            settle(root, lambda note: _delete_twins(note, uri))


def _delete_twins(note: Note, uri: str | None) -> None:
    os.environ.update(CALLS)
    from backslide.ship.tracking import delete_twins  # noqa: PLC0415  # mlflow takes seconds

    delete_twins(replace(note, uri=uri or note.uri))


def _ship(spool: Path, uri: str | None, label: str) -> _Outcome:
    """Ships one spool as far as it goes; raises LeftError when that is not all."""
    lock = Lock(spool / SHIPPER_LOCK)
    try:
        if not _take(spool, lock):
            return _Outcome.OTHERS
        if not (spool / JOB).exists():  # it was just finished
            return _Outcome.SHIPPED
        total = max(1, used_bytes(spool))
        with click.progressbar(length=total, label=label, file=sys.stderr) as bar:

            def show() -> None:
                left = min(total, used_bytes(spool)) if spool.exists() else 0
                bar.update(total - left - bar.pos)

            _deliver(_delivery(spool, uri), spool, show)
            return _Outcome.SHIPPED
    finally:
        lock.release()


def _take(spool: Path, lock: Lock) -> bool:
    """Takes the spool over from an orphaned shipper; False when somebody is at work there."""
    request = spool / HANDOVER
    began = time.monotonic()
    try:
        while not lock.acquire("sync"):
            other = holder(spool / SHIPPER_LOCK)
            if held(spool / WRITER_LOCK):
                click.echo(f"{spool}: still training; its own shipper is at work.")
                return False
            if other is not None and other.role == "sync":
                click.echo(
                    f"{spool}: another `backslide sync` (process {other.pid} on {other.host}) "
                    "is shipping it."
                )
                return False
            request.touch()
            late = time.monotonic() - began > HANDOVER_SECONDS
            if late and other is not None and other.here:
                # The shipper of a dead job, waiting for an answer. It may be killed at any
                # moment without a loss: that is what the cursor is for.
                with suppress(ProcessLookupError):
                    os.kill(other.pid, signal.SIGKILL)
            elif time.monotonic() - began > PATIENCE_SECONDS:
                where = "" if other is None else f" on {other.host}"
                raise LeftError(f"another shipper{where} holds it and does not let go")
            time.sleep(0.1)
    finally:
        request.unlink(missing_ok=True)
    return True


def _delivery(spool: Path, uri: str | None) -> "Delivery":
    os.environ.update(CALLS)
    # Imported here: mlflow takes seconds, which `--help` need not wait for.
    from backslide.ship.delivery import Delivery  # noqa: PLC0415
    from backslide.ship.tracking import Tracking  # noqa: PLC0415

    job = Job.read(spool)
    return Delivery(spool, job, Tracking(uri or job.uri))


def _deliver(delivery: "Delivery", spool: Path, show: Callable[[], None]) -> None:
    deadline, progress = time.monotonic() + PATIENCE_SECONDS, delivery.progress
    while not delivery.round():
        show()
        away = delivery.state.away
        if away is None or delivery.progress > progress:
            deadline, progress = time.monotonic() + PATIENCE_SECONDS, delivery.progress
        if away is None:
            if held(spool / WRITER_LOCK) and len(segments(spool)) <= 1:
                return  # an offline job that goes on: all it closed so far is shipped
        elif time.monotonic() > deadline:
            raise LeftError(f"the server is away: {away}")
        time.sleep(0.1)
    show()
    shutil.rmtree(spool, ignore_errors=True)
