"""A lineage that predicts measured values is judged by its mean loss, from script to tags."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from tests.e2e.commands import HOUSE, environment, scan

from backslide.contract import Artifact, Metric, Tag


@pytest.fixture(scope="module")
def retrains(mlflow_server, home):
    """Run ids of the first model, a harmless retrain and a harmful one, judged."""
    job = subprocess.run(
        [sys.executable, "-m", "tests.e2e.regression_job"],
        env=environment(mlflow_server, home) | {"MLFLOW_EXPERIMENT_NAME": "regression"},
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert job.returncode == 0, job.stderr
    runs = job.stdout.split()
    assert scan(mlflow_server, home).keys() >= set(runs)
    return runs


@pytest.mark.slow
def test_a_regression_is_judged_by_its_mean_loss_over_groups(mlflow_server, retrains, tmp_path):
    client = MlflowClient(mlflow_server)
    verdicts, documents = [], []
    for run_id in retrains:
        verdicts.append(client.get_run(run_id).data.tags[Tag.VERDICT])
        kept = client.download_artifacts(run_id, Artifact.VERDICT, str(tmp_path))
        documents.append(json.loads(Path(kept).read_text()))
    assert verdicts[0] == "first"
    assert verdicts[1] in ("equivalent", "inconclusive")
    assert verdicts[2] == "regressed"

    last = documents[2]
    assert last["measure"] == "loss"
    assert last["sentence"].startswith("This model's mean loss is 0.")
    assert "higher" in last["sentence"]
    assert "900 examples, paired, in 60 groups" in last["sentence"]
    assert "points" not in last["sentence"], "a loss has no percentage points"
    assert "BCa" in last["estimands"]["model"]["method"]
    rows = {row["name"]: row for row in last["metrics"]}
    assert {"loss", "mse", "rmse", "mae", "r2", "bias"} <= set(rows)
    assert rows["loss/site=2"]["pvalue"] < 0.01
    assert rows["loss/site=2"]["effect"] > 2 * abs(rows["loss/site=0"]["effect"])
    assert {change["kind"] for change in last["changed"]} >= {"data", "config"}

    metrics = client.get_run(retrains[2]).data.metrics
    assert 0 < metrics[Metric.ERROR_DELTA_LOW] < metrics[Metric.ERROR_DELTA]
    assert "mean loss" in client.get_run(retrains[2]).data.tags[Tag.SUMMARY]
