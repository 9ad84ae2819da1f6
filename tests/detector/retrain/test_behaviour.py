"""What else a retrain changed."""

import numpy as np
import pytest

from backslide_detector.retrain.behaviour import (
    behaviour_sentences,
    compare_behaviour,
    mix_split,
)
from backslide_detector.retrain.verdict import judge_retrain


def test_churn_at_equal_error_is_reported(make):
    before, after = make.flips(1_000, 100, fixed=50, broken=50)
    behaviour = compare_behaviour(make.predictions(after), make.predictions(before))
    assert behaviour.churn == pytest.approx(0.1)
    assert behaviour.negative_flips == pytest.approx(0.05)
    assert behaviour_sentences(behaviour)[0].startswith(
        "10.00 % of the answers changed; 5.00 %"
    )
    assert behaviour.loss is behaviour.confidence is behaviour.calibration is None


def test_loss_and_confidence_shifts(make):
    random = np.random.default_rng(0)
    correct = random.random(2_000) < 0.8
    sure, unsure = random.uniform(0.95, 1.0, 2_000), random.uniform(0.75, 0.85, 2_000)
    loss = random.exponential(1.0, 2_000)
    new = make.predictions(correct, score=sure, loss=loss + 0.1)
    old = make.predictions(correct, score=unsure, loss=loss)
    behaviour = compare_behaviour(new, old)
    assert behaviour.churn == 0.0
    assert behaviour.loss.effect == pytest.approx(0.1)
    assert behaviour.confidence.effect == pytest.approx(0.175, abs=0.005)
    assert behaviour.calibration[0] < 0.05 < behaviour.calibration[1]
    said = " ".join(behaviour_sentences(behaviour))
    assert "mean loss changed by +0.1" in said
    assert "calibration error" in said


def test_scores_that_are_no_probabilities_have_no_calibration(make):
    logits = make.predictions([True, False, True], score=np.array([3.0, -1.0, np.nan]))
    behaviour = compare_behaviour(logits, logits)
    assert behaviour.calibration is None
    assert behaviour.confidence.effect == 0.0


def test_no_common_examples(make):
    assert compare_behaviour(make.predictions([]), make.predictions([])) is None


def columns(random, n):
    return {
        "light": random.choice(["day", "night"], n).astype(object),
        "lens": random.choice(["wide", "tele", "macro"], n).astype(object),
        "site": random.choice(["a", "b"], n).astype(object),
    }


def test_a_broken_crossing_is_discovered_and_confirmed(make):
    random = np.random.default_rng(1)
    n = 6_000
    slices = columns(random, n)
    before = random.random(n) > 0.03
    bad = (slices["light"] == "night") & (slices["lens"] == "tele")
    after = before & ~(bad & (random.random(n) < 0.2))
    found = compare_behaviour(
        make.predictions(after, slices=slices), make.predictions(before)
    ).discovered
    assert {found[0].column, found[0].group} == {"lens & light", "tele & night"}
    assert found[0].pvalue < 0.001
    # The numbers are of the held half alone.
    assert found[0].n == pytest.approx(bad.sum() / 2, rel=0.2)


def false_discoveries(make, random, retrains: int, before: float, after: float) -> int:
    """In how many of so many retrains something is found where nothing is to be found."""
    n, false = 2_000, 0
    for _ in range(retrains):
        slices = columns(random, n)
        old, new = random.random(n) > before, random.random(n) > after
        table = compare_behaviour(
            make.predictions(new, slices=slices), make.predictions(old)
        ).discovered
        false += any(row.pvalue < 0.05 for row in table)
    return false


def test_nothing_is_discovered_where_nothing_changed(make):
    random = np.random.default_rng(2)
    # 2 expected at 5 %; more than 7 has a chance of 0.1 %
    assert false_discoveries(make, random, 40, before=0.1, after=0.1) <= 7


def test_what_got_worse_with_all_else_is_no_discovery(make):
    random = np.random.default_rng(3)
    # 1 expected at 5 %; more than 5 has a chance of 0.03 %
    assert false_discoveries(make, random, 20, before=0.05, after=0.10) <= 5


def test_another_mix_of_classes_is_told_from_the_model(make):
    def outcome(easy, hard):
        # 10 % wrong among the easy, half of the hard.
        targets = ["easy"] * easy + ["hard"] * hard
        correct = [i % 10 != 0 for i in range(easy)] + [i % 2 == 0 for i in range(hard)]
        return make.predictions(
            correct, targets=targets, ids=[f"{easy}-{i}" for i in range(100)]
        )

    split = mix_split(outcome(50, 50), outcome(90, 10))
    assert split.mix == pytest.approx(0.16)
    assert split.rate == pytest.approx(0.0)
    new = make.run("new", preds=outcome(50, 50))
    verdict = judge_retrain(new, make.run("old", preds=outcome(90, 10)))
    assert "+16.00 come from another mix of classes" in verdict.behaviour[0]


def test_a_broken_class_is_named_in_the_verdict(make):
    classes = np.repeat([str(i) for i in range(10)], 200)
    before = np.arange(2_000) % 50 != 0
    after = before & ~((classes == "7") & (np.arange(2_000) % 4 == 0))
    verdict = judge_retrain(
        make.run("new", preds=make.predictions(after, targets=classes)),
        make.run("old", preds=make.predictions(before, targets=classes)),
    )
    assert any(text.startswith("Class 7: 26.00 % errors") for text in verdict.behaviour)
    assert not any(text.startswith("Class 3") for text in verdict.behaviour)
