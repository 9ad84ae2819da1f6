"""`backslide detector scan`: one pass, a line or a record for each judged run."""

import json

import click
from rich.console import Console

from backslide_detector.act.alerts import deliver
from backslide_detector.ledger import Left
from backslide_detector.scan import Outcome, scan
from backslide_detector.service import detector
from backslide_detector.settings import Settings
from backslide_detector.wording import count


def scan_once(settings: Settings, *, as_json: bool) -> None:
    """Judges all that is due and prints it.

    Raises:
        click.ClickException: some of it could not be judged.
    """
    messages = Console(stderr=True)
    judged = 0
    with detector(settings) as parts, messages.status("Looking for runs ...") as status:
        for outcome in scan(parts):
            judged += 1
            status.update(f"{count(judged, 'run')} judged")
            click.echo(json.dumps(_record(outcome)) if as_json else _line(outcome))
        deliver(parts.ledger.outbox, parts.channels)
        left = parts.ledger.left()
    if left.postponed or left.elsewhere:
        raise click.ClickException(_left(left))
    if not judged and not as_json:
        click.echo("Nothing is due.")


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
