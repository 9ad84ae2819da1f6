"""What the checks say about one run, beside what they should say."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tests.zoo.cases import CASES, Case

from backslide_detector.checks.registry import run_checks
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Crashed, Found, Result, Severity

Job = tuple[int, int]
"""Place in `CASES`, and a seed."""


@dataclass(frozen=True)
class Judged:
    """One run's findings.

    Attributes:
        full: names of the findings, likeliest root cause first.
        least: the same from losses and layers alone.
        outcome: error on test data; for numbers the mean of squares over their variance; None
            where no test was made.
    """

    name: str
    half: str
    seed: int
    labels: tuple[str, ...]
    silent: bool
    full: tuple[str, ...]
    least: tuple[str, ...]
    outcome: float | None

    @property
    def what(self) -> str:
        """What was done to it."""
        return self.name.split("/")[1]

    @property
    def world(self) -> str:
        return self.name.split("/")[2]

    @property
    def well(self) -> bool:
        """An accepted label comes first, or the run is healthy and nothing was found."""
        return bool(set(self.full[:1]) & set(self.labels)) if self.labels else not self.full


def do(job: Job, keep: Path | None, *, judging: bool) -> Judged | None:
    """Records one run, and judges it if asked to."""
    found = evidence(job, keep)
    return judge(job[1], CASES[job[0]], found) if judging else None


def evidence(job: Job, keep: Path | None) -> RunEvidence:
    """A run's evidence; as kept from last time, where it is."""
    case, seed = CASES[job[0]], job[1]
    if keep is None:
        return case.run(seed)
    file = keep / f"{case.name.replace('/', '+')}+{seed}.pickle"
    if file.exists():
        return pickle.loads(file.read_bytes())
    found = case.run(seed)
    file.write_bytes(pickle.dumps(found))
    return found


def judge(seed: int, case: Case, run: RunEvidence) -> Judged:
    full, least = findings(run_checks(run)), findings(run_checks(bare(run)))
    done = outcome(run)
    return Judged(case.name, case.half, seed, case.labels, case.silent, full, least, done)


def outcome(run: RunEvidence) -> float | None:
    """How well the run ended, without any check's help."""
    test = run.predictions.get("test")
    if test is None or not len(test):
        return None
    if test.are_labels:
        return test.error
    return float(np.mean(test.losses) / np.var(test.targets.astype(np.float64)))


def findings(results: Sequence[Result]) -> tuple[str, ...]:
    """Names of what was found, likeliest root cause first; a crashed check is an error."""
    crashed = [r.outcome.traceback for r in results if isinstance(r.outcome, Crashed)]
    if crashed:
        raise RuntimeError(crashed[0])
    return tuple(
        r.check
        for r in results
        if isinstance(r.outcome, Found) and r.outcome.severity is not Severity.NOTE
    )


def bare(run: RunEvidence) -> RunEvidence:
    """The run as if nothing but its losses and layers had been recorded."""
    kept = {key: run.series[key] for key in ("loss", "val_loss") if key in run.series}
    return replace(run, data={}, predictions={}, series=kept)
