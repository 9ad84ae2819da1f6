"""The course of a lineage: what is expected of the next retrain, and when it changed."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Verdict
from backslide_detector.evidence import ErrorRate
from backslide_detector.lineage import Creeping, Retrain
from backslide_detector.retrain.course import Noise, course, creeping, dated, expected
from backslide_detector.retrain.history import PastRun
from backslide_detector.stats.creep import detect_creep
from backslide_detector.stats.predictive import predictive_interval

EXAMPLES = 10_000
PRIOR = Noise(sd=0.0012, weight=4.0, measured=False)


def past(number, error, **changes):
    stated = ErrorRate("test", error, EXAMPLES, "test/error")
    run = PastRun(f"r{number}", f"run-{number}", float(number), lineage="digits", error=stated)
    return replace(run, **changes)


def lineage(*errors, **changes):
    return [past(number, error, **changes) for number, error in enumerate(errors)]


def test_the_next_retrain_is_expected_where_the_predictive_interval_says():
    """The worked example of the reference: 95 % from 3.230 % to 3.770 %."""
    rates = [0.0350, 0.0345, 0.0362, 0.0338, 0.0355]
    found = expected(lineage(*rates), PRIOR)
    assert found.interval == pytest.approx((0.03230, 0.03770), abs=1e-5)
    assert found.interval == pytest.approx(predictive_interval(rates, 0.0012))
    assert found.source == "5 accepted retrains"


def test_refused_retrains_say_nothing_of_the_next():
    runs = lineage(0.035, 0.0345, 0.0362)
    bad = past(9, 0.2, verdict=Verdict.REGRESSED)
    assert expected([*runs, bad], PRIOR) == expected(runs, PRIOR)


def test_seed_repeats_come_before_the_history_of_the_lineage():
    """Old recipes that differ widely are no noise when the present one was repeated."""
    old = lineage(0.20, 0.10)
    repeats = [past(5 + k, e, recipe="now") for k, e in enumerate((0.030, 0.031, 0.032))]
    found = expected([*old, *repeats], PRIOR)
    assert found.source == "3 seed repeats"
    assert 0.025 < found.interval[0] < 0.031 < found.interval[1] < 0.037


@pytest.mark.parametrize(("measured", "told"), [(False, False), (True, True)])
def test_one_retrain_is_no_history_unless_other_lineages_know_the_noise(measured, told):
    found = expected(lineage(0.03), replace(PRIOR, measured=measured))
    assert (found is not None) == told
    assert expected(lineage(0.03, 0.031), None) is None


def test_a_course_holds_the_runs_of_one_test_set_in_order():
    other = replace(past(7, 0.5), error=ErrorRate("test", 0.5, 77, "test/error"))
    new = past(9, 0.031, verdict=Verdict.EQUIVALENT)
    seen = course(new, [past(3, 0.03), past(1, 0.032), other], None, PRIOR, reference="r1")
    assert [retrain.run_id for retrain in seen.retrains] == ["r1", "r3", "r9"]
    assert (seen.elsewhere, seen.reference) == (1, "r1")
    assert course(replace(new, lineage=None), [], None, PRIOR) is None


def test_each_error_has_its_interval_and_a_mean_loss_has_none():
    """Newcombe 1998 (Statistics in Medicine 17:857): 81 of 263, Wilson 0.2553 to 0.3662."""
    new = replace(past(9, 0.0), error=ErrorRate("test", 81 / 263, 263, "test/error"))
    (seen,) = course(new, [], None, None).retrains
    assert seen.interval == pytest.approx((0.25529, 0.36621), abs=1e-5)
    loss = replace(new, error=ErrorRate("test", 1.3, 263, "test/loss", "loss"))
    assert course(loss, [], None, None).retrains[0].interval is None


def test_a_long_lineage_keeps_its_newest_retrains():
    runs = lineage(*([0.03] * 500))
    seen = course(past(900, 0.03), runs, None, PRIOR)
    assert len(seen.retrains) == 200
    assert seen.retrains[-1].run_id == "r900"
    assert seen.earlier == 301


def marked(errors, **signals):
    return [
        Retrain(f"r{n}", f"run-{n}", float(n), error, signal=signals.get(f"r{n}"))
        for n, error in enumerate(errors)
    ]


def test_an_alarm_is_dated_to_where_the_mean_changed():
    errors = [0.030, 0.0301, 0.0299, 0.030, 0.0331, 0.0329, 0.0330]
    (change,) = dated(marked(errors, r6="worse"), None)
    assert (change.run_id, change.shown_by) == ("r4", "alarm")
    assert change.shift == pytest.approx(0.0030, abs=2e-4)


def test_an_alarm_raised_again_is_not_dated_again_but_a_turn_is():
    errors = [0.030, 0.030, 0.034, 0.034, 0.034, 0.034, 0.028, 0.028]
    signals = {"r3": "worse", "r5": "worse", "r7": "better"}
    found = dated(marked(errors, **signals), None)
    assert [(c.run_id, c.shift > 0) for c in found] == [("r2", True), ("r6", False)]


def test_nothing_is_dated_that_nobody_has_shown():
    assert dated(marked([0.03, 0.03, 0.09, 0.09]), None) == ()


def test_a_creep_is_dated_too():
    creep = Creeping("run-0", 4, 900.0, 500.0, alarm="run-3", since="run-2", change="r2")
    (change,) = dated(marked([0.03, 0.03, 0.04, 0.04]), creep)
    assert (change.run_id, change.shown_by) == ("r2", "creep")


def test_a_refused_regression_neither_is_a_creep_nor_blinds_the_detector():
    rng = np.random.default_rng(5)
    quiet = (0.03 + rng.normal(0, 0.0008, 30)).tolist()
    runs = lineage(*quiet)
    bad = past(40, 0.09, verdict=Verdict.REGRESSED)
    seen = creeping(bad, runs, runs[0])
    assert seen.alarm is None
    assert seen.value == pytest.approx(detect_creep(quiet).path[-1])
    steps = [past(41 + n, 0.03 + 0.001 * n) for n in range(1, 9)]
    found = creeping(steps[-1], [*runs, bad, *steps[:-1]], runs[0])
    assert found.alarm is not None
    assert found.since.startswith("run-4")
    assert [run_id for run_id, _ in found.path] == [run.run_id for run in [*runs[2:], *steps]]


def test_another_test_set_is_no_creep_and_starts_the_course_anew():
    """A harder test set of the same size: errors on it are higher by no fault of a model."""
    rng = np.random.default_rng(6)
    easy = lineage(*(0.03 + rng.normal(0, 0.0008, 20)), test_set="easy")
    hard = [
        past(30 + n, error, test_set="hard")
        for n, error in enumerate(0.05 + rng.normal(0, 0.0008, 6))
    ]
    unknown = [replace(run, test_set=None) for run in hard]
    assert creeping(unknown[-1], [*easy, *unknown[:-1]], easy[0]).alarm is not None
    found = creeping(hard[-1], [*easy, *hard[:-1]], easy[0])
    assert (found.alarm, found.anchor, found.retrains) == (None, "run-30", 6)
    seen = course(hard[-1], [*easy, *hard[:-1]], found, PRIOR)
    assert [retrain.run_id for retrain in seen.retrains] == [run.run_id for run in hard]
    assert seen.elsewhere == len(easy)


def test_a_course_ends_with_the_judged_run():
    """Seed repeats that were made later tell the noise; they are no part of what led here."""
    new, later = past(5, 0.03), past(7, 0.031, recipe="same")
    seen = course(new, [past(1, 0.032), later], None, PRIOR)
    assert [retrain.run_id for retrain in seen.retrains] == ["r1", "r5"]
    assert seen.elsewhere == 0
