"""A server that fails in every way it can: training goes on, and one warning is printed."""

import itertools
import os
import signal
from urllib.parse import urlsplit

from tests.faulty_proxy import Fault, FaultyProxy
from tests.sdk.ship import tools

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
    assert tools.sync(mlflow_server, tmp_path, "--tracking-uri", mlflow_server).returncode == 0
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
