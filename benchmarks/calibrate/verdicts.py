"""Whole verdicts: what is said, how often, and how fast."""

import time

import numpy as np
from benchmarks.calibrate.rates import mean, rate

from backslide.contract import Verdict
from backslide_detector.evidence import ErrorRate, Predictions, RunEvidence
from backslide_detector.retrain.verdict import judge_retrain


def run(name, predictions):
    """A finished run with predictions and nothing else."""
    error = ErrorRate("test", predictions.error, len(predictions), "predictions")
    return RunEvidence(
        name, name, "0", "FINISHED", 0.0, 1.0, "lineage",
        predictions={"test": predictions}, error=error,
    )  # fmt: skip


def outcomes(correct, ids, targets, **extra):
    """Predictions that are right where `correct` says so."""
    return Predictions(ids, targets, np.where(correct, targets, "x"), correct, **extra)


def said():
    """What judge_retrain says of 10,000 common examples, 3 % of them discordant."""
    name = "What a verdict says (n 10,000, 3 % discordant, 200 retrains each)"
    random = np.random.default_rng(300)
    n, times = 10_000, 200
    ids = np.array([f"id{i}" for i in range(n)], dtype=object)
    targets = np.full(n, "a", dtype=object)
    for change in (0.0, 0.002, 0.005, 0.010):
        verdicts = []
        for _ in range(times):
            base = random.random(n)
            old = base >= 0.035
            new = old.copy()
            new[base < 0.015 - change / 2] = True
            new[(base >= 0.035) & (base < 0.050 + change / 2)] = False
            pair = (
                run("new", outcomes(new, ids, targets)),
                run("old", outcomes(old, ids, targets)),
            )
            verdicts.append(judge_retrain(*pair).verdict)
        case = f"{100 * change:.1f} points worse"
        for verdict in (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.EQUIVALENT,
                        Verdict.INCONCLUSIVE):  # fmt: skip
            share = sum(v is verdict for v in verdicts)
            limit = 0.05 if change == 0 and verdict in ("regressed", "improved") else None
            yield rate(name, case, str(verdict), share, times, at_most=limit)


def speed():
    """Time of one verdict with slices, confidence and loss, ids in any order."""
    name = "Time of one verdict with 30 slices in 5 columns, CPU seconds"
    for n, limit, times in ((10_000, 0.05, 15), (1_000_000, 2.0, 3)):
        order = np.random.default_rng(302).permutation(n)
        seconds = []
        for _ in range(times):
            # Made anew: what one verdict has found out must not serve the next.
            new, old = run("new", logged(order, 1)), run("old", logged(np.arange(n), 2))
            start = time.process_time()
            judge_retrain(new, old)
            seconds.append(time.process_time() - start)
        yield mean(name, f"{n:,} common examples", "seconds", seconds, at_most=limit)


def logged(rows, seed):
    """Predictions on the examples `rows`, as one run's file would hold them."""
    random = np.random.default_rng(seed)
    n = len(rows)
    # Strings are made here, so that they lie in memory in the order of this run's rows.
    ids = np.array([f"{row * 2654435761 % 2**61:032x}" for row in rows.tolist()], dtype=object)
    targets = np.array(list("0123456789"), dtype=object)[rows % 10]
    groups = np.array(list("abcdef"), dtype=object)
    return outcomes(
        random.random(n) > 0.03,
        ids,
        targets,
        loss=random.exponential(1, n),
        score=random.random(n),
        slices={f"s{i}": groups[rows // 7**i % 6] for i in range(5)},
    )
