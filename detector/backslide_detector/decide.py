"""`backslide accept` and `backslide reject`: a person overrules what the detector concluded."""

import getpass

import click

from backslide.contract import Tag
from backslide_detector.cli import (
    Command,
    find_run,
    log_to_stderr,
    open_store,
    state_option,
    tracking_uri_option,
)
from backslide_detector.ledger import Ledger
from backslide_detector.settings import load
from backslide_detector.store import Writes

_why = click.option("--why", metavar="TEXT", help="The reason, for whoever asks later.")
_who = click.option("--who", metavar="NAME", help="Who decides; default: the login name.")


@click.command(cls=Command)
@click.argument("run")
@_why
@_who
@tracking_uri_option
@state_option
def accept(
    run: str, why: str | None, who: str | None, tracking_uri: str | None, state: str | None
) -> None:
    """Let later retrains be measured against RUN, whatever its verdict."""
    _decide(run, "accepted", why, who, tracking_uri, state)


@click.command(cls=Command)
@click.argument("run")
@_why
@_who
@tracking_uri_option
@state_option
def reject(
    run: str, why: str | None, who: str | None, tracking_uri: str | None, state: str | None
) -> None:
    """Let no later retrain be measured against RUN, whatever its verdict."""
    _decide(run, "rejected", why, who, tracking_uri, state)


def _decide(  # noqa: PLR0917  # the options of the two commands, as they come
    run: str,
    decision: str,
    why: str | None,
    who: str | None,
    tracking_uri: str | None,
    state: str | None,
) -> None:
    """Into the ledger, which keeps who and when, and onto the run, where all can see it."""
    log_to_stderr(30)
    settings = load(tracking_uri=tracking_uri, state=state)
    store = open_store(settings)
    head = find_run(store, run)
    ledger = Ledger.open(settings.state, "person")
    try:
        ledger.decide(head.run_id, decision, who or _login(), why)
    finally:
        ledger.close()
    # A detector with a ledger of its own goes by the tag.
    store.write(head.run_id, Writes(tags={Tag.DECISION: decision}))
    click.echo(f"{head.name} is {decision}; it counts from the next retrain on.")


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container with a bare user id
        return "unknown"
