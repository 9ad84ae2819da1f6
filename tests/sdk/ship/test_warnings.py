"""A server or a disk that fails as it can: training goes on, and one warning is printed."""

import itertools
import json
import os
import signal
from urllib.parse import urlsplit

import pytest
from tests.faulty_proxy import Fault, FaultyProxy
from tests.sdk.ship import tools

from backslide.spool.frames import Kind
from backslide.spool.segments import read, segment_path, segments

FAULTS = (Fault.PAGE, Fault.BUSY, Fault.HALF, Fault.DOWN, Fault.REFUSED, Fault.LOST)

CODE = """
import time
from pathlib import Path
import backslide
with backslide.start("warned") as run:
    for step in range(600):
        run.step(loss=1.0)
        time.sleep(0.1)
        if Path("enough").exists():
            break
print(step + 1)
"""


def told(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("backslide:")]


@pytest.mark.slow
def test_one_warning_for_a_server_that_fails_in_turns(mlflow_server, tmp_path):
    """Web pages, 429, half answers, 503, resets and lost answers, one after the other."""
    faults = itertools.cycle(FAULTS)
    met = set()

    def choose(_: str) -> Fault:
        fault = next(faults)
        met.add(fault)
        if len(met) == 4:
            (tmp_path / "enough").touch()
        return fault

    with FaultyProxy(urlsplit(mlflow_server).port, choose) as proxy:
        done = tools.script(proxy.uri, tmp_path, CODE)
        for folder in tools.spools(tmp_path):
            for orphan in tools.shipper_of(folder):  # it would go on trying for an hour
                os.kill(orphan, signal.SIGKILL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "enough").exists()
    assert len(told(done.stderr)) == 1, done.stderr
    client = tools.client_of(tmp_path)
    assert tools.sync(mlflow_server, tmp_path, "--tracking-uri", mlflow_server).exit_code == 0
    (run,) = tools.runs(mlflow_server, client)
    steps = int(done.stdout)
    assert sum(tools.metric_rows(mlflow_server, run.info.run_id, "loss").values()) == steps


DELETED = """
import time
import backslide
from mlflow import MlflowClient
run = backslide.start("deleted")
run.step(loss=1.0)
while run.id is None:
    time.sleep(0.2)
MlflowClient().delete_run(run.id)
for step in range(40):
    run.step(loss=1.0)
    time.sleep(0.1)
run.finish()
"""


def test_one_warning_for_a_run_that_was_deleted(mlflow_server, tmp_path):
    done = tools.script(mlflow_server, tmp_path, DELETED)
    assert done.returncode == 0, done.stderr
    (warning,) = told(done.stderr)
    assert "the run was deleted" in warning


BROKEN = """
import os, resource, sys, time
import backslide
from backslide.spool import segments

class ReadOnly:
    def __getattr__(self, name):
        return getattr(os, name)
    def write(self, fd, data):
        raise OSError(30, os.strerror(30))

run = backslide.start("broken")
spool = run._recorder.spool
for step in range(150):
    if step == 50 and sys.argv[1:] == ["full"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
    elif step == 50:
        segments.os = ReadOnly()
    run.step(loss=1.0)
    time.sleep(0.01)
run.finish()
print(sum(spool.dropped.values()))
"""


@pytest.mark.parametrize("disk", ["full", "read-only"])
def test_one_warning_for_a_disk_that_takes_no_more(tmp_path, disk):
    offline = {"BACKSLIDE_OFFLINE": "1"}
    done = tools.script("http://127.0.0.1:9", tmp_path, BROKEN, disk, **offline)
    assert done.returncode == 0, done.stderr
    (warning,) = (line for line in told(done.stderr) if "not in MLflow yet" not in line)
    assert "records are being dropped" in warning
    refused = int(done.stdout)
    assert refused >= 80
    if disk == "full":  # the last words find room, and say how many were lost
        (folder,) = tools.spools(tmp_path)
        records = [
            record
            for number in segments(folder)
            for record in read(segment_path(folder, number), 0, closed=True).records
        ]
        lost = [json.loads(each.payload) for each in records if each.kind == Kind.DROPPED]
        assert lost[-1] == {"dropped": refused}
