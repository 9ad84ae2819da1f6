"""The pages inside a running server, with text from people who mean no good."""

import re

import pytest
import requests
from mlflow import MlflowClient
from tests.browser import browser_page

from backslide.contract import Metric, Tag

HOSTILE = (
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
)


@pytest.fixture(scope="module")
def client(tracker_url: str) -> MlflowClient:
    return MlflowClient(tracker_url)


@pytest.fixture(scope="module")
def judged(client: MlflowClient) -> str:
    """An experiment with one regressed, one hostile and one unjudged run."""
    experiment = client.create_experiment(f"pages {HOSTILE}")
    regressed = client.create_run(experiment, run_name="regressed-run").info.run_id
    for tag, value in {
        Tag.VERDICT: "regressed",
        Tag.HEALTH: "warning",
        Tag.FINDINGS: "dead-units",
        Tag.CAUSE: "data",
        Tag.SUMMARY: "Error rose from 3.0 % to 4.2 %.",
    }.items():
        client.set_tag(regressed, tag, value)
    for metric, value in {
        Metric.ERROR_DELTA: 0.012,
        Metric.ERROR_DELTA_LOW: 0.004,
        Metric.ERROR_DELTA_HIGH: 0.021,
    }.items():
        client.log_metric(regressed, metric, value)
    hostile = client.create_run(experiment, run_name=HOSTILE).info.run_id
    for tag in (Tag.VERDICT, Tag.HEALTH, Tag.FINDINGS, Tag.CAUSE, Tag.SUMMARY):
        client.set_tag(hostile, tag, HOSTILE)
    client.log_metric(hostile, Metric.ERROR_DELTA, float("nan"))
    client.create_run(experiment, run_name="unjudged-run")
    return regressed


def test_verdicts_of_all_experiments_are_listed_with_links(tracker_url, judged):
    page = requests.get(f"{tracker_url}/backslide", timeout=10).text
    assert 'data-value="regressed">regressed<' in page
    assert "+1.20 (+0.40 to +2.10)" in page
    assert "Error rose from 3.0 % to 4.2 %." in page
    assert f"/runs/{judged}?workflowType=machine_learning" in page
    assert "viewStateShareKey=backslide&amp;workflowType=machine_learning" in page
    assert "unjudged-run" not in page
    cells = re.findall(r'<td class="number">(.*?)</td>', page)
    assert len(cells) >= 2
    assert not [cell for cell in cells if "nan" in cell.lower()]


def test_no_text_of_a_run_becomes_markup(tracker_url, judged):
    reply = requests.get(f"{tracker_url}/backslide", timeout=10)
    assert "&lt;script&gt;" in reply.text
    assert "<script" not in reply.text
    assert "<img" not in reply.text
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.browser
def test_in_a_browser_nothing_runs_and_a_link_opens_the_run(tracker_url, judged):
    asked = []
    with browser_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{tracker_url}/backslide")
        assert page.title() == "backslide verdicts"
        assert asked == [
            f"{tracker_url}/backslide",
            f"{tracker_url}/backslide/static/verdicts.css",
        ]
        page.get_by_role("link", name="regressed-run").click()
        page.get_by_role("heading", name="regressed-run").wait_for(timeout=60_000)


def test_healthz_and_mlflow_itself_answer(tracker_url):
    assert requests.get(f"{tracker_url}/backslide/healthz", timeout=10).json() == {
        "status": "ok"
    }
    assert requests.get(f"{tracker_url}/health", timeout=10).text == "OK"


def test_a_foreign_host_header_is_refused(tracker_url):
    reply = requests.get(f"{tracker_url}/backslide", headers={"Host": "evil.test"}, timeout=10)
    assert reply.status_code == 403
