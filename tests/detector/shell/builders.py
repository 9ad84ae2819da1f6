"""Runs and detectors in memory, for tests of the shell."""

from pathlib import Path
from typing import Any

import numpy as np

from backslide_detector.act.channels import LogChannel
from backslide_detector.detector import Detector
from backslide_detector.evidence import ErrorRate, RunEvidence, Series
from backslide_detector.executors import Inline
from backslide_detector.ledger import Ledger
from backslide_detector.ledger.outbox import Alert
from backslide_detector.store.memory import MemoryStore

STARTED = 1_700_000_000.0
URI = "http://tracker.test"


def series(*values: float) -> Series:
    steps = np.arange(len(values))
    return Series(steps, np.array(values, dtype=float), STARTED + steps)


def a_run(number: int, error: float | None = 0.05, **changes: Any) -> RunEvidence:
    """The `number`-th retrain of a lineage: 2,000 test examples, a loss that falls."""
    logged = {"loss": series(*(2.0 * 0.9**step for step in range(40)))}
    if error is not None:
        logged["test_error"] = series(error)
    values: dict[str, Any] = {
        "run_id": f"{number:032x}",
        "name": f"retrain-{number}",
        "experiment_id": "1",
        "status": "FINISHED",
        "started": STARTED + 100.0 * number,
        "ended": STARTED + 100.0 * number + 50.0,
        "lineage": "digits",
        "params": {"test_examples": "2000"},
        "tags": {"backslide.lineage": "digits"},
        "series": logged,
        "error": None if error is None else ErrorRate("test", error, 2_000, "test_error"),
    }
    return RunEvidence(**(values | changes))


def a_store(*runs: RunEvidence) -> MemoryStore:
    store = MemoryStore()
    for run in runs:
        store.add(run)
    return store


class Mailbox:
    """A channel that keeps what it gets."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def send(self, alert: Alert) -> None:
        self.alerts.append(alert)


def a_ledger(folder: Path, owner: str = "one") -> Ledger:
    return Ledger.open(f"sqlite:///{folder / 'ledger.db'}", owner)


def a_detector(store: Any, ledger: Ledger, **changes: Any) -> Detector:
    parts = {
        "store": store,
        "ledger": ledger,
        "executor": Inline(),
        "channels": {"log": LogChannel(), "mail": Mailbox()},
        "uri": URI,
    }
    return Detector(**(parts | changes))
