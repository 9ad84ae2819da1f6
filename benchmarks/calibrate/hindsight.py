"""Associations: what is said to have gone with the error of earlier retrains."""

import numpy as np
from benchmarks.calibrate.rates import rate

from backslide.contract import Cause
from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.association import look_back
from backslide_detector.retrain.history import PastRun

NOISE = 0.00122
TIMES = 400


def quiet(random, n):
    """Nothing but the noise of each retrain."""
    return np.zeros(n)


def wandering(random, n):
    """What nobody logged moves the level a little with every retrain, and stays."""
    return np.cumsum(random.normal(0, NOISE, n))


def stepping(random, n):
    """One retrain in twenty is better or worse for good, for a reason that nobody logged."""
    size = random.choice([-1, 1], n) * random.uniform(0.003, 0.010, n)
    return np.cumsum(np.where(random.random(n) < 0.05, size, 0.0))


def regressing(random, n):
    """One retrain in ten is worse, and mended in the next."""
    return np.where(random.random(n) < 0.1, random.uniform(0.003, 0.010, n), 0.0)


def lineage(random, n, level, rate_effect):
    """A rate that changes now and then, a flag, code, growing data, one new machine."""
    rates, flags = random.choice([0.1, 0.01, 0.001], n), random.random(n) < 0.5
    changes = random.random((4, n))
    held = np.maximum.accumulate(np.where(changes[0] < 0.3, np.arange(n), 0))
    rates, moved = rates[held], int(random.integers(2, n - 2))
    commits = np.cumsum(changes[1] < 0.5)
    rows = 1_000 + np.cumsum(np.where(changes[2] < 0.7, random.integers(1, 500, n), 0))
    errors = 0.06 + level(random, n) + random.normal(0, NOISE, n)
    errors += rate_effect * np.log10(rates / 0.1) / -2
    return [
        PastRun(
            str(i), str(i), float(i), lineage="one",
            error=ErrorRate("test", float(errors[i]), 10_000, "x"),
            made_from={
                Cause.CONFIG: {"parameter lr": str(rates[i]), "parameter flag": str(flags[i])},
                Cause.CODE: {"git commit": f"c{commits[i]}"},
                Cause.DATA: {"train rows": str(rows[i]), "train content": f"d{rows[i]}"},
                Cause.ENVIRONMENT: {"device": "new" if i >= moved else "old"},
            },
        )
        for i in range(n)
    ]  # fmt: skip


def associated():
    """How often anything is said where nothing goes with the error, and what is found."""
    name = "Associations over earlier retrains, five things changing, noise 0.122 points"
    random = np.random.default_rng(505)
    for n in (15, 30, 100):
        for level in (quiet, wandering, stepping, regressing):
            false = found = 0
            for effect in (0.0, 0.004):
                for _ in range(TIMES):
                    *history, new = lineage(random, n + 1, level, effect)
                    hindsight = look_back(new, history[-1], history)
                    shown = {r.what for r in hindsight.associated if r.pvalue < 0.05}
                    false += bool(shown) if not effect else 0
                    found += ("parameter lr",) in shown if effect else 0
            case = f"{n} retrains, {level.__name__}"
            yield rate(name, case, "anything said, nothing there", false, TIMES, at_most=0.05)
            yield rate(name, case, "0.4 points of the parameter said", found, TIMES)
