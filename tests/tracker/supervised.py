"""For the tests: supervises commands given as JSON, and says when they are ready."""

import json
import sys
from pathlib import Path

import click

from backslide_tracker import processes
from backslide_tracker.processes import Command, supervise


def main() -> int:
    processes.GRACE_SECONDS = 1
    commands = [
        Command(
            name=given["name"],
            argv=tuple(given["argv"]),
            log=Path(given["log"]) if "log" in given else None,
            ready=Path(given["ready"]).exists if "ready" in given else lambda: True,
            patience=given.get("patience", 20),
        )
        for given in json.loads(sys.argv[1])
    ]
    try:
        supervise(commands, lambda: print("to stop", flush=True))
    except click.ClickException as error:
        error.show()
        return 1
    return 0


sys.exit(main())
