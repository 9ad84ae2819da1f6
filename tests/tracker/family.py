"""A program under test and every process that comes from it, found by a mark they inherit."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

BACKSLIDE = (sys.executable, "-m", "backslide.cli")
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)  # sleeper")
MARK = "BACKSLIDE_TRACKER_TEST_MARK"


class Family:
    """Runs `argv` in the background; output goes to files that `out()` and `err()` read."""

    def __init__(
        self, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / "stdout", folder / "stderr"
        self._mark = f"{MARK}={uuid.uuid4().hex}".encode()
        key, _, value = self._mark.decode().partition("=")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                argv,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {}), key: value},
            )

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.members():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def out(self) -> str:
        return self._out.read_text(errors="replace")

    def err(self) -> str:
        return self._err.read_text(errors="replace")

    def members(self) -> dict[int, str]:
        """Process id and command line of all that live; a zombie has neither mark nor life."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark in (entry / "environ").read_bytes().split(b"\0"):
                    line = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    )
                    found[int(entry.name)] = line
            except OSError:  # it ended while we looked
                continue
        return found

    def member(self, words: str) -> int:
        """The one descendant whose command line contains these words."""
        below = self.members().items()
        (pid,) = (pid for pid, line in below if words in line and pid != self.process.pid)
        return pid

    def end(self, number: int, timeout: float = 30) -> int:
        """Sends a signal to the program and returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def wait_for(self, what: Callable[[], bool], timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not what():
            assert time.monotonic() < deadline, f"{self.out()}\n{self.err()}\n{self.members()}"
            time.sleep(0.05)

    def wait_until_ready(self) -> None:
        self.wait_for(lambda: "to stop" in self.out() or self.process.poll() is not None)
        assert self.process.poll() is None, self.err()

    def wait_until_gone(self, timeout: float = 15) -> None:
        self.wait_for(lambda: not self.members(), timeout)


def supervised(folder: Path, *commands: dict[str, object]) -> Family:
    """Programs given as data under the supervisor of `backslide up`."""
    program = str(Path(__file__).with_name("supervised.py"))
    return Family((sys.executable, program, json.dumps(commands)), folder)
