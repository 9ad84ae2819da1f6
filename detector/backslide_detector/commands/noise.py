"""`backslide noise`: how much retrains of one recipe differ by luck alone."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from statistics import mean
from typing import Final

import click
from rich.console import Console
from rich.progress import track

from backslide.contract import Tag
from backslide_detector.commands.tracking import open_store
from backslide_detector.errors import UserError
from backslide_detector.past import from_head
from backslide_detector.retrain.history import SEED_NAMES, PastRun
from backslide_detector.retrain.noise import prior_sd
from backslide_detector.settings import Settings
from backslide_detector.stats.predictive import pooled_spread, predictive_interval
from backslide_detector.store import Store

ARRIVAL_SECONDS: Final = 60.0
"""How long a run may take to arrive at the server after its command has ended."""
POLL_SECONDS: Final = 1.0


def measure_noise(command: Sequence[str], repeat: int, settings: Settings) -> None:
    """Runs the command `repeat` times with other seeds and says how the errors differ.

    Raises:
        UserError: the command failed, or its runs did not arrive or state no error.
    """
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
