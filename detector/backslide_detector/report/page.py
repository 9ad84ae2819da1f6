"""The report: one HTML file that needs nothing else."""

from html import escape

from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.links import Links


def page(
    judgement: Judgement,
    new: RunEvidence,
    old: RunEvidence | None,  # noqa: ARG001  # drawn beside the new run
    links: Links,  # noqa: ARG001  # the footer's
) -> str:
    """The whole report as self-contained HTML."""
    title = escape(new.name or judgement.run_id)
    verdict = escape(judgement.retrain.sentence)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title></head><body><h1>{title}</h1><p>{verdict}</p></body></html>"
    )
