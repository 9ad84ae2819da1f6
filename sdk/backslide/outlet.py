"""The way out of the process for what a run records: its spool, who looks after it, its end."""

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from backslide.guard import Faults
from backslide.record.origin import Origin
from backslide.record.recorder import Recorder
from backslide.record.scalars import now
from backslide.remains import tell_what_remains
from backslide.spool.frames import Kind
from backslide.spool.job import Job, Lock, RunState
from backslide.spool.keeper import Keeper
from backslide.spool.segments import Spool

if TYPE_CHECKING:
    import torch

CONTACT_SECONDS: Final = 10.0
FINISH_SECONDS: Final = 10.0
ERRAND_SECONDS: Final = 3.0
"""Of the seconds to finish, how many may go to a slow `git`."""


class Outlet:
    """One run's spool from its first record to the last, and what comes back from the server.

    Attributes:
        recorder: writes the records.
    """

    def __init__(
        self,
        job: Job,
        spool: Spool,
        lock: Lock | None,
        faults: Faults,
        *,
        origin: Mapping[str, Any],
        offline: bool,
    ) -> None:
        """Starts the keeper.

        Args:
            job: which run this is to become.
            spool: where records go.
            lock: this process's hold on the spool.
            faults: told what goes wrong.
            origin: what the provenance says beside code and packages.
            offline: ship nothing.
        """
        self.recorder = Recorder(spool)
        self._lock = lock
        self._faults = faults
        self._offline = offline
        self._origin = Origin(self.recorder, origin, joined=job.run_id is not None)
        self._keeper = Keeper(
            spool, job.uri, faults, offline=offline, errand=self._origin.gather
        )

    @property
    def stop(self) -> str | None:
        """The detector's reason to stop, as far as it is known; costs nothing."""
        return self._keeper.state.stop

    def state(self) -> RunState:
        """What the server said; waits for the first contact, 10 s at most."""
        state = self._keeper.state
        return state if state.run_id else self._keeper.wait_for_contact(CONTACT_SECONDS)

    def close(self, status: str, model: "torch.nn.Module | None", deadline: float) -> None:
        """Writes the end and waits until everything is shipped.

        Args:
            status: FINISHED, FAILED or KILLED.
            model: whose weights came out.
            deadline: of `time.monotonic`; what is left then stays on disk.
        """
        keeper, spool = self._keeper, self.recorder.spool
        keeper.finish_errand(ERRAND_SECONDS)
        try:
            self._origin.end(model)
        except Exception as error:  # noqa: BLE001  # an unusual tensor type
            self._faults.note(
                "weights", "backslide: the final weights were not digested: %s", error
            )
        keeper.stop()
        spool.make_room()
        keeper.tell_dropped()
        self.recorder.append(Kind.END, {"status": status, "time": now()})
        spool.close()
        self._release()
        if keeper.wait_until_shipped(deadline):
            shutil.rmtree(spool.folder, ignore_errors=True)
        else:
            tell_what_remains(
                spool.folder, keeper.state, offline=self._offline, faults=self._faults
            )
        keeper.part_with_shipper()

    def abandon(self) -> None:
        """In a forked child: all of this is the parent's."""
        self.recorder.spool.abandon()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
