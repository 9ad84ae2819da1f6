"""The house rules that a linter cannot see."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from backslide.contract import Metric, Tag
from backslide_detector.checks.registry import load_checks
from backslide_detector.settings import Settings

HOUSE = Path(__file__).parents[1]
REFERENCE = (HOUSE / "docs/reference.md").read_text()


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_the_sdk_imports_nothing_heavy():
    heavy = {"mlflow", "torch", "pandas", "scipy", "requests"}
    assert loaded_by("import backslide") & heavy == set()


def test_that_test_can_fail():
    assert "requests" in loaded_by("import backslide, requests")


def test_help_and_the_checks_pages_wait_for_nothing_heavy():
    """Each of these took six seconds when the commands' files imported what they run."""
    asked = [["--help"], ["checks"], ["explain", "dead-units"], ["tracker", "serve", "--help"]]
    asked += [[entry.name, "--help"] for entry in entry_points(group="backslide.commands")]
    heavy = {"mlflow", "pandas", "requests", "rich", "scipy", "sqlalchemy", "torch"}
    run = f"from backslide.cli import main; [main(a, standalone_mode=False) for a in {asked}]"
    assert loaded_by(run) & heavy == set()


@pytest.mark.parametrize("entry", sorted(entry_points(group="backslide.commands")), ids=str)
def test_every_command_is_in_the_readme(entry):
    assert f"`backslide {entry.name}" in (HOUSE / "README.md").read_text()


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_every_setting_is_documented(setting):
    assert f"`{setting}`" in REFERENCE


@pytest.mark.parametrize("owner", [Tag, Metric])
def test_every_tag_and_metric_is_documented(owner):
    names = [value for key, value in vars(owner).items() if key.isupper()]
    missing = [
        n for n in names if n.startswith(("backslide", "gradient")) and n not in REFERENCE
    ]
    assert missing == []


def test_every_check_is_documented():
    page = (HOUSE / "docs/checks.md").read_text()
    assert [check.name for check in load_checks() if f"## {check.name}\n" not in page] == []
