"""The project's pages inside the MLflow server: `/backslide` and `/backslide/healthz`.

`mlflow server --app-name backslide` calls `create_app` once in every worker, so nothing here
schedules, counts or keeps anything.
"""

from datetime import UTC, datetime
from math import isfinite
from urllib.parse import quote

from fastapi import FastAPI
from flask import Blueprint, Flask, Response, render_template
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.server import app as mlflow_app
from mlflow.server.fastapi_app import create_fastapi_app
from mlflow.server.handlers import _get_tracking_store  # what MLflow's own app plugins use

from backslide.contract import SHARED_VIEW_TAG, Metric, Tag

LATEST = 100
EXPERIMENTS = 1_000
"""MLflow wants a search's experiments spelled out: the most recently changed ones."""
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'"
"""The page needs no script, no picture and no other host; the browser holds it to that."""

pages = Blueprint(
    "backslide",
    __name__,
    url_prefix="/backslide",
    template_folder="pages",
    static_folder="pages/static",
    static_url_path="/static",
)


def create_app(flask_app: Flask = mlflow_app) -> FastAPI:
    """MLflow's application with the project's pages added."""
    if pages.name not in flask_app.blueprints:
        flask_app.register_blueprint(pages)
    app: FastAPI = create_fastapi_app(flask_app)
    return app


@pages.get("")
def verdicts() -> str:
    """The latest verdicts over all experiments."""
    store = _get_tracking_store()
    experiments = {
        experiment.experiment_id: experiment.name
        for experiment in store.search_experiments(
            max_results=EXPERIMENTS, order_by=["last_update_time DESC"]
        )
    }
    runs = store.search_runs(
        experiment_ids=list(experiments),
        filter_string=f"tags.`{Tag.VERDICT}` IS NOT NULL",
        run_view_type=ViewType.ACTIVE_ONLY,
        max_results=LATEST,
        order_by=["attributes.start_time DESC"],
    )
    rows = [row(run, experiments[run.info.experiment_id]) for run in runs]
    return render_template("verdicts.html", rows=rows, latest=LATEST)


@pages.get("/healthz")
def healthz() -> tuple[dict[str, str], int]:
    """200 while the database answers, 503 otherwise."""
    try:
        _get_tracking_store().search_experiments(max_results=1)
    except MlflowException:
        return {"status": "the database does not answer"}, 503
    return {"status": "ok"}, 200


@pages.after_request
def restrict(response: Response) -> Response:
    """Holds every page to plain HTML and the style sheet."""
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def row(run: Run, experiment: str) -> dict[str, str]:
    """One line of the table, as text; the template escapes it."""
    tags, at = run.data.tags, quote(run.info.experiment_id, safe="")
    table = (
        f"viewStateShareKey={SHARED_VIEW_TAG.rpartition('.')[2]}&workflowType=machine_learning"
    )
    return {
        "started": f"{datetime.fromtimestamp(run.info.start_time / 1000, UTC):%Y-%m-%d %H:%M}",
        "experiment": experiment,
        "experiment_link": f"#/experiments/{at}/runs?{table}",
        "run": run.info.run_name or run.info.run_id,
        "run_link": f"#/experiments/{at}/runs/{quote(run.info.run_id, safe='')}"
        "?workflowType=machine_learning",
        "verdict": tags.get(Tag.VERDICT, ""),
        "health": tags.get(Tag.HEALTH, ""),
        "change": change(run.data.metrics),
        "findings": tags.get(Tag.FINDINGS, ""),
        "cause": tags.get(Tag.CAUSE, ""),
        "summary": tags.get(Tag.SUMMARY, ""),
    }


def change(metrics: dict[str, float]) -> str:
    """The difference of error and its interval in percentage points: `+1.20 (0.40 to 2.10)`."""
    delta, low, high = (
        100 * metrics.get(key, float("nan"))
        for key in (Metric.ERROR_DELTA, Metric.ERROR_DELTA_LOW, Metric.ERROR_DELTA_HIGH)
    )
    if not isfinite(delta):
        return ""
    return f"{delta:+.2f}" + (f" ({low:+.2f} to {high:+.2f})" if isfinite(low + high) else "")
