"""Children that live and die together, tried with small programs instead of servers."""

import os
import signal
import sys
from pathlib import Path

import pytest
from tests.tracker.family import SLEEPS, supervised

STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\n"
    "time.sleep(600)",
)
# A child that starts a child, as a server starts its workers.
PARENT = (
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.run([sys.executable, '-c', "
    "'import time; time.sleep(600)  # worker'])  # master",
)


def writes(file: Path, text: str = "", then: str = "time.sleep(600)") -> tuple[str, ...]:
    code = f"import pathlib, time; pathlib.Path({str(file)!r}).write_text({text!r}); {then}"
    return (sys.executable, "-c", code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_all_of_them_and_is_no_failure(tmp_path, number):
    sleeper = {"name": "tracker", "argv": SLEEPS}
    with supervised(tmp_path, sleeper, {**sleeper, "name": "detector"}) as family:
        family.wait_until_ready()
        assert len(family.members()) == 3
        assert family.end(number) == 0
        assert family.members() == {}
        assert family.err() == ""


def test_the_death_of_one_ends_the_other_and_is_named(tmp_path):
    log = str(tmp_path / "tracker.log")
    with supervised(
        tmp_path,
        {"name": "tracker", "argv": PARENT, "log": log},
        {"name": "detector", "argv": SLEEPS},
    ) as family:
        family.wait_until_ready()
        family.wait_for(lambda: len(family.members()) == 4)
        os.kill(family.member("# master"), signal.SIGKILL)
        assert family.process.wait(30) == 1
        family.wait_until_gone()  # the orphaned worker too
        assert family.err() == f"Error: the tracker was killed by SIGKILL; see {log}\n"


def test_a_child_that_ends_by_itself_is_a_failure_even_with_code_zero(tmp_path):
    ends = {"name": "detector", "argv": (sys.executable, "-c", "import time; time.sleep(.5)")}
    with supervised(tmp_path, {"name": "tracker", "argv": SLEEPS}, ends) as family:
        assert family.process.wait(30) == 1
        assert family.err() == "Error: the detector ended (0)\n"
        assert family.members() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux only")
def test_kill_9_of_the_supervisor_ends_the_children(tmp_path):
    with supervised(tmp_path, {"name": "tracker", "argv": SLEEPS}) as family:
        family.wait_until_ready()
        family.end(signal.SIGKILL)
        family.wait_until_gone()


def test_a_child_deaf_to_sigterm_is_killed_after_the_grace(tmp_path):
    log = tmp_path / "log"
    deaf = {"name": "tracker", "argv": STUBBORN, "log": str(log)}
    with supervised(tmp_path, deaf) as family:
        family.wait_for(lambda: log.exists() and "deaf" in log.read_text())
        assert family.end(signal.SIGTERM) == 0
        assert family.members() == {}


def test_the_second_command_waits_for_the_first_to_be_ready(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    needs_first = writes(second, "late", then=f"assert pathlib.Path({str(first)!r}).exists()")
    with supervised(
        tmp_path,
        {"name": "tracker", "argv": writes(first), "ready": str(first)},
        {"name": "detector", "argv": (*needs_first[:2], needs_first[2] + "; time.sleep(600)")},
    ) as family:
        family.wait_until_ready()
        family.wait_for(second.exists)
        assert family.end(signal.SIGTERM) == 0


def test_one_that_never_gets_ready_is_stopped_and_named(tmp_path):
    never = {"name": "tracker", "argv": SLEEPS, "ready": str(tmp_path / "no"), "patience": 0.5}
    with supervised(tmp_path, never) as family:
        assert family.process.wait(30) == 1
        assert family.err() == "Error: the tracker was not ready in 0 s\n"
        assert family.members() == {}


def test_a_program_that_is_not_there_is_named_and_the_others_are_stopped(tmp_path):
    with supervised(
        tmp_path,
        {"name": "tracker", "argv": SLEEPS},
        {"name": "detector", "argv": ["/no/such/program"]},
    ) as family:
        assert family.process.wait(30) == 1
        assert family.err().startswith("Error: cannot start the detector: ")
        assert "Traceback" not in family.err()
        assert family.members() == {}
