"""`backslide compare A B --open`: the whole report of any two runs."""

import re
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from click.testing import CliRunner
from tests.detector.inside.builders import healthy, nothing, probe
from tests.detector.inside.test_checks import reset
from tests.detector.shell.builders import a_run, a_store

from backslide.contract import Tag
from backslide_detector import cli
from backslide_detector.commands import compare as commands

OLD, NEW = a_run(1, probe=probe()), a_run(2, probe=reset("conv3"))


@pytest.fixture
def opened(monkeypatch):
    """Addresses that the browser was given."""
    given: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: given.append(address) or True)
    return given


def compared(monkeypatch, *arguments, runs=(OLD, NEW)):
    monkeypatch.setattr(commands, "open_store", lambda settings: a_store(*runs))
    done = CliRunner().invoke(cli.compare, [runs[-2].run_id, runs[-1].run_id, *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_report_opens_in_the_browser(monkeypatch, opened):
    said = compared(monkeypatch, "--open")
    path = Path(unquote(urlparse(opened[0]).path))
    html = path.read_text()
    assert re.search(r"<h1>retrain-2</h1>", html)
    assert "layer-changed" in html
    assert "What the layers do" in html
    assert said.strip()


def test_it_is_written_where_it_is_asked_for_and_nothing_opens(monkeypatch, opened, tmp_path):
    compared(monkeypatch, "--output", str(tmp_path / "report.html"))
    assert opened == []
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_healthy_runs_of_the_lineage_are_the_measure(monkeypatch, tmp_path):
    tags = OLD.tags | {Tag.HEALTH: "healthy", Tag.VERDICT: "equivalent"}
    runs = [a_run(i, probe=healthy(i), tags=tags) for i in range(1, 11)]
    flat = healthy(11, conv3=nothing())
    place = tmp_path / "report.html"
    compared(monkeypatch, "--output", str(place), runs=(*runs, a_run(11, probe=flat)))
    assert "in 10 healthy runs" in place.read_text()


def test_a_file_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "open_store", lambda settings: a_store(OLD, NEW))
    place = str(tmp_path / "nowhere" / "report.html")
    done = CliRunner().invoke(cli.compare, [OLD.run_id, NEW.run_id, "--output", place])
    assert done.exit_code == 1
    assert "could not be written" in done.output
    assert "Traceback" not in done.output
