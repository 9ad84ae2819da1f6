"""`backslide accept` and `backslide reject`: a person overrules what the detector concluded."""

import getpass
from typing import Literal

import click

from backslide.contract import Tag
from backslide_detector.commands.tracking import find_run, open_store
from backslide_detector.ledger import Ledger
from backslide_detector.settings import Settings
from backslide_detector.store import Writes


def decide(
    run: str,
    decision: Literal["accepted", "rejected"],
    settings: Settings,
    *,
    why: str | None,
    who: str | None,
) -> None:
    """Into the ledger, which keeps who and when, and onto the run, where all can see it."""
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
