"""`backslide detector serve|scan`, `compare`, `explain`, `gate`, `checks`."""

import json
import logging
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import click
from rich.console import Console
from rich.markdown import Markdown

from backslide.contract import NOTE_BEGIN, NOTE_END, Health, Tag, Verdict
from backslide_detector.act.addresses import links
from backslide_detector.act.alerts import deliver
from backslide_detector.act.showing import show
from backslide_detector.checks import load_checks
from backslide_detector.engine import Case, judge
from backslide_detector.errors import DetectorError, UserError
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.insides import insides
from backslide_detector.ledger import Left
from backslide_detector.past import from_head
from backslide_detector.report.document import document
from backslide_detector.report.page import page
from backslide_detector.report.terminal import comparison
from backslide_detector.retrain.ablation import belongs_to
from backslide_detector.scan import Outcome
from backslide_detector.scan import scan as one_pass
from backslide_detector.service import detector as opened
from backslide_detector.service import serve as serve_forever
from backslide_detector.settings import Settings, load
from backslide_detector.store.server import MlflowStore

PASSED: Final = 0
REJECTED: Final = 1
NO_VERDICT: Final = 2
POLL_SECONDS: Final = 2.0
WIDTH: Final = 140
"""Columns where there is no terminal to ask."""


class Command(click.Command):
    """Turns the detector's own errors into one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as the base says
        """As the base, with one line for an error."""
        try:
            return super().invoke(ctx)
        except DetectorError as error:
            raise click.ClickException(str(error)) from error


class _NoAnswer(click.ClickException):
    exit_code = NO_VERDICT


class _Gate(Command):
    """Whatever keeps it from an answer is no verdict: 1 would say that the run regressed."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as the base says
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _NoAnswer(error.message) from error


class _Group(click.Group):
    command_class = Command


tracking_uri_option = click.option("--tracking-uri", metavar="URL", help="The MLflow server.")
state_option = click.option(
    "--state", metavar="PATH|URL", help="The ledger: a file or a database."
)
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


@click.group(cls=_Group)
def detector() -> None:
    """Reads runs, judges them and writes the verdicts back."""


@detector.command()
@tracking_uri_option
@state_option
@click.option("--every", type=float, metavar="SECONDS", help="Time between two passes.")
def serve(tracking_uri: str | None, state: str | None, every: float | None) -> None:
    """Judge runs as they change, until stopped."""
    log_to_stderr(logging.INFO)
    serve_forever(load(tracking_uri=tracking_uri, state=state, every=every))


@detector.command()
@tracking_uri_option
@state_option
@_json
def scan(tracking_uri: str | None, state: str | None, as_json: bool) -> None:
    """Judge all that is due now, then exit: with 1 if some of it could not be judged."""
    log_to_stderr(logging.WARNING)
    settings = load(tracking_uri=tracking_uri, state=state)
    messages = Console(stderr=True)
    count = 0
    with opened(settings) as parts, messages.status("Looking for runs ...") as status:
        for outcome in one_pass(parts):
            count += 1
            status.update(f"{count} runs judged")
            click.echo(json.dumps(_record(outcome)) if as_json else _line(outcome))
        deliver(parts.ledger.outbox, parts.channels)
        left = parts.ledger.left()
    if left.postponed or left.elsewhere:
        raise click.ClickException(_left(left))
    if not count and not as_json:
        click.echo("Nothing is due.")


@click.command(cls=Command)
@click.argument("run_a")
@click.argument("run_b")
@tracking_uri_option
@_json
@click.option("--open", "opening", is_flag=True, help="Show the report in the browser.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report to this file.",
)
def compare(
    run_a: str,
    run_b: str,
    *,
    tracking_uri: str | None,
    as_json: bool,
    opening: bool,
    output: Path | None,
) -> None:
    """Say whether RUN_B, the newer one, is better than RUN_A."""
    log_to_stderr(logging.WARNING)
    settings = load(tracking_uri=tracking_uri)
    store = open_store(settings)
    heads = tuple(find_run(store, run) for run in (run_a, run_b))
    old, new = (store.read(head) for head in heads)
    case = _case(store, settings, heads, (old, new))
    judgement = judge(case).judgement
    if opening or output is not None:
        place = (old.experiment_id, old.run_id)
        where = links(settings.tracking_uri, heads[1], place)
        show(page(judgement, new, old, where, case.pair), output, opening=opening)
    if as_json:
        click.echo(json.dumps(document(judgement), indent=2))
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for part in comparison(judgement):
        if isinstance(part, str):
            click.echo(part)
        else:
            console.print(part)


def _case(
    store: MlflowStore,
    settings: Settings,
    heads: tuple[RunHead, ...],
    runs: tuple[RunEvidence, RunEvidence],
) -> Case:
    """Two runs, with earlier ones of the lineage as the server lists them.

    These tell the noise between retrains, and what is usual inside. Seed repeats tell it at any
    time: most are made after a retrain has raised the question.
    """
    old, new = runs
    listed = store.lineage(new.lineage) if new.lineage is not None else []
    past = [from_head(h, settings.metrics) for h in listed if belongs_to(h.tags) is None]
    history = tuple(
        run for run in past if run.finished and (run.started < new.started or run.recipe)
    )
    case = Case(new, old, margin=settings.margin, mapping=settings.metrics, history=history)
    if new.probe is None or old.probe is None:
        return case
    known = {head.run_id: head for head in listed}
    healthy, parent = insides(store, heads[1], heads[0], (known, history))
    return replace(case, healthy=healthy, parent=parent)


@click.command(cls=Command)
@click.argument("what", metavar="RUN|CHECK")
@tracking_uri_option
def explain(what: str, tracking_uri: str | None) -> None:
    """Show why a run has its tags, or what a check looks for."""
    log_to_stderr(logging.WARNING)
    pages = {check.name: check.page for check in load_checks()}
    if what in pages:
        click.echo(f"{what}\n{'=' * len(what)}\n\n{pages[what]}")
        return
    if not re.fullmatch(r"[0-9a-f]{32}", what):
        raise UserError(f"{what!r} is neither a check (see `backslide checks`) nor a run id")
    head = find_run(open_store(load(tracking_uri=tracking_uri)), what)
    if Tag.HEALTH not in head.tags:
        raise UserError(f"{head.name} is not judged yet; `backslide detector scan` judges it")
    verdict = head.tags.get(Tag.VERDICT, "still training")
    click.echo(f"{head.name}: {verdict}, {head.tags[Tag.HEALTH]}")
    note = head.tags.get(Tag.NOTE, "").partition(NOTE_BEGIN)[2].partition(NOTE_END)[0]
    Console().print(Markdown(note or head.tags.get(Tag.SUMMARY, "")))


@click.command(cls=_Gate)
@click.argument("run")
@click.option("--wait", type=float, default=0.0, metavar="SECONDS", help="For the verdict.")
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the answer as JUnit XML.",
)
@tracking_uri_option
def gate(run: str, wait: float, junit: Path | None, tracking_uri: str | None) -> None:
    """Pass or stop a pipeline: exit 0 passes, 1 regressed or failing, 2 no verdict."""
    log_to_stderr(logging.WARNING)
    store = open_store(load(tracking_uri=tracking_uri))
    deadline = time.monotonic() + wait
    head = find_run(store, run)
    while Tag.VERDICT not in head.tags and time.monotonic() < deadline:
        time.sleep(min(POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))
        head = find_run(store, run)
    code, reason = _decision(head)
    if junit is not None:
        _write_junit(junit, head, code, reason)
    click.echo(reason)
    sys.exit(code)


@click.command(cls=Command)
def checks() -> None:
    """List the checks; `backslide explain CHECK` shows a page."""
    found = load_checks()
    width = max((len(check.name) for check in found), default=0)
    for check in found:
        click.echo(f"{check.name:<{width}}  {check.summary}")


def _decision(head: RunHead) -> tuple[int, str]:
    verdict, health = head.tags.get(Tag.VERDICT), head.tags.get(Tag.HEALTH)
    summary = head.tags.get(Tag.SUMMARY, "")
    if verdict == Verdict.REGRESSED:
        return REJECTED, f"{head.name} regressed: {summary}"
    if health == Health.FAILING:
        return REJECTED, f"{head.name} is failing: {summary}"
    if verdict is None:
        return NO_VERDICT, f"{head.name} has no verdict yet"
    if verdict == Verdict.NONE:
        return NO_VERDICT, f"{head.name} has no verdict: {summary}"
    return PASSED, f"{head.name} passes ({verdict}): {summary}"


def _write_junit(path: Path, head: RunHead, code: int, reason: str) -> None:
    suite = ET.Element("testsuite", name="backslide gate", tests="1")
    suite.set("failures", str(int(code == REJECTED)))
    suite.set("errors", str(int(code == NO_VERDICT)))
    case = ET.SubElement(suite, "testcase", classname="backslide", name=_printable(head.name))
    if code != PASSED:
        kind = "failure" if code == REJECTED else "error"
        ET.SubElement(case, kind, message=_printable(reason))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """XML has no way to write most control characters."""
    return "".join(char if char.isprintable() else " " for char in text)


def _record(outcome: Outcome) -> dict[str, object]:
    said = outcome.judgement
    low, high = said.retrain.model.interval or (None, None)
    return {
        "run_id": said.run_id,
        "run_name": said.run_name,
        "experiment_id": outcome.head.experiment_id,
        "lineage": said.lineage,
        "stage": outcome.stage.value,
        "verdict": said.retrain.verdict.value,
        "health": said.health.value,
        "findings": [name for name, _ in said.findings],
        "cause": [cause.value for cause in said.retrain.cause],
        "summary": said.summary,
        "compared_to": said.retrain.compared_to,
        "error": said.retrain.new_error,
        "error_delta": said.retrain.model.effect,
        "error_delta_low": low,
        "error_delta_high": high,
        "problems": list(said.problems),
        "url": outcome.url,
    }


def _left(left: Left) -> str:
    said = []
    if left.postponed:
        said.append(f"{left.postponed} could not be judged yet (see above); scan again")
    if left.elsewhere:
        said.append(f"{left.elsewhere} in the hands of another detector, or of a killed one")
    return f"runs that are due: {', '.join(said)}"


def _line(outcome: Outcome) -> str:
    said = outcome.judgement
    verdict = "live" if outcome.stage == "live" else said.retrain.verdict.value
    return f"{verdict:<12} {said.health.value:<8} {said.run_name}: {said.summary}"


def open_store(settings: Settings) -> MlflowStore:
    """The tracking server of the settings."""
    return MlflowStore(settings.tracking_uri, settings.experiments, settings.metrics)


def find_run(store: MlflowStore, run_id: str) -> RunHead:
    """The run with this id.

    Raises:
        UserError: there is none.
    """
    found = store.heads([run_id])
    if not found:
        raise UserError(f"there is no run {run_id!r} on this server")
    return found[0]


def log_to_stderr(level: int) -> None:
    """Logs go to stderr; libraries speak only when something is lost."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    for library in ("alembic", "apscheduler", "mlflow", "urllib3"):
        logging.getLogger(library).setLevel(logging.ERROR)
