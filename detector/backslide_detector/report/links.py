"""Where a reader can go on from the note and the page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses in the MLflow UI; None where there is nothing to link to.

    Attributes:
        run: page of the judged run.
        baseline: page of the run it was compared with.
        view: the runs table with the verdict columns.
        report: the report among the run's artifacts.
    """

    run: str | None = None
    baseline: str | None = None
    view: str | None = None
    report: str | None = None
