"""kill -9 of a real detector at random moments: the next one ends in the same state."""

import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from tests.detector.shell.plain_runs import log_run
from tests.e2e.commands import HOUSE, environment

from backslide.contract import Metric, Tag

RUNS = 6


def command(uri: str, home: Path, experiment: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "backslide.cli", "detector", *words),
            *("--state", str(home / "ledger.db")),
        ],
        env=environment(uri, home)
        | {"BACKSLIDE_EXPERIMENTS": experiment, "BACKSLIDE_WORKERS": "1"},
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_detector_killed_again_and_again_leaves_nothing_twice(mlflow_server, tmp_path):
    client = MlflowClient(mlflow_server)
    name = f"killed-{uuid.uuid4().hex}"
    experiment = client.create_experiment(name)
    errors = (0.05, 0.12, 0.05, 0.11, 0.02, 0.02)
    runs = [log_run(client, experiment, error) for error in errors]
    delays = random.Random(0)
    for _ in range(2):
        victim = command(mlflow_server, tmp_path, name, "scan")
        wait_for_lease(tmp_path, victim)
        time.sleep(delays.uniform(0.0, 1.0))
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        with database(tmp_path).begin() as connection:
            connection.execute(text("UPDATE work SET lease_until = 0, owner = NULL"))
    heir = command(mlflow_server, tmp_path, name, "scan")
    _, stderr = heir.communicate(timeout=120)
    assert heir.returncode == 0, stderr

    found = [client.get_run(run_id) for run_id in runs]
    verdicts = [run.data.tags[Tag.VERDICT] for run in found]
    assert (verdicts[0], verdicts[1], verdicts[3], verdicts[4]) == (
        "first",
        "regressed",
        "regressed",
        "improved",
    )
    for run in found[1:]:
        assert len(client.get_metric_history(run.info.run_id, Metric.ERROR_DELTA)) == 1
    with database(tmp_path).connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM judgement")) == RUNS
        told = "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL"
        assert connection.scalar(text(told)) == 2, "each regression once, to the log"
        assert connection.scalar(text("SELECT count(*) FROM outbox")) == 2


def database(home: Path) -> Engine:
    return create_engine(f"sqlite:///{home / 'ledger.db'}")


def wait_for_lease(home: Path, victim: subprocess.Popen[str]) -> None:
    """Until the victim has runs in hand, or has finished them all."""
    deadline = time.monotonic() + 60
    while victim.poll() is None:
        assert time.monotonic() < deadline
        with suppress(OperationalError), database(home).connect() as connection:
            if connection.scalar(text("SELECT count(*) FROM work WHERE owner IS NOT NULL")):
                return
        time.sleep(0.02)


def test_serve_judges_and_stops_cleanly(mlflow_server, tmp_path):
    client = MlflowClient(mlflow_server)
    name = f"served-{uuid.uuid4().hex}"
    run_id = log_run(client, client.create_experiment(name), 0.05)
    service = command(mlflow_server, tmp_path, name, "serve", "--every", "1")
    deadline = time.monotonic() + 60
    while Tag.VERDICT not in client.get_run(run_id).data.tags:
        assert time.monotonic() < deadline
        assert service.poll() is None, service.communicate()
        time.sleep(0.3)
    service.send_signal(signal.SIGTERM)
    _, stderr = service.communicate(timeout=30)
    assert service.returncode == 0, stderr
    assert "Traceback" not in stderr


def test_an_absent_tracker_is_one_line_in_the_log(tmp_path):
    service = command("http://127.0.0.1:9", tmp_path, "any", "serve", "--every", "1")
    assert service.stderr is not None
    first = next(line for line in service.stderr if "does not answer" in line)
    time.sleep(2.5)  # two more passes
    service.send_signal(signal.SIGINT)
    _, stderr = service.communicate(timeout=60)
    assert service.returncode == 0, stderr
    assert "Connection refused" in first
    assert "does not answer" not in stderr
    assert "Traceback" not in stderr
