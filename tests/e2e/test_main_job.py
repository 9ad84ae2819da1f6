"""The way a user goes: train, retrain worse, scan, read the answer where MLflow shows it.

`BACKSLIDE_SCREENSHOTS=DIR` keeps pictures of what a real browser shows.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from tests.browser import browser_page, open_report
from tests.e2e.commands import backslide, inside, scan

from backslide.contract import (
    NOTE_BEGIN,
    SHARED_VIEW_NAME,
    SHARED_VIEW_TAG,
    Artifact,
    Metric,
    Tag,
)


def tags(uri: str, run_id: str) -> dict[str, str]:
    return MlflowClient(uri).get_run(run_id).data.tags


@pytest.mark.slow
def test_the_first_model_is_first(mlflow_server, lineage):
    found = tags(mlflow_server, lineage[0])
    assert found[Tag.VERDICT] == "first"
    assert found[Tag.HEALTH] == "healthy", found


def test_the_bad_retrain_regressed_because_of_its_data(mlflow_server, lineage):
    first, second = lineage
    found = tags(mlflow_server, second)
    assert found[Tag.VERDICT] == "regressed"
    assert found[Tag.COMPARED_TO] == first
    assert "data" in found[Tag.CAUSE].split(", ")
    assert "points more errors" in found[Tag.SUMMARY]


def test_deltas_are_metrics_one_can_sort_by(mlflow_server, lineage):
    metrics = MlflowClient(mlflow_server).get_run(lineage[1]).data.metrics
    old = MlflowClient(mlflow_server).get_run(lineage[0]).data.metrics["test/error"]
    delta = metrics["test/error"] - old
    assert metrics[Metric.ERROR_DELTA] == pytest.approx(delta, abs=1e-9)
    assert 0 < metrics[Metric.ERROR_DELTA_LOW] < delta < metrics[Metric.ERROR_DELTA_HIGH]
    assert metrics[Metric.EVIDENCE] > 1.3


def test_the_note_starts_with_the_verdict(mlflow_server, lineage):
    note = tags(mlflow_server, lineage[1])[Tag.NOTE]
    assert note.startswith(NOTE_BEGIN)
    assert "regressed" in note[:400].lower()


def test_report_and_verdict_lie_with_the_run(mlflow_server, lineage, tmp_path):
    client = MlflowClient(mlflow_server)
    report = Path(client.download_artifacts(lineage[1], Artifact.REPORT, str(tmp_path)))
    page = report.read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace(mlflow_server, "")
    verdict = Path(client.download_artifacts(lineage[1], Artifact.VERDICT, str(tmp_path)))
    document = json.loads(verdict.read_text())
    assert document["verdict"] == "regressed"
    assert document["estimands"]["model"]["n"] == 797
    assert {change["kind"] for change in document["changed"]} >= {"data"}


def test_a_second_scan_finds_nothing_to_do(mlflow_server, home, lineage):
    again = scan(mlflow_server, home)
    assert not again.keys() & set(lineage), "others may have logged meanwhile, these have not"


def test_the_view_is_published_once_for_the_experiment(mlflow_server, lineage):
    client = MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("main-job")
    view = json.loads(experiment.tags[SHARED_VIEW_TAG])
    assert view["name"] == "backslide verdicts"


@pytest.mark.slow
def test_compare_explain_and_gate_agree_with_the_tags(mlflow_server, home, lineage):
    first, second = lineage
    compared = json.loads(inside(mlflow_server, "compare", first, second, "--json").stdout)
    assert compared["verdict"] == "regressed"
    assert compared["compared_to"] == first
    assert "regressed" in inside(mlflow_server, "explain", second).stdout
    inside(mlflow_server, "gate", first)
    junit = home / "gate.xml"
    gate = backslide(mlflow_server, home, "gate", second, "--junit", str(junit), check=False)
    assert gate.returncode == 1
    assert "<failure" in junit.read_text()


def test_a_plain_mlflow_run_is_judged_as_far_as_its_metrics_go(mlflow_server, home):
    client = MlflowClient(mlflow_server)
    experiment = client.create_experiment("plain")
    runs = []
    for accuracy in (0.965, 0.90):
        run = client.create_run(experiment, tags={Tag.LINEAGE: "plain-lineage"})
        for step in range(60):
            client.log_metric(run.info.run_id, "loss", 2.3 * 0.95**step, step=step)
        client.log_metric(run.info.run_id, "test_accuracy", accuracy)
        client.log_param(run.info.run_id, "test_examples", 10_000)
        client.set_terminated(run.info.run_id)
        runs.append(run.info.run_id)
    scan(mlflow_server, home)
    assert tags(mlflow_server, runs[0])[Tag.VERDICT] == "first"
    second = tags(mlflow_server, runs[1])
    assert second[Tag.VERDICT] == "regressed"
    assert second[Tag.COMPARED_TO] == runs[0]
    assert "10,000" in second[Tag.SUMMARY]


def test_every_command_explains_itself_and_fails_in_one_line(mlflow_server, tmp_path):
    assert "dead-units" in inside(mlflow_server, "checks").stdout
    assert "What to do" in inside(mlflow_server, "explain", "dead-units").stdout
    wrong = backslide(mlflow_server, tmp_path, "explain", "label-nois", check=False)
    assert wrong.returncode == 1
    assert "did you mean label-noise?" in wrong.stderr
    assert len(wrong.stderr.strip().splitlines()) == 1
    assert "Traceback" not in wrong.stderr
    # 1 would say that the run regressed.
    away = inside("http://127.0.0.1:9", "gate", "0" * 32, status=2)
    assert len(away.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["compare"], ["gate", "a", "--wait", "soon"], ["checks", "x"]]
)
def test_wrong_arguments_are_one_line(arguments):
    done = inside("http://127.0.0.1:9", *arguments, status=2)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "--help" in done.stderr


def test_the_server_is_a_stock_one(mlflow_server):
    assert requests.get(f"{mlflow_server}/version", timeout=10).text.startswith("3.")


@pytest.fixture(scope="module")
def retrain(mlflow_server: str, lineage: tuple[str, str]):
    """The MLflow run of the retrain that regressed."""
    return MlflowClient(mlflow_server).get_run(lineage[1])


@pytest.fixture(scope="module")
def page() -> Iterator:
    with browser_page(width=1760, height=900) as opened:
        yield opened


def picture(page, name: str) -> None:
    if folder := os.environ.get("BACKSLIDE_SCREENSHOTS"):
        assistant = page.get_by_role("button", name="Close", exact=True)
        if assistant.count():  # MLflow opens its chat beside everything in a fresh browser
            assistant.click()
        page.wait_for_timeout(1_500)  # MLflow's panels slide in
        page.screenshot(path=str(Path(folder) / name))


@pytest.mark.browser
def test_the_runs_table_shows_the_verdicts(mlflow_server, retrain, page):
    page.goto(
        f"{mlflow_server}/#/experiments/{retrain.info.experiment_id}/runs"
        "?viewStateShareKey=backslide&workflowType=machine_learning"
    )
    page.get_by_role("gridcell", name="regressed", exact=True).wait_for(timeout=60_000)
    page.get_by_role("gridcell", name="first", exact=True).wait_for()
    page.get_by_role("gridcell", name=retrain.data.tags[Tag.SUMMARY][:60]).wait_for()
    for column in (Tag.VERDICT, Tag.HEALTH, Tag.SUMMARY):
        page.get_by_role("columnheader", name=column).first.wait_for()
    page.get_by_role("button", name=SHARED_VIEW_NAME).wait_for()
    picture(page, "runs-table.png")


@pytest.mark.browser
def test_the_runs_page_starts_with_the_verdict(mlflow_server, retrain, page):
    page.goto(f"{run_page(mlflow_server, retrain)}?workflowType=machine_learning")
    note = page.get_by_text("points more errors").first
    note.wait_for(timeout=60_000)
    assert note.is_visible()
    picture(page, "run-page.png")


@pytest.mark.browser
def test_the_report_opens_in_the_artifact_view(mlflow_server, retrain, page):
    address = f"{run_page(mlflow_server, retrain)}/artifacts/{Artifact.REPORT}"
    report = open_report(page, address)
    assert report.get_by_role("heading", level=1).inner_text() == retrain.info.run_name
    assert "points more errors" in report.locator("body").inner_text()
    assert report.locator("svg:visible").count() > 0
    picture(page, "report.png")


@pytest.mark.browser
def test_the_report_shows_the_inside_in_the_artifact_view(mlflow_server, retrain, page):
    report = open_report(
        page, f"{run_page(mlflow_server, retrain)}/artifacts/{Artifact.REPORT}"
    )
    for heading in ("The network as it ran", "What the layers do", "Confusion of classes"):
        assert report.get_by_role("heading", name=heading, exact=True).is_visible()
    assert "Similarity of layers" in report.locator("#inside").inner_text()
    report.locator("svg[data-hover]").first.hover()
    assert report.locator("#tip").is_visible()


def run_page(uri: str, run) -> str:
    return f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
