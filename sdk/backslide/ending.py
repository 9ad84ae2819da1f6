"""How a process ends, and what that says about the runs that are still open in it.

An exit handler is not told why it runs, so the two ways that leave a trace are watched: an
exception nobody caught is in `sys.last_value`, and `sys.exit` is wrapped as long as the process
has a run. `raise SystemExit(3)` outside the `with` block leaves none and counts as FINISHED. A
process that is killed says nothing at all: its shipper sees the lock fall and says KILLED.
"""

import atexit
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from backslide.run import Run

SIGNALLED: Final = frozenset(128 + number for number in (signal.SIGINT, signal.SIGTERM))
"""Exit codes by which handlers of signals say what they handled."""

_live: "dict[Run, None]" = {}
"""Held here, because a run that its user has let go of is still to be finished. In the order in
which they began."""
_exit = sys.exit
_said: SystemExit | None = None
_earlier: BaseException | None = None
"""`sys.last_value` when the newest run began: an exception from before is not its end."""


def opened(run: "Run") -> None:
    """From now on the run is finished at exit and let go in forked children."""
    global _earlier, _said  # the interpreter has one exit
    _earlier, _said = getattr(sys, "last_value", None), None
    if sys.exit is not _noted_exit:
        sys.exit = _noted_exit
    _live[run] = None


def closed(run: "Run") -> None:
    """The run has been finished."""
    _live.pop(run, None)


def newest() -> "Run | None":
    """The open run that began last."""
    return next(reversed(_live), None)


def others(model: object) -> list["Run"]:
    """Open runs that watch the same model: a notebook cell that was run again leaves one."""
    return [run for run in _live if run.watches(model)]


def status(error: BaseException | None) -> str:
    """MLflow's word for a job that ended with this exception, or without one."""
    match error:
        case None | SystemExit(code=None | 0):
            return "FINISHED"
        case KeyboardInterrupt():
            return "KILLED"
        case SystemExit(code=code) if code in SIGNALLED:
            return "KILLED"
        case _:
            return "FAILED"


def _noted_exit(code: object = None, /) -> NoReturn:
    """Leave Python, as `sys.exit` always did."""
    global _said  # noqa: PLW0603  # the interpreter has one exit
    if threading.current_thread() is threading.main_thread():  # elsewhere it ends a thread
        _said = SystemExit(code)
    _exit(code)  # type: ignore[arg-type]  # whatever the user gave


@atexit.register
def _finish_all() -> None:
    """A script that ended without `finish`, in good order or not."""
    uncaught = getattr(sys, "last_value", None)
    error = uncaught if uncaught is not _earlier else _said
    for run in list(_live):
        run.finish(status(error))


def _abandon_in_child() -> None:
    for run in list(_live):
        run.abandon()
    _live.clear()


os.register_at_fork(after_in_child=_abandon_in_child)
