"""What goes on beside the training: once a second, on a background thread.

Syncs the spool to disk, closes segments that are due, keeps the shipper alive and reads what it
has published. The training thread never waits for any of it.
"""

import json
import logging
import os
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import backslide.contract
from backslide.guard import Faults
from backslide.spool.frames import Kind
from backslide.spool.job import CALLS, SHIPPER_LOG, RunState
from backslide.spool.segments import Spool

TICK: Final = 1.0
SHIPPER_STARTS: Final = 6
"""A shipper that keeps crashing is started so many times, ever later."""
HEALTHY_SECONDS: Final = 20.0
"""One that has lived so long does not keep crashing."""
NICE: Final = 5

logger = logging.getLogger("backslide")


class Keeper:
    """Looks after one spool and its shipper.

    Attributes:
        state: the newest word from the shipper.
    """

    def __init__(
        self,
        spool: Spool,
        uri: str,
        faults: Faults,
        *,
        offline: bool,
        errand: Callable[[], None],
    ) -> None:
        """Starts the thread, which runs `errand` once, beside everything else."""
        self.state = RunState()
        self._spool = spool
        self._uri = uri
        self._faults = faults
        self._offline = offline
        self._errand = errand
        self._errand_done = threading.Event()
        self._stopped = threading.Event()
        self._told_dropped = 0
        self._shipper: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._started = self._next_start = 0.0
        self._thread = threading.Thread(target=self._run, name="backslide", daemon=True)
        self._thread.start()

    def refresh(self) -> RunState:
        """Reads the shipper's word now."""
        self.state = (
            RunState.read(self._spool.folder) if self._spool.folder.exists() else self.state
        )
        return self.state

    def wait_for_contact(self, seconds: float) -> RunState:
        """Waits until the server was asked for the first time."""
        deadline = time.monotonic() + seconds
        while not self.refresh().asked and not self._offline and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.state

    def finish_errand(self, seconds: float) -> None:
        """Waits for the errand."""
        self._errand_done.wait(seconds)

    def stop(self) -> None:
        """Ends the thread; the shipper goes on until it has shipped everything."""
        self._stopped.set()
        self._thread.join(TICK)

    def wait_until_shipped(self, deadline: float) -> bool:
        """Waits for the shipper to empty the spool; not at all while the server is away.

        Args:
            deadline: of `time.monotonic`.
        """
        while not self._offline and time.monotonic() < deadline:
            if not self._spool.folder.exists() or self.refresh().done:
                return True
            if self.state.away or (self._shipper is not None and self._shipper.poll()):
                break
            time.sleep(0.05)
        return False

    def part_with_shipper(self) -> None:
        """Leaves the shipper to itself, without a zombie or a warning when it ends."""
        if self._shipper is not None:
            threading.Thread(target=self._shipper.wait, daemon=True).start()

    def tell_dropped(self) -> None:
        """Leaves the number of records given up in the spool, if it grew and there is room."""
        self._warn()
        dropped = sum(self._spool.dropped.values())
        if dropped == self._told_dropped:
            return
        payload = json.dumps({"dropped": dropped}).encode()
        if self._spool.append(Kind.DROPPED, payload):
            self._told_dropped = dropped

    def _run(self) -> None:
        errand: threading.Thread | None = None
        while not self._stopped.is_set():
            try:
                if not self._offline:
                    self._look_after_shipper()
                if errand is None:
                    errand = threading.Thread(target=self._do_errand, daemon=True)
                    errand.start()
                self._spool.rotate_if_due()
                self._spool.sync()
                self.tell_dropped()
                self.refresh()
            except Exception as error:  # noqa: BLE001  # the guest's own trouble
                self._faults.note("keeper", "backslide: background work failed: %s", error)
            self._stopped.wait(TICK)

    def _do_errand(self) -> None:
        try:
            self._errand()
        except Exception as error:  # noqa: BLE001  # the guest's own trouble
            self._faults.note("errand", "backslide: provenance was not gathered: %s", error)
        finally:
            self._errand_done.set()

    def _look_after_shipper(self) -> None:
        now = time.monotonic()
        if self._shipper is not None and self._shipper.poll() is None:
            if now - self._started > HEALTHY_SECONDS:
                self._starts = 1  # it works; what happened long ago no longer counts
            return
        if now < self._next_start:
            return
        if self._starts >= SHIPPER_STARTS:
            log = self._spool.folder / SHIPPER_LOG
            self._faults.note(
                "shipper",
                "backslide: the shipper keeps stopping (see %s); records stay on disk and "
                "`backslide sync %s` ships them",
                *(log, self._spool.folder),
            )
            return
        self._started, self._next_start = now, now + 2.0**self._starts
        self._starts += 1
        self._shipper = launch_shipper(self._spool.folder)

    def _warn(self) -> None:
        for reason in list(self._spool.dropped):
            self._faults.note(
                f"dropped: {reason}",
                "backslide: records are being dropped (%s); training goes on, the number is "
                "published as backslide/dropped",
                reason,
            )
        if self.state.away:
            self._faults.note(
                "away",
                "backslide: MLflow at %s cannot be reached (%s); training goes on, records are "
                "kept in %s and shipped when it is back, or by `backslide sync %s`",
                *(self._uri, self.state.away, self._spool.folder, self._spool.folder),
            )
        if self.state.problem:
            self._faults.note(
                "rejected", "backslide: MLflow refused a record: %s", self.state.problem
            )


def launch_shipper(folder: Path) -> "subprocess.Popen[bytes]":
    """Starts a shipper in a session of its own, so that Ctrl-C in the terminal spares it."""
    nicely = f"import os, sys; os.nice({NICE}); "  # before mlflow's long import
    code = nicely + "from backslide.ship.shipper import main; main(sys.argv[1:])"
    with (folder / SHIPPER_LOG).open("ab") as log:
        # Our own interpreter with our own code; -P keeps files of the working directory from
        # standing in for libraries.
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", code, str(folder.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=shipper_environment(),
            start_new_session=True,
        )


def shipper_environment() -> dict[str, str]:
    """The trainer's own, such that the same copy of this package is found."""
    environment = os.environ | CALLS | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    home = str(Path(backslide.contract.__file__).parents[2])
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    if home not in installed:
        inherited = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([home, *([inherited] if inherited else [])])
    return environment
