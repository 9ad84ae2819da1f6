"""`backslide up`: tracker and detector as one."""

import signal
import sys

import pytest
import requests
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE, SLEEPS, Family, supervised

from backslide_tracker.server import Server
from backslide_tracker.up import commands


def test_the_tracker_comes_first_and_the_detector_is_told_where_it_is(tmp_path):
    tracker, detector = commands(Server(tmp_path / "tracker", port=5123), tmp_path)
    assert (tracker.name, detector.name) == ("tracker", "detector")
    assert detector.argv == (
        *(sys.executable, "-m", "backslide.cli", "detector", "serve"),
        *("--tracking-uri", "http://127.0.0.1:5123", "--state", str(tmp_path / "ledger.db")),
    )
    assert tracker.log == tmp_path / "tracker.log"
    assert detector.log == tmp_path / "detector.log"


@pytest.mark.slow
def test_one_ctrl_c_stops_both(tmp_path):
    pytest.importorskip("backslide_detector.cli", reason="the detector is not installed")
    port = free_port()
    options = ("--root", str(tmp_path / "root"), "--port", str(port))
    with Family((*BACKSLIDE, "up", *options), tmp_path) as family:
        family.wait_until_ready()
        assert requests.get(f"http://127.0.0.1:{port}/health", timeout=10).text == "OK"
        family.member("detector serve")
        family.member("mlflow server")
        family.wait_for((tmp_path / "root" / "ledger.db").exists)
        assert family.end(signal.SIGINT) == 0
        assert family.members() == {}
        assert [line.split()[0] for line in family.err().splitlines()] == ["starting", "ready"]


def test_a_detector_that_dies_takes_the_tracker_along_and_is_named(tmp_path, monkeypatch):
    """The detector refuses settings that it does not know; a sleeper stands for the tracker."""
    monkeypatch.setenv("BACKSLIDE_NO_SUCH_SETTING", "1")
    _, detector = commands(Server(tmp_path / "tracker", port=5123), tmp_path)
    both = (
        {"name": "tracker", "argv": SLEEPS},
        {"name": detector.name, "argv": detector.argv, "log": str(detector.log)},
    )
    with supervised(tmp_path, *both) as family:
        assert family.process.wait(60) == 1
        family.wait_until_gone()
        assert family.err() == f"Error: the detector ended (1); see {detector.log}\n"
        assert "BACKSLIDE_NO_SUCH_SETTING" in detector.log.read_text()
