"""Lineages that predict measured values are judged by their losses."""

from dataclasses import replace

import numpy as np
import pytest

from backslide.contract import Verdict
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import Predictions
from backslide_detector.names import loss_of
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.verdict import judge_retrain

N = 600


def table(noise, *, seed=1, n=N, first=0, **extra):
    """Predictions of normal targets, off by normal errors of size `noise`."""
    truth = np.random.default_rng(0).normal(size=first + n)[first:]
    said = truth + noise * np.random.default_rng(seed).normal(size=n)
    return Predictions(
        ids=np.array([f"id{first + i}" for i in range(n)], dtype=object),
        targets=truth.astype(object),
        predictions=said.astype(object),
        correct=np.zeros(n, dtype=bool),
        **extra,
    )


def retrains(make, new, old):
    """(new, old): two runs with these predictions."""
    return tuple(
        replace(
            make.run(name, started=started),
            predictions={"test": predictions},
            error=loss_of(predictions, "test"),
        )
        for name, started, predictions in (("new", 10.0, new), ("old", 0.0, old))
    )


def test_larger_errors_are_a_regression_by_mean_squared_error(make):
    verdict = judge_retrain(*retrains(make, table(0.5), table(0.3, seed=2)))
    assert (verdict.verdict, verdict.measure) == (Verdict.REGRESSED, "mse")
    assert verdict.sentence.startswith("This model's mean squared error is 0.1")
    assert "higher" in verdict.sentence
    assert "600 examples, paired" in verdict.sentence
    assert verdict.margin == pytest.approx(verdict.old_error / 10)
    rows = {row.name: row for row in verdict.metrics}
    assert rows["mse"].role == "gate"
    assert rows["rmse"].effect == pytest.approx(0.2, abs=0.03)
    assert rows["mae"].effect == pytest.approx(0.2 * np.sqrt(2 / np.pi), abs=0.03)
    assert (rows["r2"].better, rows["r2"].effect < 0) == ("higher", True)
    assert rows["bias"].pvalue > 0.05


def test_losses_that_were_logged_are_what_counts(make):
    loss = np.random.default_rng(3).exponential(1.0, N)
    new, old = table(0.3, loss=0.5 * loss), table(0.3, loss=loss)
    verdict = judge_retrain(*retrains(make, new, old))
    assert (verdict.verdict, verdict.measure) == (Verdict.IMPROVED, "loss")
    assert "mean loss is 0.5" in verdict.sentence
    assert "lower" in verdict.sentence


def test_the_same_answers_are_equivalent(make):
    verdict = judge_retrain(*retrains(make, table(0.3), table(0.3)))
    assert verdict.verdict is Verdict.EQUIVALENT
    assert verdict.model.effect == 0.0
    assert "the same" in verdict.sentence


def test_examples_without_a_loss_are_left_out(make):
    loss = np.where(np.arange(N) % 10 == 0, np.nan, 1.0) + np.linspace(0, 0.1, N)
    worse = np.where(np.arange(N) % 10 == 1, np.inf, loss + 0.3 * np.sin(np.arange(N)) ** 2)
    verdict = judge_retrain(*retrains(make, table(0.3, loss=worse), table(0.3, loss=loss)))
    assert verdict.model.n == 480
    assert verdict.verdict is Verdict.REGRESSED


def test_no_finite_loss_at_all_is_no_verdict(make):
    nothing = table(0.3, loss=np.full(N, np.nan))
    new, old = retrains(make, nothing, table(0.3))
    assert new.error is None
    assert judge_retrain(new, old).verdict is Verdict.NONE


def test_groups_widen_the_interval_and_are_said(make):
    groups = np.repeat([f"patient {i}" for i in range(30)], N // 30).astype(object)
    shift = np.repeat(np.random.default_rng(4).normal(0.02, 0.2, 30), N // 30)
    loss = np.random.default_rng(5).exponential(1.0, N)
    both = table(0.3, loss=loss + shift), table(0.3, loss=loss)
    alone = judge_retrain(*retrains(make, *both))
    grouped = judge_retrain(
        *retrains(make, *(replace(part, slices={"group": groups}) for part in both))
    )
    assert "in 30 groups" in grouped.sentence
    assert "by 30 groups" in grouped.model.method
    assert grouped.model.effect == pytest.approx(alone.model.effect)
    width = [v.model.interval[1] - v.model.interval[0] for v in (alone, grouped)]
    assert 3 < width[1] / width[0] < 6  # sqrt(20) with equal groups


def test_a_slice_that_got_worse_is_named_though_the_mean_hides_it(make):
    site = np.where(np.arange(N) % 10 == 0, "b", "a").astype(object)
    loss = np.random.default_rng(6).exponential(1.0, N)
    noise = np.random.default_rng(7).normal(0, 0.05, N)
    worse = loss + noise + np.where(site == "b", 0.2, -0.2 / 9)
    new = table(0.3, loss=worse, slices={"site": site})
    verdict = judge_retrain(*retrains(make, new, table(0.3, loss=loss)))
    rows = {row.name: row for row in verdict.metrics}
    assert rows["loss/site=b"].effect == pytest.approx(0.2, abs=0.02)
    assert rows["loss/site=b"].pvalue < 0.001
    assert any("loss/site=b" in said for said in verdict.behaviour)


def test_other_examples_are_compared_unpaired_and_pairing_is_advised(make):
    both = table(0.5), table(0.3, seed=2, first=N)
    verdict = judge_retrain(*retrains(make, *both))
    assert "Welch" in verdict.model.method
    assert "unpaired" in verdict.sentence
    assert verdict.verdict is Verdict.REGRESSED


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_handful_of_examples_is_answered(make, n):
    verdict = judge_retrain(*retrains(make, table(0.5, n=n), table(0.3, seed=2, n=n)))
    assert verdict.verdict in (Verdict.INCONCLUSIVE, Verdict.REGRESSED, Verdict.IMPROVED)
    assert verdict.verdict is Verdict.INCONCLUSIVE or n > 1


def test_huge_and_constant_values_do_not_crash(make):
    huge = table(0.3, loss=np.full(N, 1e300))
    constant = replace(table(0.0), targets=np.full(N, 2.0).astype(object))
    for new, old in ((huge, table(0.3)), (huge, huge), (constant, constant)):
        judged = judge(Case(*retrains(make, new, old)))
        assert judged.traceback is None


def test_a_course_of_losses_has_its_noise_and_says_so(make):
    new, old = retrains(make, table(0.5), table(0.3, seed=2))
    history = [
        PastRun(
            f"h{i}", f"h{i}", -20.0 + i, lineage="digits",
            error=replace(old.error, rate=old.error.rate * (1 + 0.02 * (-1) ** i)),
        )
        for i in range(12)
    ]  # fmt: skip
    verdict = judge_retrain(replace(new, params={"lr": "0.2"}), old, history=history)
    assert verdict.recipe.interval is not None
    assert "differ by about 0.00" in verdict.sentence
    assert "points" not in verdict.sentence, "a loss has no percentage points"
