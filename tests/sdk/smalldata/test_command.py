"""`backslide small-data` from a terminal, and the page that explains its answers."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from backslide.small_data_command import small_data
from backslide.smalldata import ADVICE

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
