"""`backslide explain RUN`: why a run has its tags."""

import click
from rich.console import Console
from rich.markdown import Markdown

from backslide.contract import NOTE_BEGIN, NOTE_END, Tag
from backslide_detector.commands.tracking import find_run, open_store
from backslide_detector.errors import UserError
from backslide_detector.settings import Settings


def explain_run(run_id: str, settings: Settings) -> None:
    """Prints the note that the detector wrote onto the run.

    Raises:
        UserError: there is no such run, or it is not judged yet.
    """
    head = find_run(open_store(settings), run_id)
    if Tag.HEALTH not in head.tags:
        raise UserError(f"{head.name} is not judged yet; `backslide detector scan` judges it")
    verdict = head.tags.get(Tag.VERDICT, "still training")
    click.echo(f"{head.name}: {verdict}, {head.tags[Tag.HEALTH]}")
    note = head.tags.get(Tag.NOTE, "").partition(NOTE_BEGIN)[2].partition(NOTE_END)[0]
    Console().print(Markdown(note or head.tags.get(Tag.SUMMARY, "")))
