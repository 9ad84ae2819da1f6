"""Slices, given and discovered: what is named where nothing is, and what is found."""

import numpy as np
from benchmarks.calibrate.rates import mean, rate
from benchmarks.calibrate.verdicts import outcomes

from backslide_detector.retrain.behaviour import compare_behaviour

ERROR = 0.05
AGREE = 0.5
"""Share of their errors that two models of one recipe make on the same examples."""
COLUMNS = {"light": 2, "lens": 4, "site": 5, "weather": 10}
ALPHA = 0.05
TIMES = 200


def examples(random, n):
    """Ids and columns of a test set; every value of a column is as common as the others."""
    ids = np.array([f"{number:016x}" for number in random.integers(0, 2**62, n)], dtype=object)
    columns = {
        name: np.array([f"{name} {value}" for value in range(size)], dtype=object)[
            random.integers(0, size, n)
        ]
        for name, size in COLUMNS.items()
    }
    return ids, columns


def compared(random, n, shift=0.0, planted=None, more=0.0):
    """Two models: `shift` more errors everywhere, `more` of them in the planted crossing."""
    ids, columns = examples(random, n)
    hard = random.random(n) < ERROR * AGREE
    old = hard | (random.random(n) < ERROR * (1 - AGREE))
    inside = np.ones(n, dtype=bool)
    for name, value in (planted or {}).items():
        inside &= columns[name] == f"{name} {value}"
    rates = ERROR * (1 - AGREE) + shift + np.where(inside, more if planted else 0.0, 0.0)
    new = hard | (random.random(n) < rates)
    targets = np.full(n, "a", dtype=object)
    tables = (outcomes(~wrong, ids, targets, slices=columns) for wrong in (new, old))
    return compare_behaviour(*tables)


def given():
    """Every value of four columns, Holm-adjusted together."""
    name = "Slices of given columns, 21 in four, Holm within a retrain"
    random = np.random.default_rng(506)
    for n in (300, 1_000, 10_000):
        rows = [compared(random, n).slices for _ in range(TIMES)]
        hits = sum(any(row.pvalue < ALPHA for row in table) for table in rows)
        yield rate(name, f"n {n:,}, nothing changed", "any slice named", hits, TIMES,
                   at_most=ALPHA)  # fmt: skip
    for n, more in ((1_000, 0.10), (10_000, 0.03)):
        found = others = 0
        for _ in range(TIMES):
            table = compared(random, n, planted={"weather": 3}, more=more).slices
            named = {row.group for row in table if row.pvalue < ALPHA}
            found += "weather 3" in named
            others += any(group.startswith("weather") for group in named - {"weather 3"})
        case = f"n {n:,}, one of ten values worse by {100 * more:g} points"
        yield rate(name, case, "found", found, TIMES)
        yield rate(name, case, "another value of its column named", others, TIMES,
                   at_most=ALPHA)  # fmt: skip


def discovered():
    """Crossings that nobody named, searched on one half and held to the other."""
    name = "Discovered slices, crossings of four columns, n 10,000"
    random = np.random.default_rng(507)
    n = 10_000
    for shift in (0.0, 0.01, 0.03):
        rows = [compared(random, n, shift=shift).discovered for _ in range(TIMES)]
        hits = sum(any(row.pvalue < ALPHA for row in table) for table in rows)
        case = f"no slice differs, {100 * shift:g} points worse everywhere"
        yield rate(name, case, "any crossing named", hits, TIMES, at_most=ALPHA)
    for planted, share in (({"lens": 1, "site": 2}, 5), ({"light": 1, "site": 2}, 10)):
        for more in (0.03, 0.05, 0.10):
            for shift in (0.0, 0.01):
                found, false, other = 0, [], []
                for _ in range(TIMES // 2):
                    table = compared(random, n, shift, planted, more).discovered
                    named = [row for row in table if row.pvalue < ALPHA]
                    right = sum(_is(row, planted) for row in named)
                    found += right > 0
                    other.append(1 - right / len(named) if named else 0.0)
                    touched = sum(_touches(row, planted) for row in named)
                    false.append(1 - touched / len(named) if named else 0.0)
                case = f"{share} % worse by {100 * more:g} points"
                case += f", all by {100 * shift:g}" if shift else ""
                yield rate(name, case, "found", found, TIMES // 2)
                yield mean(name, case, "false discovery rate", false, at_most=ALPHA)
                yield mean(name, case, "share of another crossing, true or false", other)


def _values(row):
    """Column -> value of a crossing."""
    return dict(zip(row.column.split(" & "), row.group.split(" & "), strict=True))


def _is(row, planted):
    """True for the planted crossing, or a part of it."""
    return all(_values(row).get(name) == f"{name} {value}" for name, value in planted.items())


def _touches(row, planted):
    """True for crossings that hold more of the planted one than all else does."""
    return any(_values(row).get(name) == f"{name} {value}" for name, value in planted.items())
