"""Runs that came into being twice.

MLflow knows no key for creating a run: a request whose answer was lost may have been carried
out, and a gateway may carry it out once more long after. Whoever asks again looks for the
client's tag first, and looks again afterwards. What comes later still is an empty twin: while
that is possible a note lies beside the spools, and who ships from there looks for it.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from backslide.ship.remote import AwayError, GoneError, RejectedError
from backslide.spool.job import Job, write_json

NOTES: Final = "created"
"""Folder of the notes, beside the spools."""
SETTLED_SECONDS: Final = 5.0
"""After this most requests that were on their way have arrived."""
OVER_SECONDS: Final = 3_600.0
"""After this no gateway holds a request any more."""


@dataclass(frozen=True)
class Note:
    """A run of which there may be a twin.

    Attributes:
        uri: where.
        client, started: what both carry.
        asked: when its creation was last asked for, in epoch seconds.
        run_id: the one in use; None until that is known.
    """

    uri: str
    client: str
    started: int
    asked: float
    run_id: str | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, ValueError or TypeError when there is no whole note."""
        return cls(**json.loads(path.read_text()))

    def write(self, root: Path) -> None:
        """Leaves it beside the spools; raises OSError."""
        write_json(note_path(root, self.client), asdict(self))


def note_path(root: Path, client: str) -> Path:
    """Where the note of a job lies, below the folder of its spool."""
    return root / NOTES / f"{client}.json"


class Doubt:
    """Whether one job's run may be there twice; outlives the shipper.

    Args:
        root: the folder that its spool lies in.
        job: whose run it is.
    """

    def __init__(self, root: Path, job: Job) -> None:
        """Writes nothing yet."""
        self._root = root
        self._job = job
        self._note: Note | None = None
        self._earlier = False

    def asking(self) -> None:
        """The run is about to be created: whatever happens now, it may be carried out."""
        job = self._job
        self._earlier = note_path(self._root, job.client).exists()
        self._note = Note(job.uri, job.client, job.started, time.time())
        with suppress(OSError):  # a full disk: a twin would have to be deleted by hand
            self._note.write(self._root)

    def answered(self, run_id: str) -> None:
        """The run is known; the first request to be answered leaves no doubt."""
        if self._note is None:
            return
        if not self._earlier:
            note_path(self._root, self._note.client).unlink(missing_ok=True)
            return
        with suppress(OSError):  # as above
            replace(self._note, run_id=run_id).write(self._root)


def settle(root: Path, delete: Callable[[Note], None], *, client: str | None = None) -> None:
    """Deletes late twins of runs that there is a note of; waits for young ones to settle.

    Args:
        root: a folder of spools.
        delete: deletes the empty twins of a run; may raise what a `Remote` may.
        client: looks at this job's note, and at those of others for the last time when they
            have grown old, so that many jobs do no more work than one note each. None: at all.
    """
    for path in sorted((root / NOTES).glob("*.json")):
        try:
            note = Note.read(path)
            old = time.time() - note.asked > OVER_SECONDS
            if old:
                path.unlink()  # first: of several who see it, one has it
        except (OSError, ValueError, TypeError):  # settled in this moment, or not ours
            continue
        if note.run_id is None or not (old or client in (None, note.client)):
            continue  # its own shipper is still asking, or will look itself
        young = note.asked + SETTLED_SECONDS - time.time()
        time.sleep(min(SETTLED_SECONDS, max(0.0, young)))
        with suppress(AwayError, RejectedError, GoneError):
            delete(note)
