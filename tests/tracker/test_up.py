"""`backslide up`: tracker and detector as one."""

import signal
import sys

import pytest
import requests
from tests.mlflow_server import free_port
from tests.tracker.family import BACKSLIDE, Family

from backslide_tracker.server import Server
from backslide_tracker.up import commands


def up(folder, port, env=None) -> Family:
    options = ("up", "--root", str(folder / "root"), "--port", str(port))
    return Family((*BACKSLIDE, *options), folder, env)


def test_the_tracker_comes_first_and_the_detector_is_told_where_it_is(tmp_path):
    tracker, detector = commands(Server(tmp_path / "tracker", port=5123), tmp_path)
    assert (tracker.name, detector.name) == ("tracker", "detector")
    assert detector.argv == (
        *(sys.executable, "-m", "backslide.cli", "detector", "serve"),
        *("--tracking-uri", "http://127.0.0.1:5123", "--state", str(tmp_path / "ledger.db")),
    )
    assert tracker.log == tmp_path / "tracker.log"
    assert detector.log == tmp_path / "detector.log"


def test_one_ctrl_c_stops_both(tmp_path):
    pytest.importorskip("backslide_detector.cli", reason="the detector is not installed")
    port = free_port()
    with up(tmp_path, port) as family:
        family.wait_until_ready()
        assert requests.get(f"http://127.0.0.1:{port}/health", timeout=10).text == "OK"
        family.member("detector serve")
        family.member("mlflow server")
        family.wait_for((tmp_path / "root" / "ledger.db").exists)
        assert family.end(signal.SIGINT) == 0
        assert family.members() == {}
        assert [line.split()[0] for line in family.err().splitlines()] == ["starting", "ready"]


def test_a_detector_that_dies_takes_the_tracker_along_and_is_named(tmp_path):
    # The detector refuses settings that it does not know.
    with up(tmp_path, free_port(), {"BACKSLIDE_NO_SUCH_SETTING": "1"}) as family:
        assert family.process.wait(120) == 1
        family.wait_until_gone()
        last = family.err().splitlines()[-1]
        assert last.startswith("Error: the detector ended (")
        assert last.endswith(f"; see {tmp_path / 'root' / 'detector.log'}")
        assert (tmp_path / "root" / "detector.log").stat().st_size > 0
