"""Deep links into the MLflow UI."""

from backslide.contract import SHARED_VIEW_TAG, Artifact
from backslide_detector.evidence import RunHead
from backslide_detector.report.links import Links

# A fresh browser lands on the GenAI pages, where none of this is shown.
_MODE = "workflowType=machine_learning"


def links(uri: str, head: RunHead, baseline: tuple[str, str] | None = None) -> Links:
    """Where to go on from a run.

    Args:
        uri: the tracking server.
        head: the judged run.
        baseline: experiment id and run id of the run it was compared with.
    """
    page = run_page(uri, head.experiment_id, head.run_id)
    key = SHARED_VIEW_TAG.rpartition(".")[2]
    return Links(
        run=f"{page}?{_MODE}",
        baseline=f"{run_page(uri, *baseline)}?{_MODE}" if baseline else None,
        view=f"{uri}/#/experiments/{head.experiment_id}/runs?viewStateShareKey={key}&{_MODE}",
        report=f"{page}/artifacts/{Artifact.REPORT}?{_MODE}",
    )


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """The page of a run, without a query."""
    return f"{uri}/#/experiments/{experiment_id}/runs/{run_id}"
