"""`backslide small-data` from a terminal, and the page that explains its answers."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

import backslide
from backslide.contract import Artifact, Tag
from backslide.small_data_command import small_data
from backslide.smalldata import ADVICE, Kind, SmallDataVerdict
from backslide.smalldata.record import record
from backslide.spool.frames import Kind as Records
from backslide.spool.segments import read, segment_path, segments

MODULE = """
import torch
from torch import nn

def parts():
    x = torch.randn(80, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()

    def step(model, opt, x, y):
        loss = nn.functional.cross_entropy(model(x), y)
        opt.zero_grad(); loss.backward(); opt.step()
        return loss

    return {
        "model_fn": lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)),
        "opt_fn": lambda m: torch.optim.Adam(m.parameters(), 1e-2),
        "step_fn": step, "train": (x[:40], y[:40]), "heldout": (x[40:], y[40:]),
    }

def broken():
    return {**parts(), "opt_fn": lambda m: torch.optim.Adam(m[0].parameters())}

def half():
    return {"model_fn": None}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "training_parts.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "training_parts", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *args: CliRunner().invoke(small_data, args)


def test_exit_0_when_nothing_is_found(run):
    result = run("training_parts:parts")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("small-data test: ok")


def test_exit_1_and_one_json_object_when_something_is(run):
    result = run("training_parts:broken", "--json")

    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["cause"] == "not-in-optimizer"


def test_options_win_over_the_function(run):
    result = run("training_parts:broken", "--expect-frozen", "2")

    assert "not-in-optimizer" not in result.stdout


def test_the_verdict_is_kept_in_mlflow(run, mlflow_server, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "kept")
    result = run("training_parts:broken", "--tracking-uri", mlflow_server)

    assert result.exit_code == 1, result.output
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("kept").experiment_id
    (kept,) = client.search_runs([experiment])
    assert kept.info.run_id in result.stderr
    assert kept.data.tags[Tag.SMALL_DATA] == "code: not-in-optimizer"
    file = client.download_artifacts(kept.info.run_id, Artifact.SMALL_DATA, str(tmp_path))
    told = json.loads(Path(file).read_text())
    assert (told["schema"], told["cause"]) == ("1", "not-in-optimizer")


def test_a_server_that_is_away_changes_no_verdict(run):
    result = run("training_parts:broken", "--tracking-uri", "http://127.0.0.1:9")

    assert result.exit_code == 1
    assert "the verdict is not in MLflow" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_open_run_keeps_the_verdict(tmp_path, monkeypatch):
    monkeypatch.setenv("BACKSLIDE_OFFLINE", "1")
    with backslide.start("l", spool_dir=tmp_path):
        record(SmallDataVerdict(Kind.CODE, "no-gradient", ("why",)))
    (kept,) = tmp_path.glob("*/files/*/small-data.json")
    assert json.loads(kept.read_text())["evidence"] == ["why"]
    (folder,) = [path.parent for path in tmp_path.glob("*/job.json")]
    tags = [
        json.loads(found.payload)
        for number in segments(folder)
        for found in read(segment_path(folder, number), 0, closed=True).records
        if found.kind == Records.TAGS
    ]
    assert {Tag.SMALL_DATA: "code: no-gradient"} in tags


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("training_parts", "not of the form MODULE:FUNCTION"),
        ("no_such_module:parts", "no module named 'no_such_module'"),
        ("training_parts:absent", "has no function 'absent'"),
        ("training_parts:half", "lacks opt_fn, step_fn, train, heldout"),
    ],
)
def test_exit_2_and_one_line_for_a_users_mistake(run, target, message):
    result = run(target)

    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_every_cause_is_on_the_page():
    page = (Path(__file__).parents[3] / "docs" / "small-data-test.md").read_text()

    assert [cause for cause in ADVICE if f"`{cause}`" not in page] == []
