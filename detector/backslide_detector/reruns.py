"""`backslide noise` and `backslide attribute`: what a few extra runs tell."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Final

import click
from rich.console import Console
from rich.progress import track

from backslide.contract import Tag
from backslide_detector.cli import (
    Command,
    find_run,
    log_to_stderr,
    open_store,
    tracking_uri_option,
)
from backslide_detector.errors import UserError
from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Change
from backslide_detector.past import from_head
from backslide_detector.retrain.ablation import Settled, belongs_to, settle, spread_of_losses
from backslide_detector.retrain.attribution import SEEDS, Mix
from backslide_detector.retrain.commands import commands
from backslide_detector.retrain.history import SEED_NAMES, PastRun
from backslide_detector.retrain.noise import prior_sd
from backslide_detector.retrain.verdict import judge_retrain
from backslide_detector.settings import Settings, load
from backslide_detector.stats.predictive import pooled_spread, predictive_interval
from backslide_detector.store import Store

ARRIVAL_SECONDS: Final = 60.0
"""How long a run may take to arrive at the server after its command has ended."""
POLL_SECONDS: Final = 1.0


@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--repeat", type=click.IntRange(2, 1_000), default=4, show_default=True)
@tracking_uri_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def noise(repeat: int, tracking_uri: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND several times with other seeds and say how much retrains differ by luck.

    The command finds its seed in the environment variable BACKSLIDE_SEED.
    """
    log_to_stderr(logging.WARNING)
    settings = load(tracking_uri=tracking_uri)
    store = open_store(settings)
    # Seeds that nobody else uses today, so that the runs are found among all others.
    first = int(time.time()) % 1_000_000_000
    tagged = json.loads(os.environ.get("MLFLOW_RUN_CONTEXT", "{}")) | {Tag.REPEAT: str(first)}
    # The first is read by backslide.start, the second by mlflow.start_run.
    repeat_of = {"BACKSLIDE_REPEAT": str(first), "MLFLOW_RUN_CONTEXT": json.dumps(tagged)}
    found: list[PastRun] = []
    messages = Console(stderr=True)
    for seed in track(range(first, first + repeat), "Training ...", console=messages):
        started = time.time()
        # The command is the user's own, and it is what was asked for.
        done = subprocess.run(  # noqa: S603
            command,
            env=os.environ | repeat_of | {"BACKSLIDE_SEED": str(seed)},
            stdout=messages.file.fileno() if messages.file.isatty() else subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise UserError(f"the command failed with exit status {done.returncode}")
        found.append(_arrived(store, settings, str(seed), started))
    rates = [run.error.rate for run in found if run.error is not None]
    if len(rates) < len(found):
        raise UserError("a run states no error; log test/error or call run.evaluate()")
    sizes = {run.error.examples for run in found if run.error is not None}
    _say_noise(rates, max((size for size in sizes if size), default=None))


def _arrived(store: Store, settings: Settings, seed: str, since: float) -> PastRun:
    """The run that was started with a seed, once it has ended."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while time.monotonic() < deadline:
        for head in store.changed(time.time()):
            seeds = {head.tags.get(Tag.SEED)}
            seeds |= {v for k, v in head.params.items() if k.lower() in SEED_NAMES}
            if seed in seeds and head.started >= since - 60 and head.status != "RUNNING":
                return from_head(head, settings.metrics)
        time.sleep(POLL_SECONDS)
    raise UserError(
        f"no finished run with the seed {seed} came to {settings.tracking_uri}; the command "
        "must use BACKSLIDE_SEED (backslide.start() does unless it is given a seed)"
    )


def _say_noise(rates: list[float], examples: int | None) -> None:
    listed = ", ".join(f"{100 * rate:.2f}" for rate in rates)
    click.echo(f"{len(rates)} retrains of one recipe: {listed} % errors.")
    if max(rates) == min(rates):
        click.echo("All are the same: does the command use BACKSLIDE_SEED?")
    prior = prior_sd(examples, mean(rates), None) if examples else 0.0
    spread = pooled_spread([rates], prior)
    low, high = predictive_interval(rates, prior)
    click.echo(
        f"Retrains differ by about {100 * spread.sd:.2f} points (standard deviation); the next "
        f"one should make {100 * max(low, 0):.2f} to {100 * high:.2f} % errors (95 %). "
        "Verdicts of this lineage use it from now on."
    )


@click.command(cls=Command)
@click.argument("run")
@tracking_uri_option
def attribute(run: str, tracking_uri: str | None) -> None:
    """Print the runs that settle what caused RUN's difference, or what they have shown."""
    log_to_stderr(logging.WARNING)
    settings = load(tracking_uri=tracking_uri)
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
            f"\nThen {runs} runs {what}:\n\n{commands(new, old, settled.missing, changed)}"
        )
    if settled.first or settled.missing:
        click.echo(
            "\nThe detector counts them in as they finish, and judges the run again after each."
        )


def _mix(tags: Mapping[str, str], of: str) -> Mix | None:
    found = belongs_to(tags)
    return found[1] if found is not None and found[0] == of else None
