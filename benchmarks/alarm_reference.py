"""Which runs the alert channel may measure against: `python benchmarks/alarm_reference.py`.

20 lineages of 500 retrains, 10,000 test examples, 3 % discordant, margin 0.5 points. A
regression of 0.3 to 1.0 points sets in with 2 % chance a retrain and stays until an alarm, at
most 50 retrains. Fresh test examples for each retrain, or one test set on which each model has
its own luck.
"""

import numpy as np

from backslide_detector.stats.alarm import RUN_LENGTH, FlipAlarm
from backslide_detector.stats.equivalence import inside
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.tango import tango_interval

EXAMPLES, DISCORDANT, MARGIN = 10_000, 0.03, 0.005
LINEAGES, RETRAINS, ONSET, PATIENCE = 20, 500, 0.02, 50
LUCK = np.sqrt(DISCORDANT / (2 * EXAMPLES))


def verdict(broken, fixed):
    narrow = abs(broken - fixed) / EXAMPLES < MARGIN
    if narrow and inside(tango_interval(broken, fixed, EXAMPLES, level=0.9), MARGIN):
        return "equivalent"
    if mcnemar(broken, fixed, EXAMPLES).pvalue < 0.05:
        return "regressed" if broken > fixed else "improved"
    return "inconclusive"


def simulate(moves, one_test_set, rng):
    """(false alarms in 1,000 retrains, mean delay, regressions missed, regressions)."""

    def a_model(harm):
        return harm, rng.normal(0, LUCK) if one_test_set else 0.0

    def flips(new, old):
        shift = sum(new) - sum(old)
        chances = (DISCORDANT + shift) / 2, (DISCORDANT - shift) / 2
        if one_test_set:
            return tuple(round(EXAMPLES * chance) for chance in chances)
        return tuple(int(rng.binomial(EXAMPLES, chance)) for chance in chances)

    false, delays, missed = 0, [], 0
    for _ in range(LINEAGES):
        harm, onset, alarm = 0.0, None, FlipAlarm()
        before = reference = a_model(0.0)
        for t in range(RETRAINS):
            if onset is None and rng.random() < ONSET:
                harm, onset = rng.uniform(0.003, 0.01), t
            model = a_model(harm)
            said, alarm = verdict(*flips(model, before)), alarm.after(*flips(model, reference))
            rung = alarm.value >= RUN_LENGTH
            late = onset is not None and t - onset >= PATIENCE
            if rung or late:
                false += rung and onset is None
                missed += late and not rung
                delays += [t - onset] if rung and onset is not None else []
                harm, onset, alarm = 0.0, None, FlipAlarm()
                before = reference = a_model(0.0)
                continue
            before = before if said == "regressed" else model
            reference = model if said in moves else reference
    many = LINEAGES * RETRAINS / 1_000
    return false / many, float(np.mean(delays)), missed, missed + len(delays)


def main():
    print("| test set | the reference moves to | false in 1,000 | mean delay | missed |")
    print("|---|---|---|---|---|")
    for one_test_set in (False, True):
        for moves in (("improved", "equivalent"), ("improved",)):
            row = simulate(moves, one_test_set, np.random.default_rng(7))
            which = "one" if one_test_set else "fresh"
            print(
                f"| {which} | {', '.join(moves)} | {row[0]:.1f} | {row[1]:.2f} | "
                f"{row[2]} of {row[3]} |"
            )


if __name__ == "__main__":
    main()
