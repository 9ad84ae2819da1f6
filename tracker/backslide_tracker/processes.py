"""Child processes that live and die together.

A command is data: what `supervise` does with a tracker and a detector it does with any two
programs. Each child leads a process group of its own: a Ctrl-C at the terminal reaches only the
supervisor, which stops the children in order, and nothing that a child has started is left
behind when the child itself is killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

GRACE_SECONDS = 10
"""How long a child may take to end after SIGTERM before its whole group is killed."""
TICK_SECONDS = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Command:
    """One child process.

    Attributes:
        name: What people call it, in messages.
        argv: The program and its arguments.
        env: Variables set for it on top of the supervisor's own.
        log: File that its output is appended to; `None` leaves it on the terminal.
        ready: Asked until it returns true; the next command starts only then.
        patience: Seconds that `ready` may take.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    ready: Callable[[], bool] = lambda: True
    patience: float = 120.0


def supervise(commands: Sequence[Command], when_ready: Callable[[], None]) -> None:
    """Runs the commands until asked to stop by Ctrl-C, SIGTERM or SIGHUP.

    They start in order, each after the one before it is ready, and stop in reverse order. A
    second Ctrl-C does not wait for a graceful end.

    Args:
        commands: What to run.
        when_ready: Called once, when all of them are ready.

    Raises:
        click.ClickException: A command could not be started, did not get ready in time, or
            ended by itself; the others have been stopped.
    """
    with _stop_requests() as asked:
        children: list[_Child] = []
        try:
            for command in commands:
                children.append(_Child(command))
                _await_ready(children, asked)
            if not asked:
                when_ready()
            while not asked:
                _check_alive(children)
                time.sleep(TICK_SECONDS)
        finally:
            for child in reversed(children):
                child.stop(hurry=lambda: len(asked) > 1)


class _Child:
    def __init__(self, command: Command) -> None:
        self.command = command
        output = command.log.open("ab") if command.log else None
        try:
            self._process = subprocess.Popen(  # noqa: S603  # argv is the project's own
                command.argv,
                # Without it a `mlflow.py` in the working directory would be run as MLflow.
                env={**os.environ, "PYTHONSAFEPATH": "1", **command.env},
                stdin=subprocess.DEVNULL,
                stdout=output or sys.stderr,  # the terminal's stdout is for our own words
                stderr=output,
                start_new_session=True,
                # Safe: the supervisor has one thread, and the function only makes system calls.
                preexec_fn=partial(_end_with, os.getpid()),  # noqa: PLW1509
            )
        except OSError as error:
            raise click.ClickException(f"cannot start the {command.name}: {error}") from error
        finally:
            if output:
                output.close()

    def ended(self) -> bool:
        # Looks without reaping: while the zombie is there, its group id is not given away.
        wait = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return (
            self._process.returncode is not None
            or os.waitid(os.P_PID, self._process.pid, wait) is not None
        )

    def stop(self, hurry: Callable[[], bool]) -> int:
        """Ends the child and whatever is left of its process group; returns the exit code."""
        if self._process.returncode is None:
            if not self.ended():
                os.kill(self._process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE_SECONDS
            while not (self.ended() or hurry() or time.monotonic() > deadline):
                time.sleep(TICK_SECONDS)
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


def _await_ready(children: Sequence[_Child], asked: Sequence[int]) -> None:
    command = children[-1].command
    deadline = time.monotonic() + command.patience
    while not asked:
        _check_alive(children)
        if command.ready():
            return
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"the {command.name} was not ready in {command.patience:.0f} s{_see(command)}"
            )
        time.sleep(TICK_SECONDS)


def _check_alive(children: Sequence[_Child]) -> None:
    for child in children:
        if child.ended():
            code = child.stop(hurry=lambda: False)
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended ({code})"
            )
            raise click.ClickException(f"the {child.command.name} {how}{_see(child.command)}")


def _see(command: Command) -> str:
    return f"; see {command.log}" if command.log else ""


def _end_with(parent: int) -> None:
    """Asks the kernel to end this process when its parent dies, even of SIGKILL (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collects stop signals; unlike an exception, a list cannot interrupt a clean-up."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: asked.append(number))
        for number in STOP_SIGNALS
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
