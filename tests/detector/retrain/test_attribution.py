"""Extra runs that settle a cause, and the evidence that streams are fed."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Cause
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import ErrorRate
from backslide_detector.judgement import Change
from backslide_detector.retrain.ablation import settle
from backslide_detector.retrain.attribution import blocks, missing_runs
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.spending import one_sided
from backslide_detector.stats.mcnemar import exact_pvalue

DATA, CONFIG, CODE, ENVIRONMENT = Cause.DATA, Cause.CONFIG, Cause.CODE, Cause.ENVIRONMENT


ALL = (DATA, CONFIG, CODE, ENVIRONMENT)
SD = 0.00122


def past(rate, number=0, examples=10_000):
    error = ErrorRate("test", rate, examples, "test_error")
    return PastRun(f"r{number}", f"run {number}", float(number), error=error)


def changes(kinds):
    return [Change(kind, "something", "a", "b") for kind in kinds]


def followed(random, kinds, effects, *, sd=SD):
    """What is said once every run that was asked for has been run."""

    def run(mix, number):
        rate = 0.035 + sum(effects.get(kind, 0.0) for kind in mix) + random.normal(0, sd)
        return past(rate, number)

    new, old, extra = run(frozenset(kinds), 1), run(frozenset(), 0), []
    while True:
        settled = settle(new, old, changes(kinds), extra, discordant=0.03)
        asked = [e.new for e in (*settled.first, *settled.missing) for _ in range(e.times)]
        if not asked:
            return settled, len(extra)
        extra += [(mix, run(mix, len(extra) + n + 2)) for n, mix in enumerate(asked)]


def test_two_changed_kinds_need_two_more_runs():
    assert {run.new for run in missing_runs([DATA, CODE])} == {
        frozenset([DATA]), frozenset([CODE]),
    }  # fmt: skip
    assert [run.why for run in missing_runs([DATA, CODE], [frozenset([CODE])])] == [
        "new data, old code"
    ]


def test_fresh_seeds_of_both_recipes_come_first():
    settled = settle(past(0.05, 1), past(0.04), changes([DATA]), [])
    assert [(run.new, run.times) for run in settled.first] == [
        (frozenset(), 3), (frozenset([DATA]), 3),
    ]  # fmt: skip
    assert missing_runs([DATA]) == settled.missing == settled.shares == ()
    two = settle(past(0.05, 1), past(0.04), changes([DATA, CODE]), [(frozenset(), past(0.04))])
    assert [run.times for run in two.first] == [2, 3]
    assert len(two.missing) == 2


def test_three_kinds_are_a_factorial_and_of_four_two_are_grouped():
    assert len(missing_runs([DATA, CONFIG, CODE])) == 6
    assert blocks(ALL) == (
        frozenset([DATA]), frozenset([CONFIG]), frozenset([CODE, ENVIRONMENT]),
    )  # fmt: skip
    together = [run.new & {CODE, ENVIRONMENT} for run in missing_runs(ALL)]
    assert len(together) == 6
    assert {len(mix) for mix in together} == {0, 2}
    with pytest.raises(ValueError, match="noise"):
        missing_runs([Cause.NOISE])


@pytest.mark.parametrize(
    ("kinds", "guilty"), [(ALL[:3], DATA), (ALL, DATA), (ALL, ENVIRONMENT)]
)
def test_the_main_factor_is_named(kinds, guilty):
    """+0.4 points at a noise of 0.122; `make calibrate` has the rates."""
    random = np.random.default_rng(0)
    answers = [followed(random, kinds, {guilty: 0.004})[0] for _ in range(60)]
    assert sum(guilty in settled.guilty for settled in answers) >= 54
    assert sum(set(settled.guilty) == {guilty} for settled in answers) >= 51


def test_nothing_is_named_when_nothing_changed():
    random = np.random.default_rng(1)
    answers = [followed(random, ALL, {})[0] for _ in range(60)]
    assert sum(bool(set(settled.guilty) - {Cause.NOISE}) for settled in answers) <= 4


def test_a_guilty_group_is_taken_apart_with_repeats():
    four, group = frozenset(ALL), frozenset([CODE, ENVIRONMENT])
    error = {mix: 0.04 + 0.02 * (CODE in mix) for mix in (frozenset(), four)}
    extra = [(run.new, past(0.04 + 0.02 * (CODE in run.new))) for run in missing_runs(ALL)]
    args = (past(error[four], 1), past(error[frozenset()]), changes(ALL))
    first = settle(*args, extra)
    assert set(first.guilty) == group
    assert {(run.new, run.times) for run in first.missing} == {
        (frozenset(), 3), (frozenset([CODE]), 3), (frozenset([ENVIRONMENT]), 3), (group, 2),
    }  # fmt: skip
    assert "The changes of code and environment together added +2.00" in first.sentences[0]
    for run in first.missing:
        extra += [(run.new, past(0.04 + 0.02 * (CODE in run.new)))] * run.times
    last = settle(*args, extra)
    assert last.guilty == (CODE,)
    assert last.missing == ()
    assert any(s.startswith("The interaction of code and environment") for s in last.sentences)


def test_fresh_runs_take_the_place_of_the_run_that_raised_the_question():
    extra = [(frozenset(mix), past(0.04)) for mix in ((), (), (), [DATA], [DATA], [DATA])]
    settled = settle(past(0.06, 1), past(0.04), changes([DATA]), extra)
    assert settled.guilty == (Cause.NOISE,)
    assert "it was luck" in settled.sentences[0]
    assert (settled.first, settled.missing, settled.shares) == ((), (), ())


def test_what_made_the_gap_smaller_is_no_cause_of_it():
    error = {(): 0.04, (DATA,): 0.08, (CODE,): 0.02, (DATA, CODE): 0.06}
    extra = [(frozenset(mix), past(rate)) for mix, rate in error.items() if len(mix) == 1]
    settled = settle(past(0.06, 1), past(0.04), changes([DATA, CODE]), extra)
    assert settled.guilty == (DATA,)
    assert "The change of code added -2.00 points" in settled.sentences[1]
    assert "counts here itself" in settled.sentences[-1]


def test_runs_of_another_test_set_and_foreign_kinds_do_not_count():
    args = (past(0.06, 1), past(0.04), changes([DATA, CODE]))
    foreign = [
        (frozenset([DATA]), past(0.06, examples=500)),
        (frozenset([CONFIG]), past(0.06)),
        (frozenset([CODE]), replace(past(0.06), error=None)),
    ]
    assert len(settle(*args, foreign).missing) == 2
    assert settle(args[0], args[1], [Change(Cause.NOISE, "seed", "1", "2")], []) is None


def test_streams_get_exact_one_sided_evidence():
    paired = one_sided(Estimand(effect=0.005, pvalue=0.004, fixed=125, broken=175))
    assert paired.worse == exact_pvalue(175, 125, "greater")
    assert paired.better == exact_pvalue(175, 125, "less")
    assert one_sided(Estimand(effect=-0.1, pvalue=0.02)).better == pytest.approx(0.01)
    assert one_sided(Estimand(effect=-0.1, pvalue=0.02)).worse == pytest.approx(0.99)
    assert one_sided(Estimand()) is None
