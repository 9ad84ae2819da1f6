"""Tracker and detector together, embedded: one directory, two processes, one Ctrl-C."""

import sys
from pathlib import Path

from backslide_tracker import server
from backslide_tracker.processes import Command
from backslide_tracker.server import Server


def commands(tracker: Server, root: Path) -> list[Command]:
    """What runs: the tracker first, the detector as soon as the tracker answers."""
    detector = Command(
        name="detector",
        argv=(
            *(sys.executable, "-m", "backslide.cli", "detector", "serve"),
            *("--tracking-uri", tracker.url, "--state", str(root / "ledger.db")),
        ),
        log=root / "detector.log",
    )
    return [server.command(tracker, log=root / "tracker.log"), detector]
