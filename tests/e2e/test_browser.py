"""What a person sees in MLflow: the table, the run's page and the report, in a real browser.

`BACKSLIDE_SCREENSHOTS=DIR` keeps pictures of all three.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.browser import browser_page, open_report

from backslide.contract import SHARED_VIEW_NAME, Artifact, Tag

pytestmark = pytest.mark.browser


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


def test_the_runs_page_starts_with_the_verdict(mlflow_server, retrain, page):
    page.goto(f"{run_page(mlflow_server, retrain)}?workflowType=machine_learning")
    note = page.get_by_text("points more errors").first
    note.wait_for(timeout=60_000)
    assert note.is_visible()
    picture(page, "run-page.png")


def test_the_report_opens_in_the_artifact_view(mlflow_server, retrain, page):
    address = f"{run_page(mlflow_server, retrain)}/artifacts/{Artifact.REPORT}"
    report = open_report(page, address)
    assert report.get_by_role("heading", level=1).inner_text() == retrain.info.run_name
    assert "points more errors" in report.locator("body").inner_text()
    assert report.locator("svg:visible").count() > 0
    picture(page, "report.png")


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
