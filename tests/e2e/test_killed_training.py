"""kill -9 in the middle of training: what was accepted arrives, once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from tests.e2e.commands import HOUSE, backslide, environment, inside

from backslide.contract import Tag

OPTIONS = ["--pause", "0.02", "--epochs", "50", "--experiment", "killed", "--lineage", "killed"]


@pytest.mark.slow
def test_nothing_accepted_is_missing_and_nothing_is_twice(mlflow_server: str, tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.job", *OPTIONS],
        env=environment(mlflow_server, tmp_path),
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        text=True,
    ) as job:
        assert job.stdout is not None
        accepted = sum(1 for _, line in zip(range(150), job.stdout, strict=False) if line)
        os.kill(job.pid, signal.SIGKILL)

    backslide(mlflow_server, tmp_path, "sync", str(tmp_path))
    inside(mlflow_server, "sync", str(tmp_path))

    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("killed")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags[Tag.LINEAGE] == "killed"
    steps = Counter(m.step for m in client.get_metric_history(run.info.run_id, "loss"))
    assert set(steps.values()) == {1}
    assert len(steps) >= accepted
    assert sorted(steps) == list(range(min(steps), min(steps) + len(steps)))
    deadline = time.monotonic() + 60
    while client.get_run(run.info.run_id).info.status == "RUNNING":
        assert time.monotonic() < deadline, "the killed job is still shown as running"
        time.sleep(1)
