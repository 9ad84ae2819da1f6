"""Causes: what extra runs name, and whether changed inputs are told apart."""

import numpy as np
from benchmarks.calibrate.rates import known, mean, rate

from backslide.contract import Cause
from backslide_detector.evidence import ErrorRate
from backslide_detector.judgement import Change
from backslide_detector.retrain.ablation import settle
from backslide_detector.retrain.cause import KINDS
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.sentence import count
from backslide_detector.stats.domain_classifier import domain_classifier


def blamed():
    """Every run that `backslide attribute` asks for is run, until it asks for no more."""
    name = "Cause by extra runs, noise 0.122 points, through `settle`"
    times, repeats = 600, 20
    for kinds in (1, 2, 3, 4):
        for measured in (False, True):
            random = np.random.default_rng(503)
            factors = KINDS[:kinds]
            main, last = factors[0], factors[-1]
            how = f"noise known from {repeats} repeats, one seed" if measured else "as planned"
            if measured and kinds == 1:
                continue  # nothing to mix: fresh seeds are all there is
            cases = {"nothing changed": {}, f"{main} +0.4": {main: 0.004}}
            if kinds == 3:
                cases["data +0.4, code -0.2"] = {Cause.DATA: 0.004, Cause.CODE: -0.002}
            if kinds == 4:
                cases[f"{last} +0.4"] = {last: 0.004}
            for changed, effects in cases.items():
                right = false = runs = 0
                for _ in range(times):
                    named, asked = asked_for(random, factors, effects, repeats * measured)
                    right += bool(effects) and max(effects, key=effects.__getitem__) in named
                    false += bool(named - effects.keys())
                    runs += asked
                case = f"{count(kinds, 'kind')}, {how}: {changed}"
                if effects:
                    goal = 0.95 if kinds >= 3 else None
                    yield rate(name, case, "main one named", right, times, at_least=goal)
                yield rate(name, case, "another named", false, times, at_most=0.05)
                yield known(name, case, "extra runs, on average", runs / times)


def asked_for(random, kinds, effects, repeats):
    """(kinds named, extra runs): with noise that is known, without fresh seeds at first."""

    def run(mix, number, **said):
        error = 0.035 + sum(effects.get(kind, 0.0) for kind in mix) + random.normal(0, 0.00122)
        stated = ErrorRate("test", error, 10_000, "test_error")
        return PastRun(str(number), str(number), float(number), error=stated, **said)

    new, old, extra = run(frozenset(kinds), 1), run(frozenset(), 0), []
    history = [run(frozenset(), -2 - number, recipe="same") for number in range(repeats)]
    changed = [Change(kind, "something", "a", "b") for kind in kinds]
    while True:
        settled = settle(new, old, changed, extra, discordant=0.03, history=history)
        wanted = settled.missing if repeats else (*settled.first, *settled.missing)
        mixes = [more.new for more in wanted for _ in range(more.times)]
        if not mixes:
            return set(settled.guilty) - {Cause.NOISE}, len(extra)
        extra += [(mix, run(mix, len(extra) + n + 2)) for n, mix in enumerate(mixes)]


def shifted():
    """The domain classifier on two sketches of 20 sums each, shared examples among them."""
    name = "Inputs told apart by a classifier, permutation p < 0.05"
    random = np.random.default_rng(504)
    cases = (
        (100, 0.0, {}), (1_000, 0.0, {}), (1_000, 0.5, {}), (1_000, 0.9, {}),
        (1_000, 0.0, {"loc": 0.1}), (1_000, 0.5, {"loc": 0.1}), (1_000, 0.0, {"scale": 1.1}),
        (200, 0.0, {"loc": 0.2}), (200, 0.0, {"scale": 1.3}),
    )  # fmt: skip
    for n, share, moved in cases:
        times, shared = (200 if moved else 400), int(n * share)
        found = []
        for _ in range(times):
            old, new = (random.normal(**kw, size=(n, 20)) for kw in ({}, moved))
            values = np.concatenate([old, new[shared:]])
            order = random.permutation(len(values))  # as hashes order them
            in_old = (np.arange(len(values)) < n)[order]
            in_new = ~((np.arange(len(values)) >= shared) & (np.arange(len(values)) < n))[order]
            found.append(domain_classifier(values[order], in_new, in_old, permutations=199))
        shift = ", ".join(f"{key} {value:g}" for key, value in moved.items()) or "drawn alike"
        case = f"{n:,} examples each, {100 * share:.0f} % shared, {shift}"
        hits = sum(shift.pvalue <= 0.05 for shift in found)
        limits = (
            {"at_least": 0.95} if moved and share == 0 else {} if moved else {"at_most": 0.05}
        )
        yield rate(name, case, "told apart", hits, times, **limits)
        yield mean(name, case, "AUC", [shift.statistic for shift in found])
