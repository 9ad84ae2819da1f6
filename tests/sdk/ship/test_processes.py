"""Real trainers, shippers and servers, killed at bad moments: all arrives, and once."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.mlflow_server import MlflowServer
from tests.sdk.ship import tools

from backslide.contract import Metric, Tag


def check_stored(uri: str, client: str, acknowledged: list[int], scratch: Path) -> str:
    """acknowledged ⊆ stored, each once, in MLflow's metrics and in the Parquet parts."""
    (run,) = tools.runs(uri, client)
    parts = tools.scalar_rows(uri, run.info.run_id, "loss", scratch)
    assert set(parts.values()) == {1}
    assert set(acknowledged) <= set(parts)
    assert sorted(parts) == list(range(1, max(parts) + 1))
    rows = tools.metric_rows(uri, run.info.run_id, "loss")
    assert set(rows.values()) == {1}
    assert set(rows) >= {step for step in parts if step <= 200} | {max(parts)}
    return str(run.info.run_id)


@pytest.fixture(scope="module")
def mortal_server(tmp_path_factory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mortal"))
    yield server
    server.kill()


@pytest.mark.slow
def test_a_server_that_is_away_at_the_start_and_dies_in_the_middle(mortal_server, tmp_path):
    """One run is created when the server is there; one warning is all the training notices."""
    spool = tmp_path / "spool"
    job = tools.Trainer(mortal_server.uri, spool, "--steps", "3000", "--pause", "0.01")
    tools.wait_until(job.acknowledged)
    client = tools.client_of(spool)
    (folder,) = tools.spools(spool)
    tools.wait_until(lambda: tools.state(folder).get("away"))
    assert tools.state(folder)["run_id"] is None
    mortal_server.start()
    mortal_server.wait_until_ready()
    tools.wait_until(lambda: tools.state(folder).get("run_id"))
    mortal_server.kill()
    mortal_server.start()
    mortal_server.wait_until_ready()
    assert job.end().count("cannot be reached") == 1
    assert tools.sync(mortal_server.uri, spool).exit_code == 0
    assert len(job.acknowledged()) == 3_000
    run_id = check_stored(mortal_server.uri, client, job.acknowledged(), tmp_path)
    assert MlflowClient(mortal_server.uri).get_run(run_id).info.status == "FINISHED"


def test_a_dead_server_neither_stalls_nor_fails_the_training(tmp_path):
    """p99 of `step` below 100 µs; `finish` is quick and says what remains."""
    code = """
import json, time
import numpy as np
import backslide
began = time.perf_counter()
run = backslide.start("dead", params={"a": 1})
started = time.perf_counter() - began
blocks = []
for block in range(5):
    took = []
    for step in range(4000):
        before = time.perf_counter_ns()
        run.step(loss=0.5)
        took.append(time.perf_counter_ns() - before)
    blocks.append(np.percentile(took, 99) / 1e3)
assert run.id is None and run.url is None
began = time.perf_counter()
run.finish()
print(json.dumps({"start": started, "p99": blocks, "finish": time.perf_counter() - began}))
"""
    done = tools.script("http://127.0.0.1:9", tmp_path, code)
    assert done.returncode == 0, done.stderr
    (folder,) = tools.spools(tmp_path)
    for orphan in tools.shipper_of(folder):  # it would go on trying for an hour
        os.kill(orphan, signal.SIGKILL)
    figures = json.loads(done.stdout)
    assert figures["start"] < 0.5
    assert min(figures["p99"]) < 100.0  # the quietest block: others share this machine
    assert figures["finish"] < 10.0
    assert done.stderr.count("cannot be reached") == 1
    assert "`backslide sync" in done.stderr


def test_a_full_disk_is_counted_and_training_goes_on(mlflow_server, tmp_path):
    spool = tmp_path / "spool"
    job = tools.Trainer(mlflow_server, spool, "--steps", "3000", "--file-limit", "20000")
    assert "records are being dropped" in job.end()
    assert tools.sync(mlflow_server, spool).exit_code == 0
    run_id = job.run_id()
    rows = tools.scalar_rows(mlflow_server, run_id, "loss", tmp_path)
    assert set(rows.values()) == {1}
    run = MlflowClient(mlflow_server).get_run(run_id)
    # Beside steps, a few other records (files, tags) did not fit and are counted as well.
    assert 3_000 <= len(rows) + run.data.metrics[Metric.DROPPED] <= 3_005
    assert run.info.status == "FINISHED"


def test_a_forked_child_leaves_the_run_to_its_parent(mlflow_server, tmp_path):
    spool = tmp_path / "spool"
    job = tools.Trainer(mlflow_server, spool, "--steps", "100", "--fork")
    job.end()
    assert tools.sync(mlflow_server, spool).exit_code == 0
    history = MlflowClient(mlflow_server).get_metric_history(job.run_id(), "loss")
    assert Counter(row.step for row in history) == Counter(range(1, 101))
    assert all(row.value > 0 for row in history)


def test_an_exception_in_the_loop_is_the_users_and_marks_the_run_failed(
    mlflow_server, tmp_path
):
    spool = tmp_path / "spool"
    job = tools.Trainer(mlflow_server, spool, "--steps", "5", "--crash")
    assert "the training failed" in job.end(status=1)
    assert tools.sync(mlflow_server, spool).exit_code == 0
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("ship").experiment_id
    newest = client.search_runs([experiment], max_results=1)[0]
    assert newest.info.status == "FAILED"


def test_hostile_names_and_values_arrive_under_accepted_keys(mlflow_server, tmp_path):
    names = ["<script>alert(1)</script>", "../../etc", "a//b", "acc@1", "acc=1", "", "🙂", "ä"]
    code = f"""
import backslide
names = {names!r} + ["x" * 5000, "x" * 4999 + "y"]
with backslide.start("ship", tags={{"<b>": "v" * 20000}}, params={{"a@b": "p" * 9000}}) as run:
    run.step(**{{name: 1.0 for name in names}})
    run.step(loss=float("nan"), other=float("-inf"), text="no number", pair=[1, 2])
print(run.id)
"""
    done = tools.script(mlflow_server, tmp_path, code)
    assert done.returncode == 0, done.stderr
    run = MlflowClient(mlflow_server).get_run(done.stdout.strip())
    logged = {key for key, value in run.data.metrics.items() if value == 1.0}
    assert len(logged - {Metric.DROPPED}) == 10
    assert {"_script_alert(1)_/script_".replace("(", "_").replace(")", "_"), "acc_1"} <= logged
    assert run.data.metrics[Metric.NONFINITE] == 2
    assert run.data.metrics[Metric.DROPPED] == 2  # the text and the pair
    assert len(run.data.params["a_b"]) == 6_000


def test_an_active_mlflow_run_is_joined_and_left_open(mlflow_server, tmp_path):
    code = """
import mlflow
import backslide
mlflow.set_experiment("joined")
with mlflow.start_run() as active:
    mlflow.log_param("lr", 0.1)
    with backslide.start("ship", params={"lr": 0.1, "new": 2}) as run:
        assert run.id == active.info.run_id
        run.step(loss=1.0)
    client = mlflow.MlflowClient()
    inside = client.get_run(active.info.run_id)
    assert inside.info.status == "RUNNING", inside.info.status
    assert inside.data.metrics["loss"] == 1.0
    assert inside.data.params == {"lr": "0.1", "new": "2"}
    assert inside.data.tags["backslide.lineage"] == "ship"
assert len(client.search_runs([active.info.experiment_id])) == 1
print(client.get_run(active.info.run_id).info.status)
"""
    done = tools.script(mlflow_server, tmp_path, code)
    assert done.stdout.strip().endswith("FINISHED"), done.stderr


HEAVY = """
import sys
import backslide
{extra}
with backslide.start("light", params={{"a": 1}}) as run:
    run.step(loss=1.0)
    run.log_predictions("test", ["a"], [1], [1])
heavy = ("mlflow", "torch", "backslide_detector", "backslide_tracker")
print(",".join(name for name in heavy if name in sys.modules))
"""


@pytest.mark.parametrize(("extra", "found"), [("", ""), ("import mlflow", "mlflow")])
def test_the_training_process_imports_nothing_heavy(tmp_path, extra, found):
    """The second case shows that the check can fail."""
    done = tools.script(
        "http://127.0.0.1:9", tmp_path, HEAVY.format(extra=extra), BACKSLIDE_OFFLINE="1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == found


@pytest.mark.slow
def test_offline_spools_only_and_sync_ships_it_later(mlflow_server, tmp_path):
    spool = tmp_path / "spool"
    job = tools.Trainer(mlflow_server, spool, "--steps", "50", BACKSLIDE_OFFLINE="1")
    assert "`backslide sync" in job.end()
    assert job.run_id() == "None"
    (folder,) = tools.spools(spool)
    assert not (folder / "shipper.log").exists()
    client = tools.client_of(spool)
    away = tools.sync("http://127.0.0.1:9", spool)
    assert away.exit_code == 1
    assert "Error: 1 of 1 spools" in away.stderr
    assert "Traceback" not in away.stderr
    done = tools.sync(mlflow_server, spool)
    assert done.exit_code == 0, done.stderr
    run_id = check_stored(mlflow_server, client, list(range(1, 51)), tmp_path)
    assert MlflowClient(mlflow_server).get_run(run_id).data.tags[Tag.LINEAGE] == "ship"


def test_a_deleted_run_empties_the_spool_and_is_told(mlflow_server, tmp_path):
    spool = tmp_path / "spool"
    job = tools.Trainer(mlflow_server, spool, "--steps", "100000", "--pause", "0.01")
    tools.wait_until(job.acknowledged)
    (folder,) = tools.spools(spool)
    tools.wait_until(lambda: tools.state(folder).get("run_id"))
    MlflowClient(mlflow_server).delete_run(tools.state(folder)["run_id"])
    tools.wait_until(lambda: tools.state(folder).get("problem"))
    assert job.process.poll() is None
    job.process.kill()
    job.process.wait()
    assert tools.sync(mlflow_server, spool).exit_code == 0
    (kept,) = (spool / "rejected").glob("*.jsonl")
    assert json.loads(kept.read_text().split("\n")[0])["why"] == "the run was deleted"


@pytest.mark.slow
def test_a_run_is_stopped_and_judged_through_its_tags(mlflow_server, tmp_path):
    code = """
import time
import mlflow
import backslide
with backslide.start("ship", on_fault="stop") as run:
    run.step(loss=1.0)
    client = mlflow.MlflowClient()
    client.set_tag(run.id, "backslide.stop", "nan-or-inf: the loss is NaN")
    deadline = time.monotonic() + 60
    while not run.should_stop:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run.on_fault = "ignore"
    assert not run.should_stop
    run.on_fault = "stop"
    client.delete_tag(run.id, "backslide.stop")
    while run.should_stop:
        assert time.monotonic() < deadline
        time.sleep(0.1)
assert run.verdict(timeout=0.5) is None
client.set_tag(run.id, "backslide.health", "failing")
client.set_tag(run.id, "backslide.findings", "nan-or-inf, dead-units")
client.set_tag(run.id, "backslide.verdict", "first")
judged = run.verdict(timeout=60)
assert judged.verdict == "first" and judged.health == "failing"
assert judged.findings == ("nan-or-inf", "dead-units")
assert judged.url == run.url
"""
    done = tools.script(mlflow_server, tmp_path, code)
    assert done.returncode == 0, done.stderr
