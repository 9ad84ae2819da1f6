"""The report: one HTML file that needs nothing else.

MLflow shows it in a frame without an origin; it also reads from a disk, in a mail, on paper.
The policy in its head allows the one style sheet and the one script, by their hashes, and
pictures that lie in the file itself, nothing more. The script shows numbers under the pointer;
where none runs, nothing is missing.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from backslide_detector.evidence import RunEvidence
from backslide_detector.inside.pair import Pair
from backslide_detector.judgement import Judgement
from backslide_detector.report import view
from backslide_detector.report.links import Links
from backslide_detector.report.phrases import plain, shorten
from backslide_detector.report.section import Absent, Section
from backslide_detector.report.sections.activations import activations
from backslide_detector.report.sections.classes import classes
from backslide_detector.report.sections.confusion import confusion
from backslide_detector.report.sections.curves import curves
from backslide_detector.report.sections.examples import examples
from backslide_detector.report.sections.gradients import gradients
from backslide_detector.report.sections.inside import inside
from backslide_detector.report.sections.lineage import lineage
from backslide_detector.report.sections.metrics import metrics
from backslide_detector.report.sections.network import network
from backslide_detector.report.sections.parameters import updates, weights
from backslide_detector.report.sections.trends import trends

SECTIONS = (
    lineage, metrics, curves, classes, confusion, examples, gradients, activations, weights,
    updates, trends,
)  # fmt: skip
LONGEST = 2_000
"""Characters of one piece of text at most."""


INSIDE = (network, inside)
"""Sections about what is inside, which healthy runs say something of as well."""


def page(
    judgement: Judgement,
    new: RunEvidence,
    old: RunEvidence | None,
    links: Links,
    pair: Pair | None = None,
) -> str:
    """The whole report as self-contained HTML.

    Args:
        judgement: what is said about the run.
        new: the judged run.
        old: the run it was compared with, drawn beside it.
        links: where to go on; only web addresses are linked.
        pair: both insides, with those of healthy runs.
    """
    if pair is None and old is not None:
        pair = Pair(new.inside, old.inside)
    parts = [build(judgement, new, old) for build in SECTIONS]
    parts += [build(judgement, new, pair) for build in INSIDE]
    sections = [part for part in parts if isinstance(part, Section)]
    css, script = _own("report.css"), _own("hover.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            css=css,
            script=script,
            policy=_policy(css, script),
            contents=view.contents(judgement, sections),
            sections=sections,
            gaps=view.gaps(
                judgement, new, [part for part in parts if isinstance(part, Absent)]
            ),
            head=view.head(judgement, new),
            facts=view.facts(judgement),
            answers=view.answers(judgement),
            answers_table=view.answers_table(judgement),
            stream=judgement.retrain.stream.sentences,
            behaviour=judgement.retrain.behaviour,
            outlook=judgement.outlook,
            changed=view.changed(judgement, old),
            leads=judgement.retrain.leads,
            findings=view.findings(judgement),
            no_findings=view.no_findings(judgement),
            notes=view.notes(judgement),
            method=view.method(judgement),
            checks=view.checks(judgement),
            links=view.links(links),
        )
    )


def _policy(css: str, script: str) -> str:
    style, code = (
        b64encode(sha256(text.encode()).digest()).decode("ascii") for text in (css, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{code}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("backslide_detector", "report/templates"),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _own(name: str) -> Markup:
    loader = _environment().loader
    assert loader is not None  # noqa: S101  # given right above
    source, _, _ = loader.get_source(_environment(), name)
    return Markup(source)  # noqa: S704  # the package's own file


def _harmless(value: object) -> object:
    """Text for people: on one line, bounded, without invisible characters; markup as it is."""
    if isinstance(value, Markup):
        return value
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", shorten(plain(value), LONGEST))
