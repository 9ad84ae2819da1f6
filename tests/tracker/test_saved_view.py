"""The saved view of the runs table, whose format is internal to MLflow: pinned by a browser."""

import json
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.browser import browser_page

from backslide.contract import SHARED_VIEW_NAME, SHARED_VIEW_TAG, Metric, Tag

STATE = Path(__file__).parents[2] / "docs" / "saved-view.json"

COLUMNS = [
    Tag.VERDICT,
    Tag.HEALTH,
    Metric.ERROR_DELTA,
    Tag.FINDINGS,
    Tag.CAUSE,
    Tag.SUMMARY,
]

LEFT_TO_RIGHT = """columns => {
    const cells = [...document.querySelectorAll('[role=columnheader]')]
        .filter(cell => columns.includes(cell.innerText))
        .sort((a, b) => a.getBoundingClientRect().x - b.getBoundingClientRect().x);
    const shown = [...new Set(cells.map(cell => cell.innerText))];
    return JSON.stringify(shown) === JSON.stringify(columns);
}"""


@pytest.mark.browser
def test_the_deep_link_shows_the_verdict_columns_in_order(mlflow_server):
    client = MlflowClient(mlflow_server)
    experiment = client.create_experiment("saved-view")
    run = client.create_run(experiment, run_name="retrain-1").info.run_id
    for tag in COLUMNS[:2] + COLUMNS[3:]:  # a column shows once any run has a value for it
        client.set_tag(run, tag, f"the value of {tag}")
    client.log_metric(run, Metric.ERROR_DELTA, 0.0125)
    now = int(1000 * time.time())
    view = {
        "name": SHARED_VIEW_NAME,
        "createdAt": now,
        "updatedAt": now,
        "state": STATE.read_text(),
    }
    client.set_experiment_tag(experiment, SHARED_VIEW_TAG, json.dumps(view))
    with browser_page(width=2200) as page:
        page.goto(
            f"{mlflow_server}/#/experiments/{experiment}/runs"
            "?viewStateShareKey=backslide&workflowType=machine_learning"
        )
        page.get_by_role("gridcell", name=f"the value of {Tag.VERDICT}").wait_for(
            timeout=60_000
        )
        page.get_by_role("gridcell", name="0.0125").wait_for()
        page.get_by_role("button", name=SHARED_VIEW_NAME).wait_for()
        page.wait_for_function(LEFT_TO_RIGHT, arg=COLUMNS)  # the order settles after the data
