"""Parts of running jobs, kept on disk between two looks at them.

A running job is read in every pass, and its parts never change once they are there: only new
ones are fetched.
"""

import shutil
import tempfile
import threading
import weakref
from hashlib import sha256
from pathlib import Path
from typing import Final

RUNS: Final = 64
"""Of some megabytes each."""


class KeptParts:
    """A folder for each running job, the job looked at last being the last to go."""

    def __init__(self) -> None:
        """Makes nothing yet."""
        self._home: Path | None = None
        self._runs: dict[str, Path] = {}
        self._lock = threading.Lock()

    def folder(self, run_id: str, *, running: bool) -> Path | None:
        """Where a job's parts are kept; None for one that has ended, whose parts are let go."""
        with self._lock:
            place = self._runs.pop(run_id, None)
            if not running:
                if place is not None:
                    shutil.rmtree(place, ignore_errors=True)
                return None
            if self._home is None:
                self._home = Path(tempfile.mkdtemp(prefix="backslide-parts-"))
                weakref.finalize(self, shutil.rmtree, self._home, ignore_errors=True)
            if place is None:
                place = Path(tempfile.mkdtemp(dir=self._home))
            self._runs[run_id] = place
            while len(self._runs) > RUNS:
                shutil.rmtree(self._runs.pop(next(iter(self._runs))), ignore_errors=True)
            return place


def place_of(folder: Path | None, path: str, size: int | None) -> Path | None:
    """Where the artifact at `path` is kept; None if it may still change."""
    base = path.rpartition("/")[2]
    if folder is None or not base.startswith("part-"):
        return None
    key = sha256(f"{path} {size}".encode()).hexdigest()[:32]
    return folder / key / base
