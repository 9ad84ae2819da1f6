"""What people do about retrains, on a real MLflow server: decide, repeat, take apart."""

import json
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput
from sqlalchemy import create_engine, text

from backslide.contract import Artifact, Tag
from backslide_detector.cli import accept, attribute, compare, noise, reject
from backslide_detector.scan import scan
from backslide_detector.service import detector as opened
from backslide_detector.settings import load
from backslide_detector.store.server import MlflowStore

SCRIPT = """
import os, random
import mlflow
seed = os.environ["BACKSLIDE_SEED"]
mlflow.set_tracking_uri("{uri}")
tags = {{"backslide.seed": seed, "backslide.lineage": "{lineage}"}}
with mlflow.start_run(experiment_id="{experiment}", tags=tags):
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


@pytest.mark.slow
def test_noise_runs_the_command_with_seeds_and_says_the_spread(
    client, experiment, mlflow_server, tmp_path
):
    script = tmp_path / "train.py"
    lineage = f"lineage-{uuid.uuid4().hex}"
    script.write_text(SCRIPT.format(uri=mlflow_server, experiment=experiment, lineage=lineage))
    where = ("--tracking-uri", mlflow_server)
    elsewhere = client.create_experiment(f"people-{uuid.uuid4().hex}")
    pair = [
        a_finished_run(client, elsewhere, error, lr=lr, **{Tag.LINEAGE: lineage})
        for error, lr in ((0.03, "0.1"), (0.09, "0.2"))
    ]
    assert "is not known yet" in invoke(compare, *pair, *where)
    options = ("--repeat", "2", *where, "--")
    said = invoke(noise, *options, sys.executable, str(script))
    runs = client.search_runs([experiment])
    assert len({run.data.tags["backslide.seed"] for run in runs}) == 2
    assert len({run.data.tags[Tag.REPEAT] for run in runs}) == 1, "known as repeats"
    assert "2 retrains of one recipe" in said
    assert "from 2 seed repeats" in " ".join(invoke(compare, *pair, *where).split())
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
    first, _, then = said.partition("Then 2 runs to settle what caused it")
    assert first.count("for i in 1 2 3; do BACKSLIDE_ATTRIBUTION") == 2
    assert "git checkout aaa" in then
    assert "git checkout bbb" in then
    run_what_was_asked(client, experiment, then, {"config": 0.04}, **lineage)
    said = invoke(attribute, new, "--tracking-uri", mlflow_server)
    assert "The change of config added +4.00 points (95 % interval" in said
    assert "interaction of code and config" in said
    assert "Cause: config." in said
    assert "First, whether the gap stays with fresh seeds" in said


def run_what_was_asked(client, experiment, said, effects, base=0.05, **lineage):
    """Runs every command that was printed, as many times as it says; tells how many."""
    count = 0
    for line in said.splitlines():
        if "BACKSLIDE_ATTRIBUTION" not in line:
            continue
        tag = line.split("'")[1]
        new = json.loads(tag)["new"]
        times = len(line.partition("; do")[0].split()) - 3 if line.startswith("for") else 1
        error = base + sum(effects.get(kind, 0.0) for kind in new)
        for _ in range(times):
            a_finished_run(client, experiment, error, **lineage, **{Tag.ATTRIBUTION: tag})
        count += times
    return count


@pytest.mark.slow
def test_four_kinds_are_settled_through_the_detector(
    client, experiment, mlflow_server, tmp_path
):
    """From the verdict to the cause: the commands run, the detector picks the runs up."""
    lineage = {Tag.LINEAGE: f"lineage-{uuid.uuid4().hex}"}

    def recipe(error, side):
        run = a_finished_run(client, experiment, error, f"c{side}", f"0.{side}", **lineage)
        client.log_inputs(run, [DatasetInput(Dataset("d", f"digest{side}", "local", "{}"))])
        client.log_dict(run, {"packages": {"torch": f"2.{side}"}}, Artifact.PROVENANCE)
        return run

    def judged():
        settings = load(tracking_uri=mlflow_server, state=str(tmp_path / "ledger.db"))
        settings = settings.model_copy(update={"experiments": [named], "workers": 1})
        with opened(settings) as parts:
            list(scan(parts))

    named = client.get_experiment(experiment).name
    recipe(0.05, 1)
    new = recipe(0.09, 2)
    judged()
    tags = client.get_run(new).data.tags
    assert tags[Tag.CAUSE] == "data, config, code, environment, noise"
    where = ("--tracking-uri", mlflow_server)
    asked = []
    for _ in range(4):
        said = invoke(attribute, new, *where)
        assert "BACKSLIDE" not in said or "pip install torch==2.1" in said
        found = run_what_was_asked(client, experiment, said, {"environment": 0.04}, **lineage)
        if not found:
            break
        asked.append(found)
        judged()
    assert asked == [12, 8]
    assert client.get_run(new).data.tags[Tag.CAUSE] == "environment"
    path = client.download_artifacts(new, Artifact.VERDICT, str(tmp_path))
    shares = json.loads(Path(path).read_text())["shares"]
    alone = {tuple(s["kinds"]): s for s in shares if not s["interaction"]}
    assert alone["environment",]["effect"] == pytest.approx(0.04)
    assert alone["code", "environment"]["effect"] == pytest.approx(0.04)
    assert alone["environment",]["interval"][0] > 0
    assert any(share["interaction"] for share in shares)
    note = client.get_run(new).data.tags[Tag.NOTE]
    assert "The change of environment added +4.00 points" in note
