"""What people do about retrains, on a real MLflow server: decide, repeat, take apart."""

import sys
import uuid

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from backslide.contract import Tag
from backslide_detector.decide import accept, reject
from backslide_detector.reruns import attribute, noise
from backslide_detector.store.server import MlflowStore

SCRIPT = """
import os, random
import mlflow
seed = os.environ["BACKSLIDE_SEED"]
mlflow.set_tracking_uri("{uri}")
with mlflow.start_run(experiment_id="{experiment}", tags={{"backslide.seed": seed}}):
    mlflow.log_metric("test_error", 0.03 + 0.001 * random.Random(int(seed)).gauss(0, 1))
    mlflow.log_param("test_examples", 2000)
"""


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return MlflowClient(mlflow_server)


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment(f"people-{uuid.uuid4().hex}")


def a_finished_run(client, experiment, error=0.05, commit="a", lr="0.1", **tags):
    known = {"mlflow.source.git.commit": commit, "mlflow.source.name": "train.py"}
    run = client.create_run(experiment, tags=known | tags)
    client.log_metric(run.info.run_id, "test_error", error)
    client.log_param(run.info.run_id, "test_examples", 2000)
    client.log_param(run.info.run_id, "lr", lr)
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def invoke(command, *arguments):
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_decision_lies_in_the_ledger_and_on_the_run(
    client, experiment, mlflow_server, tmp_path
):
    run = a_finished_run(client, experiment)
    ledger = str(tmp_path / "ledger.db")
    where = ("--tracking-uri", mlflow_server, "--state", ledger)
    assert "accepted" in invoke(accept, run, "--who", "ada", *where)
    assert client.get_run(run).data.tags[Tag.DECISION] == "accepted"
    invoke(reject, run, "--who", "bob", "--why", "wrong labels", *where)
    assert client.get_run(run).data.tags[Tag.DECISION] == "rejected"
    with create_engine(f"sqlite:///{ledger}").connect() as connection:
        rows = connection.execute(text("SELECT decision, who, why FROM decision")).all()
    assert rows == [("accepted", "ada", None), ("rejected", "bob", "wrong labels")]
    unknown = CliRunner().invoke(accept, ["f" * 32, *where])
    assert unknown.exit_code == 1
    assert "there is no run" in unknown.output


def test_the_champion_is_found_by_its_alias(client, experiment, mlflow_server):
    run = a_finished_run(client, experiment)
    name = f"model-{uuid.uuid4().hex}"
    store = MlflowStore(mlflow_server)
    assert store.champion(name, [run]) is None
    client.create_registered_model(name)
    place = f"{client.get_run(run).info.artifact_uri}/model"
    version = client.create_model_version(name, place, run_id=run)
    assert store.champion(name, [run]) is None
    client.set_registered_model_alias(name, "champion", version.version)
    assert store.champion(name, []) == run
    assert store.champion("a lineage of another name", [run]) == run
    for hostile in ("it's", "a/b:c", "ü" * 5_000, "<script>"):
        assert store.champion(hostile, []) is None


def test_noise_runs_the_command_with_seeds_and_says_the_spread(
    client, experiment, mlflow_server, tmp_path
):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(uri=mlflow_server, experiment=experiment))
    options = ("--repeat", "3", "--tracking-uri", mlflow_server, "--")
    said = invoke(noise, *options, sys.executable, str(script))
    runs = client.search_runs([experiment])
    assert len({run.data.tags["backslide.seed"] for run in runs}) == 3
    assert len({run.data.tags[Tag.REPEAT] for run in runs}) == 1, "known as repeats"
    assert "3 retrains of one recipe" in said
    assert "points (standard deviation)" in said
    failed = CliRunner().invoke(noise, [*options, sys.executable, "-c", "raise SystemExit(3)"])
    assert failed.exit_code == 1
    assert "exit status 3" in failed.output


def test_attribute_prints_the_missing_runs_then_what_they_have_shown(
    client, experiment, mlflow_server
):
    lineage = {Tag.LINEAGE: f"lineage-{uuid.uuid4().hex}"}
    old = a_finished_run(client, experiment, 0.05, "aaa", "0.1", **lineage)
    compared = lineage | {Tag.COMPARED_TO: old}
    new = a_finished_run(client, experiment, 0.09, "bbb", "0.5", **compared)
    said = invoke(attribute, new, "--tracking-uri", mlflow_server)
    assert "2 runs settle what caused it" in said
    assert "git checkout aaa" in said
    assert "git checkout bbb" in said
    tags = [line.split("'")[1] for line in said.splitlines() if "BACKSLIDE_ATTR" in line]
    assert len(tags) == 2
    for tag in tags:
        error = 0.09 if "config" in tag else 0.05
        a_finished_run(client, experiment, error, **lineage, **{Tag.ATTRIBUTION: tag})
    said = invoke(attribute, new, "--tracking-uri", mlflow_server)
    assert "The change of" in said
    assert "interaction of code and config" in said
    assert said.splitlines()[-1] == "Cause: config."
