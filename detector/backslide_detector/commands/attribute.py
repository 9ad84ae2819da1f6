"""`backslide attribute`: the runs that settle what caused a difference, and what they show."""

from collections.abc import Mapping, Sequence

import click

from backslide.contract import Tag
from backslide_detector.commands.tracking import find_run, open_store
from backslide_detector.errors import UserError
from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Change
from backslide_detector.past import from_head
from backslide_detector.retrain.ablation import Settled, belongs_to, settle, spread_of_losses
from backslide_detector.retrain.attribution import SEEDS, Mix
from backslide_detector.retrain.commands import commands
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.verdict import judge_retrain
from backslide_detector.settings import Settings
from backslide_detector.wording import count


def attribute_difference(run: str, settings: Settings) -> None:
    """Prints the runs that are missing, after what those at hand have shown.

    Raises:
        UserError: there is no such run, or it was not compared with anything yet.
    """
    store = open_store(settings)
    head = find_run(store, run)
    baseline = head.tags.get(Tag.COMPARED_TO)
    if not baseline:
        raise UserError(f"{head.name} was not compared with anything yet, so nothing is open")
    new, old = store.read(head), store.read(find_run(store, baseline))
    verdict = judge_retrain(new, old)
    changed = verdict.changed
    extra = []
    for other in store.lineage(head.lineage) if head.lineage else []:
        mix = _mix(other.tags, head.run_id)
        if mix is not None and other.status == "FINISHED":
            extra.append((mix, from_head(other, settings.metrics)))
    settled = settle(
        PastRun.of(new),
        PastRun.of(old),
        changed,
        extra,
        discordant=verdict.model.discordant,
        prior=spread_of_losses(verdict),
    )
    if settled is None:
        script = new.provenance.source or "train.py"
        click.echo(
            f"Nothing but luck is known to differ between {old.name} and {new.name}. How much "
            f"luck does:\n\nbackslide noise --repeat {SEEDS} -- python {script}"
        )
        return
    _say_settled(settled, new, old, changed)


def _say_settled(
    settled: Settled, new: RunEvidence, old: RunEvidence, changed: Sequence[Change]
) -> None:
    """What the runs have shown, then the runs that are missing, fresh seeds first."""
    for sentence in settled.sentences:
        click.echo(sentence)
    if settled.sentences:
        guilty = ", ".join(cause.value for cause in settled.guilty)
        click.echo(f"Cause: {guilty}." if guilty else "No change is shown to be the cause.")
    if settled.first:
        click.echo(
            "\nFirst, whether the gap stays with fresh seeds: a run that raised a question "
            f"looks worse than it is.\n\n{commands(new, old, settled.first, changed)}"
        )
    if settled.missing:
        runs = sum(extra.times for extra in settled.missing)
        what = "tell the guilty group apart" if settled.shares else "settle what caused it"
        click.echo(
            f"\nThen {count(runs, 'run')} to {what}:\n\n"
            f"{commands(new, old, settled.missing, changed)}"
        )
    if settled.first or settled.missing:
        click.echo(
            "\nThe detector counts them in as they finish, and judges the run again after each."
        )


def _mix(tags: Mapping[str, str], of: str) -> Mix | None:
    found = belongs_to(tags)
    return found[1] if found is not None and found[0] == of else None
