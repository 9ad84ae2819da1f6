"""The detector's commands as the shell sees them; what they do is in `commands/`.

Every command imports its own file when it runs: `backslide --help` loads all of this one, and
what the commands need (MLflow, SciPy, the checks) takes seconds.
"""
# ruff: noqa: PLC0415  # the imports in functions, for this reason

import logging
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from backslide_detector.errors import DetectorError, UserError

if TYPE_CHECKING:
    from backslide_detector.settings import Settings


class Command(click.Command):
    """Logs to stderr, and turns the detector's own errors into one line there."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as the base says
        """As the base, with one line for an error."""
        logging.basicConfig(
            level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
        )
        for library in ("alembic", "apscheduler", "mlflow", "urllib3"):
            logging.getLogger(library).setLevel(logging.ERROR)  # when something is lost
        try:
            return super().invoke(ctx)
        except DetectorError as error:
            raise click.ClickException(str(error)) from error


class _NoAnswer(click.ClickException):
    exit_code = 2  # NO_VERDICT of `commands.gate`


class _Gate(Command):
    """Whatever keeps it from an answer is no verdict: 1 would say that the run regressed."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as the base says
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _NoAnswer(error.message) from error


class _Group(click.Group):
    command_class = Command


_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
_tracking_uri = click.option("--tracking-uri", metavar="URL", help="The MLflow server.")
_state = click.option("--state", metavar="PATH|URL", help="The ledger: a file or a database.")
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_why = click.option("--why", metavar="TEXT", help="The reason, for whoever asks later.")
_who = click.option("--who", metavar="NAME", help="Who decides; default: the login name.")


@click.group(cls=_Group)
def detector() -> None:
    """Reads runs, judges them and writes the verdicts back."""


@detector.command()
@_tracking_uri
@_state
@click.option("--every", type=float, metavar="SECONDS", help="Time between two passes.")
def serve(tracking_uri: str | None, state: str | None, every: float | None) -> None:
    """Judge runs as they change, until stopped."""
    from backslide_detector import service

    logging.getLogger().setLevel(logging.INFO)
    service.serve(_settings(tracking_uri=tracking_uri, state=state, every=every))


@detector.command()
@_tracking_uri
@_state
@_json
def scan(tracking_uri: str | None, state: str | None, as_json: bool) -> None:
    """Judge all that is due now, then exit: with 1 if some of it could not be judged."""
    from backslide_detector.commands.scan import scan_once

    scan_once(_settings(tracking_uri=tracking_uri, state=state), as_json=as_json)


@click.command(cls=Command)
@click.argument("run_a")
@click.argument("run_b")
@_tracking_uri
@_json
@click.option("--open", "opening", is_flag=True, help="Show the report in the browser.")
@click.option("--output", type=_FILE, help="Write the report to this file.")
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
    from backslide_detector.commands.compare import compare_runs

    settings = _settings(tracking_uri=tracking_uri)
    compare_runs(run_a, run_b, settings, as_json=as_json, opening=opening, output=output)


@click.command(cls=Command)
@click.argument("what", metavar="RUN|CHECK")
@_tracking_uri
def explain(what: str, tracking_uri: str | None) -> None:
    """Show why a run has its tags, or what a check looks for."""
    from backslide_detector.checks.manual import pages

    found = pages()
    if what in found:
        click.echo(f"{what}\n{'=' * len(what)}\n\n{found[what]}")
        return
    if not re.fullmatch(r"[0-9a-f]{32}", what):
        near = get_close_matches(what, found, n=1)
        mend = f"did you mean {near[0]}?" if near else "`backslide checks` lists the checks"
        raise UserError(f"{what!r} is neither a check nor a run id: {mend}")
    from backslide_detector.commands.explain import explain_run

    explain_run(what, _settings(tracking_uri=tracking_uri))


@click.command(cls=_Gate)
@click.argument("run")
@click.option("--wait", type=float, default=0.0, metavar="SECONDS", help="For the verdict.")
@click.option("--junit", type=_FILE, help="Also write the answer as JUnit XML.")
@_tracking_uri
def gate(run: str, wait: float, junit: Path | None, tracking_uri: str | None) -> None:
    """Pass or stop a pipeline: exit 0 passes, 1 regressed or failing, 2 no verdict."""
    from backslide_detector.commands.gate import pass_or_stop

    sys.exit(pass_or_stop(run, _settings(tracking_uri=tracking_uri), wait=wait, junit=junit))


@click.command(cls=Command)
def checks() -> None:
    """List the checks; `backslide explain CHECK` shows a page."""
    from backslide_detector.checks.manual import pages

    found = pages()
    width = max(map(len, found))
    for name, page in found.items():
        click.echo(f"{name:<{width}}  {page.splitlines()[0]}")


@click.command(cls=Command)
@click.argument("run")
@_why
@_who
@_tracking_uri
@_state
def accept(run: str, **said: str | None) -> None:
    """Let later retrains be measured against RUN, whatever its verdict."""
    _decide(run, "accepted", **said)


@click.command(cls=Command)
@click.argument("run")
@_why
@_who
@_tracking_uri
@_state
def reject(run: str, **said: str | None) -> None:
    """Let no later retrain be measured against RUN, whatever its verdict."""
    _decide(run, "rejected", **said)


def _decide(
    run: str,
    decision: Literal["accepted", "rejected"],
    *,
    why: str | None,
    who: str | None,
    tracking_uri: str | None,
    state: str | None,
) -> None:
    from backslide_detector.commands.decide import decide

    decide(run, decision, _settings(tracking_uri=tracking_uri, state=state), why=why, who=who)


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--repeat", type=click.IntRange(2, 1_000), default=4, show_default=True)
@_tracking_uri
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def noise(repeat: int, tracking_uri: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND several times with other seeds and say how much retrains differ by luck.

    The command finds its seed in the environment variable BACKSLIDE_SEED.
    """
    from backslide_detector.commands.noise import measure_noise

    measure_noise(command, repeat, _settings(tracking_uri=tracking_uri))


@click.command(cls=Command)
@click.argument("run")
@_tracking_uri
def attribute(run: str, tracking_uri: str | None) -> None:
    """Print the runs that settle what caused RUN's difference, or what they have shown."""
    from backslide_detector.commands.attribute import attribute_difference

    attribute_difference(run, _settings(tracking_uri=tracking_uri))


def _settings(**flags: object) -> "Settings":
    from backslide_detector.settings import load

    return load(**flags)
