"""Streams of retrains: the ledger, the alert channel, claims about recipes, slow creep."""

from functools import lru_cache

import numpy as np
from benchmarks.calibrate.rates import mean, rate

from backslide_detector.stats.alarm import RUN_LENGTH, FlipAlarm
from backslide_detector.stats.creep import detect_creep
from backslide_detector.stats.mcnemar import exact_pvalue
from backslide_detector.stats.online import OnlineTest, Procedure
from backslide_detector.stats.quasi_mcnemar import overdispersion, quasi_pvalue

N, DISCORDANT, RETRAINS, PREVALENCE = 10_000, 0.03, 1_000, 0.10
STREAMS, STREAMS_ALERTS, STREAMS_RECIPES = 60, 250, 60


def changes(random, retrains=RETRAINS):
    """True regressions of 0.3 to 1.0 points in one retrain of ten."""
    real = random.random(retrains) < PREVALENCE
    return np.where(real, random.uniform(0.003, 0.010, retrains), 0.0)


def flips(random, change, phi=None):
    """Newly wrong and newly right examples: binomial, or normal with over-dispersion phi."""
    total = random.binomial(N, DISCORDANT, len(change))
    if phi is None:
        broken = random.binomial(total, 0.5 + change / (2 * DISCORDANT))
    else:
        spread = np.sqrt(phi * total) * random.standard_normal(len(change))
        broken = np.clip(np.rint((total + N * change + spread) / 2), 0, total).astype(int)
    return broken, total - broken


def score(rejected, change):
    """Share of false ones among the rejected, and of the real ones that were found."""
    real = change > 0
    return (rejected & ~real).sum() / max(rejected.sum(), 1), rejected[real].mean()


def ledger():
    """A thousand retrains, by the rules in use elsewhere and by the online procedures."""
    name = "A stream of 1,000 retrains, one in ten worse by 0.3 to 1.0 points"
    random = np.random.default_rng(200)
    exact = lru_cache(None)(exact_pvalue)
    rules = {
        "raw difference above 0.2 points": lambda _, difference: difference > 0.002,
        "p < 0.05": lambda p, _: p < 0.05,
        **{
            str(procedure): lambda p, _, procedure=procedure: np.array(
                [spent.rejected for spent in OnlineTest(procedure).spend_all(p)]
            )
            for procedure in Procedure
        },
    }
    scores = {rule: [] for rule in rules}
    for _ in range(STREAMS):
        change = changes(random)
        broken, fixed = flips(random, change)
        p = np.array(
            [exact(int(b), int(c), "greater") for b, c in zip(broken, fixed, strict=True)]
        )
        for rule, decide in rules.items():
            scores[rule].append(score(decide(p, (broken - fixed) / N), change))
    for rule, pairs in scores.items():
        false, power = zip(*pairs, strict=True)
        chosen = rule == Procedure.ADDIS
        yield mean(name, rule, "false discovery rate", false, at_most=0.05 if chosen else None)
        yield mean(name, rule, "power", power, at_least=0.68 if chosen else None)


def alerts():
    """Persistent regressions on fresh examples against the last accepted model."""
    name = "Alert channel, regressions with onset in 2 % of the retrains"
    random = np.random.default_rng(201)
    quiet, false, missed, delays, at_once = 0, 0, 0, [], 0
    for _ in range(STREAMS_ALERTS):
        alarm, change, since = FlipAlarm(), 0.0, 0
        for _ in range(RETRAINS):
            if change == 0.0 and random.random() < 0.02:
                change, since = random.uniform(0.003, 0.010), 0
            broken, fixed = flips(random, np.array([change]))
            alarm = alarm.after(int(broken[0]), int(fixed[0]))
            quiet += change == 0.0
            if alarm.value >= RUN_LENGTH:
                false += change == 0.0
                if change:
                    delays.append(since)
                    at_once += since == 0
                alarm, change = FlipAlarm(), 0.0
            elif change:
                since += 1
                if since > 50:
                    missed, alarm, change = missed + 1, FlipAlarm(), 0.0
    case = f"run length {RUN_LENGTH:,.0f}"
    yield rate(name, case, "false alarms a retrain", false, quiet, at_most=0.0001)
    yield mean(name, case, "delay in retrains", delays, at_most=1.5)
    yield rate(name, case, "caught at once", at_once, len(delays) + missed)
    yield rate(name, case, "not caught after 50", missed, len(delays) + missed, at_most=0.0)


def recipes():
    """Claims about recipes: 10 lineages, their over-dispersion spread by a quarter."""
    name = "Claims about recipes, 20 seed pairs in the fleet, ADDIS"
    random = np.random.default_rng(202)
    exact = np.vectorize(lru_cache(None)(lambda b, c: exact_pvalue(int(b), int(c), "greater")))
    for phi in (1.0, 1.33, 2.0):
        plain, calibrated = [], []
        for _ in range(STREAMS_RECIPES):
            spread = 0.25 if phi > 1 else 0.0
            lineages = np.maximum(phi * (1 + spread * random.standard_normal(10)), 1.0)
            change = changes(random)
            broken, fixed = flips(random, change, lineages[random.integers(0, 10, RETRAINS)])
            pairs = random.normal(0, np.sqrt(np.repeat(lineages, 2)))
            measured = quasi_pvalue(broken, fixed, overdispersion(pairs), "greater")
            for p, scores in ((exact(broken, fixed), plain), (measured, calibrated)):
                rejected = [spent.rejected for spent in OnlineTest().spend_all(p.tolist())]
                scores.append(score(np.array(rejected), change))
        for what, scores in (("plain McNemar", plain), ("with seed pairs", calibrated)):
            false, power = zip(*scores, strict=True)
            target = 0.05 if what == "with seed pairs" else None
            case = f"phi {phi:g}, {what}"
            yield mean(name, case, "false discovery rate", false, at_most=target)
            yield mean(name, case, "power", power)


def creeping():
    """Noise of 0.122 points a retrain, 100 quiet retrains, then a creep or a step."""
    name = "Creep and steps after 100 quiet retrains"
    random = np.random.default_rng(203)
    noise = random.normal(3.5, 0.122, (400, 200))
    alarms = [detect_creep(row[:100]).alarm for row in noise]
    quiet = np.array([alarm is None for alarm in alarms])
    yield rate(name, "quiet", "false alarms in 100 retrains", int((~quiet).sum()), len(noise),
               at_most=0.10)  # fmt: skip
    after = np.arange(1, 101)
    for case, drift, target in (
        ("creep of 0.05 a retrain", 0.05 * after, 8.0),
        ("creep of 0.01 a retrain", 0.01 * after, None),
        ("step of 0.3", np.full(100, 0.3), None),
        ("step of 0.1", np.full(100, 0.1), None),
    ):
        delays = []
        for row in noise[quiet][:200]:
            found = detect_creep(row + np.r_[np.zeros(100), drift]).alarm
            delays.append(100 if found is None else found - 99)
        low, high = np.quantile(
            np.median(random.choice(delays, (1_000, len(delays))), axis=1), [0.025, 0.975]
        )
        figure = mean(name, case, "median delay in retrains (100: not found)", delays)
        yield type(figure)(
            name, case, figure.what, float(np.median(delays)), float(low), float(high),
            f"<= {target:g}" if target else "", bool(low <= target) if target else None,
        )  # fmt: skip
