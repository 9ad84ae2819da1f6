"""Alerts about classes and slices: how many are false over a stream, how many missed."""

import numpy as np
from benchmarks.calibrate.rates import mean, rate

from backslide_detector.retrain.groups import GroupChange
from backslide_detector.retrain.parts import of_flips
from backslide_detector.stats.online import OnlineTest

SLICES, EXAMPLES, FLIPPED = 30, 333, 0.03
RETRAINS, STREAMS = 300, 30
BAD, LEAST, MOST = 0.08, 0.04, 0.10
"""Share of retrains with one slice that is worse, and by how much."""
QUIET_STREAMS, QUIET_RETRAINS = 200, 60


def flips(random):
    """Newly wrong and newly right examples of every slice of a harmless retrain."""
    return random.binomial(EXAMPLES, FLIPPED / 2, (SLICES, 2))


def tested(counts):
    """The slices as the stream gets them."""
    zero = (0.0, 0.0)
    rows = [
        GroupChange("place", str(place), EXAMPLES, *zero, int(fixed), int(broken), zero, 1.0)
        for place, (broken, fixed) in enumerate(counts)
    ]
    return of_flips(rows)


def told():
    """False discoveries and power of alerts, beside what a table alone would tell."""
    name = f"Alerts about {SLICES} slices of {EXAMPLES}, one in {1 / BAD:.0f} retrains real"
    random = np.random.default_rng(881)
    false_shares, false_each, powers, table_shares = [], [], [], []
    for _ in range(STREAMS):
        test = OnlineTest()
        hits = false = real = table_hits = table_false = 0
        for _ in range(RETRAINS):
            counts, bad = flips(random), random.random() < BAD
            where = random.integers(SLICES)
            if bad:
                more = random.binomial(EXAMPLES, random.uniform(LEAST, MOST))
                counts[where, 0] += more
            groups = tested(counts)
            spent = test.spend(groups.worse)
            named = {s.name for s in groups.suspects if s.pvalue <= spent.level}
            right = f"place = {where}" if bad else None
            real += bad
            hits += right in named
            false += len(named - {right})
            shown = {s.name for s in groups.suspects if s.pvalue < 0.05}
            table_hits += right in shown
            table_false += len(shown - {right})
        false_shares.append(false / max(false + hits, 1))
        false_each.append(false)
        powers.append(hits / max(real, 1))
        table_shares.append(table_false / max(table_false + table_hits, 1))
    case = f"{RETRAINS} retrains, one slice {100 * LEAST:.0f} to {100 * MOST:.0f} points worse"
    yield mean(name, case, "false share of slices named", false_shares, at_most=0.05)
    yield mean(name, case, "slices falsely named in all", false_each)
    yield mean(name, case, "power", powers, at_least=0.4)
    yield mean(name, case, "false share by the table alone (Holm)", table_shares)
    any_told = 0
    for _ in range(QUIET_STREAMS):
        test = OnlineTest()
        any_told += any(
            test.spend(tested(flips(random)).worse).rejected for _ in range(QUIET_RETRAINS)
        )
    case = f"{QUIET_RETRAINS} retrains, nothing worse"
    yield rate(name, case, "streams with any alert", any_told, QUIET_STREAMS, at_most=0.05)
