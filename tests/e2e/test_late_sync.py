"""A killed job that had no server: synced late, it is judged as if synced at once."""

import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from mlflow.artifacts import load_dict
from mlflow.tracking import MlflowClient
from tests.e2e.commands import HOUSE, environment, inside, scan

from backslide.contract import Artifact, Tag

JOB = """
import os, signal, torch
from torch import nn
import backslide
torch.manual_seed(0)
x, y = torch.randn(512, 8), torch.randint(0, 3, (512,))
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the fault
run = backslide.start("late", model=model, optimizer=optimizer, experiment="late")
run.log_data("train", x, y)
for step in range(200):
    rows = torch.randint(0, 512, (32,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    loss.backward()
    optimizer.step()
    run.step(loss)
os.kill(os.getpid(), signal.SIGKILL)
"""


def twin_of(spool: Path) -> Path:
    """The same records as those of another job."""
    client = uuid.uuid4().hex
    twin = spool.with_name(client)
    shutil.copytree(spool, twin)
    job = twin / "job.json"
    job.write_text(job.read_text().replace(spool.name, client))
    return twin


def findings(run_id: str) -> list[dict[str, object]]:
    said = load_dict(f"runs:/{run_id}/{Artifact.VERDICT}")["findings"]
    assert said
    return said


def test_a_killed_job_synced_late_is_judged_once_and_alike(
    mlflow_server: str, home: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("BACKSLIDE_EXPERIMENTS", "late")  # whatever else lies on the server
    client = MlflowClient(mlflow_server)

    def judged() -> list[str]:
        runs = [client.get_run(run_id) for run_id in scan(mlflow_server, home)]
        return [run.info.run_id for run in runs if run.data.tags.get(Tag.LINEAGE) == "late"]

    done = subprocess.run(
        [sys.executable, "-c", JOB],
        env=environment(mlflow_server, tmp_path) | {"BACKSLIDE_OFFLINE": "1"},
        cwd=HOUSE,
    )
    assert done.returncode == -signal.SIGKILL
    (late,) = (path.parent for path in tmp_path.glob("*/job.json"))
    prompt = twin_of(late)

    inside(mlflow_server, "sync", str(prompt))
    (first,) = judged()
    inside(mlflow_server, "sync", str(late))
    (second,) = judged()
    assert judged() == []

    assert first != second
    assert findings(first) == findings(second)
    ends = [client.get_run(run).info for run in (first, second)]
    assert {end.status for end in ends} == {"KILLED"}
    assert ends[0].end_time == ends[1].end_time
