"""Trains a lineage of models on real data while backslide watches and judges.

Nothing here says what the verdicts should be: they are read back from MLflow.
"""

import json
import os
import secrets
import shutil
import sys
import time
from argparse import ArgumentParser
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backslide.contract import SHARED_VIEW_TAG, Metric, Tag
from demo import digits as data
from demo.digits import Digits
from demo.receiver import Receiver
from demo.services import services
from demo.train import Recipe, train

ROOT = Path(".demo")
VERDICT_SECONDS = 90

FIRST = Recipe(epochs=6, lr=1e-3)
BETTER = Recipe(epochs=25, lr=1e-3)
SPIKED = Recipe(epochs=25, lr=1e-3, spike_at=200)


@dataclass(frozen=True)
class Chapter:
    """One training run of the story."""

    name: str
    about: str
    recipe: Recipe
    digits: Digits
    seed: int


def story(digits: Digits) -> tuple[Chapter, ...]:
    """Five retrains: what an ordinary half year of a model looks like, and two bad days."""
    corrupted = data.with_swapped_labels(digits, 3, 8, share=0.4)
    return (
        Chapter("first-model", "the first model", FIRST, digits, seed=0),
        Chapter("same-recipe", "the same recipe, another seed", FIRST, digits, seed=1),
        Chapter("longer-training", "a better recipe", BETTER, digits, seed=1),
        Chapter(
            "new-labels", "new data, labels of 3 and 8 partly swapped", BETTER, corrupted, 1
        ),
        Chapter("rate-spike", "learning rate wrong for three steps", SPIKED, digits, seed=1),
    )


def main() -> int:
    """Tells the story; 0 when every run got its verdict."""
    ArgumentParser(prog="python -m demo", description=__doc__).parse_args()
    terminal, messages = Console(), Console(stderr=True)
    if not terminal.is_terminal:
        terminal.width = 140
    torch.set_num_threads(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    receiver = Receiver()
    secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
    os.environ.setdefault("BACKSLIDE_SPOOL_DIR", str((ROOT / "spool").resolve()))
    with ExitStack() as stack:
        with messages.status("Starting tracker and detector (backslide up) ..."):
            uri = stack.enter_context(services(ROOT, receiver.url, secret))
        run_ids = _train_all(messages, uri)
        client = MlflowClient(uri)
        runs = [client.get_run(run_id) for run_id in run_ids]
        _wait_for_alerts(receiver)
        _show(terminal, uri, runs, receiver.alerts)
        judged = all(Tag.VERDICT in run.data.tags for run in runs)
        if judged and sys.stdin.isatty() and os.environ.get("CI") != "true":
            _serve(terminal)
        return 0 if judged else 1


def _train_all(messages: Console, uri: str) -> list[str]:
    run_ids = []
    digits = data.load()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[verdict]}"),
    )
    with Progress(*columns, console=messages) as progress:
        for chapter in story(digits):
            batches = -(-len(chapter.digits.x_train) // chapter.recipe.batch_size)
            progress.print(f"{chapter.name}: {chapter.about}")
            task = progress.add_task(
                chapter.name, total=chapter.recipe.epochs * batches, verdict=""
            )
            run = train(
                chapter.name,
                chapter.recipe,
                chapter.digits,
                seed=chapter.seed,
                tracking_uri=uri,
                on_step=lambda task=task: progress.advance(task),
            )
            progress.update(task, verdict="being judged")
            verdict = run.verdict(timeout=VERDICT_SECONDS)
            progress.update(task, verdict=verdict.verdict if verdict else "no verdict")
            if run.id is None:
                raise RuntimeError(f"the tracker never took the run; see {ROOT / 'up.log'}")
            run_ids.append(run.id)
    return run_ids


def _wait_for_alerts(receiver: Receiver, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not receiver.alerts and time.monotonic() < deadline:
        time.sleep(0.2)


def _show(terminal: Console, uri: str, runs: list[Any], alerts: list[dict[str, Any]]) -> None:
    table = Table(title="backslide verdicts", show_lines=True)
    for heading in ("run", "error", "verdict", "findings", "cause", "change of error (95 %)"):
        table.add_column(heading, overflow="fold")
    for run in runs:
        tags, metrics = run.data.tags, run.data.metrics
        table.add_row(
            run.info.run_name,
            f"{metrics['test/error']:.2%}" if "test/error" in metrics else "",
            tags.get(Tag.VERDICT, "none yet"),
            tags.get(Tag.FINDINGS, "") or tags.get(Tag.HEALTH, ""),
            tags.get(Tag.CAUSE, ""),
            _interval(metrics),
        )
    terminal.print(table)
    for run in runs:
        terminal.print(
            f"[bold]{run.info.run_name}[/bold]: {run.data.tags.get(Tag.SUMMARY, '')}"
        )
        terminal.print(_run_url(uri, run), style="blue", soft_wrap=True)
    experiment = runs[0].info.experiment_id
    view = SHARED_VIEW_TAG.rpartition(".")[2]
    terminal.print(
        f"\nAll runs with their verdicts: {uri}/#/experiments/{experiment}/runs"
        f"?viewStateShareKey={view}&workflowType=machine_learning",
        soft_wrap=True,
    )
    terminal.print(f"\nAlerts that went to the webhook: {len(alerts)}")
    for alert in alerts:
        terminal.print_json(json.dumps(alert))


def _interval(metrics: dict[str, float]) -> str:
    if Metric.ERROR_DELTA not in metrics:
        return ""
    delta, low, high = (
        100 * metrics.get(key, float("nan"))
        for key in (Metric.ERROR_DELTA, Metric.ERROR_DELTA_LOW, Metric.ERROR_DELTA_HIGH)
    )
    return f"{delta:+.2f} points ({low:+.2f} to {high:+.2f})"


def _run_url(uri: str, run: Any) -> str:
    return (
        f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
        "?workflowType=machine_learning"
    )


def _serve(terminal: Console) -> None:
    terminal.print("\nThe tracker keeps serving. Click a link above; Ctrl-C stops it.")
    try:
        while True:
            time.sleep(3_600)
    except KeyboardInterrupt:
        terminal.print("Stopping.")


if __name__ == "__main__":
    sys.exit(main())
