"""Streams of retrains: the ledger, claims about recipes, slow creep."""

from functools import lru_cache

import numpy as np
from benchmarks.calibrate.rates import mean, rate

from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.noise import compare_recipes, repeats_of
from backslide_detector.retrain.spending import one_sided
from backslide_detector.stats.creep import detect_creep
from backslide_detector.stats.dispersion import Dispersion
from backslide_detector.stats.mcnemar import exact_pvalue
from backslide_detector.stats.online import OnlineTest, Procedure
from backslide_detector.stats.quasi_mcnemar import overdispersion, quasi_pvalue

N, DISCORDANT, RETRAINS, PREVALENCE = 10_000, 0.03, 1_000, 0.10
STREAMS, STREAMS_RECIPES, STREAMS_AGAIN = 60, 200, 500


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


def overlapping():
    """Retrains in batches that run side by side, all against the same earlier one."""
    name = "Overlapping retrains, one in ten worse, ADDIS"
    random = np.random.default_rng(204)
    exact = lru_cache(None)(exact_pvalue)
    for size in (1, 8, 32):
        blind, aware = [], []
        for _ in range(STREAMS):
            change = changes(random)
            # The luck that the common baseline had is the same for all that it is held against.
            shared = np.repeat(random.standard_normal(RETRAINS // size + 1), size)[:RETRAINS]
            luck = (random.standard_normal(RETRAINS) - shared) / np.sqrt(2)
            total = random.binomial(N, DISCORDANT, RETRAINS)
            excess = (N * change + np.sqrt(total) * luck + total) / 2
            broken = np.clip(np.rint(excess), 0, total).astype(int)
            p = [
                exact(int(b), int(t - b), "greater") for b, t in zip(broken, total, strict=True)
            ]
            sequential = OnlineTest().spend_all(p)
            test, spent = OnlineTest(), []
            for number, pvalue in enumerate(p):
                spent.append(test.spend(pvalue, spent[number - number % size :]))
            for tests, scores in ((sequential, blind), (spent, aware)):
                scores.append(score(np.array([x.rejected for x in tests]), change))
        for what, scores in (("one after the other", blind), ("as the detector", aware)):
            false, power = zip(*scores, strict=True)
            case = f"{size} at a time, {what}"
            target = 0.05 if scores is aware else None
            yield mean(name, case, "false discovery rate", false, at_most=target)
            yield mean(name, case, "power", power)


def recipes():
    """Claims about recipes: 10 lineages with two seed pairs each, phi spread by a quarter."""
    name = "Claims about recipes, 2 seed pairs in each of 10 lineages, ADDIS"
    random = np.random.default_rng(502)
    exact = np.vectorize(lru_cache(None)(lambda b, c: exact_pvalue(int(b), int(c), "greater")))
    for phi in (1.0, 1.33, 2.0):
        answers = {"plain McNemar": [], "as the detector": [], "seed pairs of the fleet": []}
        for _ in range(STREAMS_RECIPES):
            change, of, broken, fixed, pairs = fleet(random, phi)
            measured = quasi_pvalue(broken, fixed, overdispersion(pairs.ravel()), "greater")
            claims = {
                "plain McNemar": exact(broken, fixed).tolist(),
                "as the detector": claimed(broken - fixed, broken + fixed, of, pairs),
                "seed pairs of the fleet": measured.tolist(),
            }
            for what, pvalues in claims.items():
                rejected = [spent.rejected for spent in OnlineTest().spend_all(pvalues)]
                answers[what].append(score(np.array(rejected), change))
        for what, scores in answers.items():
            false, power = zip(*scores, strict=True)
            case = f"phi {phi:g}, {what}"
            target = None if what == "plain McNemar" else 0.05
            yield mean(name, case, "false discovery rate", false, at_most=target)
            yield mean(name, case, "power", power)

    # The last is near its target, so it is measured again, on other streams and on more.
    random, scores = np.random.default_rng([7_000, 1]), []
    for _ in range(STREAMS_AGAIN):
        change, of, broken, fixed, pairs = fleet(random, 2.0)
        pvalues = claimed(broken - fixed, broken + fixed, of, pairs)
        rejected = [spent.rejected for spent in OnlineTest().spend_all(pvalues)]
        scores.append(score(np.array(rejected), change))
    false = [share for share, _ in scores]
    case = f"phi 2, as the detector, {STREAMS_AGAIN} other streams"
    yield mean(name, case, "false discovery rate", false, at_most=0.05)


def fleet(random, phi):
    """Retrains of ten lineages: true changes, whose they are, flips, scores of seed pairs."""
    spread = 0.25 if phi > 1 else 0.0
    lineages = np.maximum(phi * (1 + spread * random.standard_normal(10)), 1.0)
    change = changes(random)
    of = random.integers(0, 10, RETRAINS)
    broken, fixed = flips(random, change, lineages[of])
    return change, of, broken, fixed, random.normal(0, np.sqrt(lineages)[:, None], (10, 2))


def claimed(excess, flipped, of, pairs):
    """P-values of "this recipe is worse", from a history that holds the seed pairs alone."""
    histories = [repeated(scores) for scores in pairs]
    known = [repeats_of(history) for history in histories]
    fleets = [
        Dispersion(
            sum(one.squares for one in known) - own.squares,
            sum(one.df for one in known) - own.df,
        )
        for own in known
    ]
    old = remembered("old", 0.035)
    pvalues = []
    for difference, disc, lineage in zip(excess, flipped, of, strict=True):
        answer = compare_recipes(
            remembered("new", 0.035 + difference / N),
            old,
            histories[lineage],
            discordant=disc / N,
            fleet=fleets[lineage],
        )
        pvalues.append(one_sided(answer.estimand).worse)
    return pvalues


def repeated(scores):
    """Pairs of runs, each pair of one recipe, whose McNemar scores are given."""
    flipped = N * DISCORDANT
    return [
        remembered(f"{pair}{end}", 0.035 + end * score * np.sqrt(flipped) / N, f"recipe {pair}")
        for pair, score in enumerate(scores)
        for end in (0, 1)
    ]


def remembered(name, rate, recipe=None):
    """A run as the ledger remembers it."""
    flipped = DISCORDANT if recipe else None
    error = ErrorRate("test", rate, N, "predictions")
    return PastRun(name, name, 0.0, error=error, recipe=recipe, flips=flipped)


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
