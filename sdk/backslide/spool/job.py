"""What the trainer and its shipper tell each other, as files in the spool's folder.

`job.json` is written once by the trainer: which run this is to become. `run.json` is written by
the shipper: how far it is and what the server said. Both are replaced atomically. The trainer
holds a lock on `writer.lock` as long as it lives, the shipper one on `shipper.lock`; the kernel
lets go of a lock when its holder dies, whatever killed it: no need for pids and clocks.
"""

import fcntl
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

JOB: Final = "job.json"
STATE: Final = "run.json"
WRITER_LOCK: Final = "writer.lock"
SHIPPER_LOCK: Final = "shipper.lock"
FILES: Final = "files"
"""Folder of whole files on their way to the artifact store."""
CATALOGUES: Final = "catalogues"
"""Folder of what layer snapshots refer to, by digest."""
SHIPPER_LOG: Final = "shipper.log"

SLACK: Final = "slack"
"""A file that only takes up space, until the shipper needs it on a full disk."""
HANDOVER: Final = "handover"
"""Asks an orphaned shipper to leave the spool to whoever laid this file down."""

REJECTED: Final = "rejected.jsonl"
"""What MLflow refused for good, one JSON object a line, moved beside the spool at the end."""

CALLS: Final = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Environment of whoever calls MLflow for a run. Retrying is done by `delivery`: MLflow's own
would block for minutes, and create a run twice."""

DEFAULT_TRACKING_URI: Final = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Job:
    """Which MLflow run a spool is to become.

    Attributes:
        client: unique id of this job, made before the run exists.
        lineage: the chain of retrains.
        tracking_uri: where to; None when the user did not say.
        run_id: the active run that was joined; None to create one.
        experiment: by name; None for MLflow's own default.
        experiment_id: by id, when MLflow's environment names one.
        run_name: None lets the server choose.
        ours: the run was joined by its id alone (MLFLOW_RUN_ID), and this job is to end it.
        started: epoch milliseconds.
        tags: set when the run is created.
    """

    client: str
    lineage: str
    started: int
    tracking_uri: str | None = None
    run_id: str | None = None
    ours: bool = False
    experiment: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Where to ship, defaults applied."""
        return (
            self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
        )

    def write(self, folder: Path) -> None:
        """Leaves the job for the shipper."""
        write_json(folder / JOB, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises OSError, ValueError or TypeError when there is no whole job in the folder."""
        return cls(**json.loads((folder / JOB).read_text()))


@dataclass(frozen=True)
class RunState:
    """What the shipper knows about the run.

    Attributes:
        run_id, url: None until the run exists.
        away: why the server cannot be reached at the moment; None while it answers, and before
            it was first asked (`asked` tells the two apart).
        asked: the server was tried at least once.
        stop: the detector's reason to stop.
        rejected: records that MLflow refused for good or that were damaged.
        problem: why the newest of them was given up.
        done: everything has been shipped and the run has its final status.
    """

    run_id: str | None = None
    url: str | None = None
    away: str | None = None
    asked: bool = False
    stop: str | None = None
    rejected: int = 0
    problem: str | None = None
    done: bool = False

    def write(self, folder: Path) -> None:
        """Publishes the state to the trainer."""
        write_json(folder / STATE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The newest state; the initial one when nothing was published yet."""
        try:
            return cls(**json.loads((folder / STATE).read_text()))
        except (OSError, ValueError, TypeError):
            return cls()


def write_json(path: Path, value: object) -> None:
    """Replaces a JSON file so that readers, and a power cut, see the old or the new one."""
    write_whole(path, json.dumps(value).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Replaces a file at once; raises OSError when the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, by its own account.

    Attributes:
        pid: its process, on `host`.
        role: what it is ("trainer", "shipper", "sync").
    """

    pid: int
    host: str
    role: str

    @property
    def here(self) -> bool:
        """Whether the process is one of this machine's."""
        return self.host == socket.gethostname()


class Lock:
    """An advisory lock on a file, held until released or until this process is gone."""

    def __init__(self, path: Path) -> None:
        """Opens the file; raises OSError when its folder is gone."""
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self, role: str = "") -> bool:
        """True when the lock is now held here; leaves word who holds it."""
        assert self._fd is not None  # noqa: S101  # a released lock is not taken again
        if not _flock(self._fd, fcntl.LOCK_EX):
            return False
        word = json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), role))).encode()
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, word, 0)
        return True

    def release(self) -> None:
        """Closes the file and with it this process's hold."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder(path: Path) -> Holder | None:
    """Who holds the lock; None when nobody does or nobody left word."""
    if not held(path):
        return None
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def held(path: Path) -> bool:
    """True while some living process holds the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Shared, so that two who ask at once don't take each other for the holder.
        return not _flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _flock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
