"""Training labels that are contradicted more often than held-out ones, and what looks alike."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.batch_cases import ROWS, SNAPSHOTS, batches, tried
from tests.detector.checks.builders import STEPS, run, series

from backslide_detector.checks.registry import run_checks
from backslide_detector.evidence import DataSummary
from backslide_detector.finding import Found

LOSS = series(np.linspace(1.8, 1.1, STEPS))
HELD = 400


def trained(seed=0, *, wrong=0.3, known=0.75, examples=300, classes=6, **numbers):
    """A network that is right about 75 % of what is new, whatever the training labels say."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, examples)
    labels = np.where(rng.random(examples) < wrong, (truth + 1) % classes, truth)
    rows = rng.integers(0, examples, (SNAPSHOTS, ROWS))
    answers = np.where(rng.random(rows.shape) < known, truth[rows], (truth[rows] + 2) % classes)
    errors = rng.binomial(HELD, 1 - known, 10) / HELD
    counts = {str(k): int(n) for k, n in enumerate(np.bincount(labels, minlength=classes))}
    seen = batches(
        rows, labels[rows].astype(float), answered=answers.astype(float),
        **({"cross_entropy": 1.0} | numbers),
    )  # fmt: skip
    return run(
        LOSS,
        series={"val_error": series(errors, every=STEPS // 10)},
        predictions={},
        batches=seen,
        data={"train": DataSummary("train", "d", rows=examples, class_counts=counts)},
    )


def noise(evidence):
    return [
        r.outcome
        for r in run_checks(evidence)
        if r.check == "label-noise" and isinstance(r.outcome, Found)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_labels_that_contradict_what_is_known_are_found(seed):
    (found,) = noise(trained(seed))
    assert found.numbers["training_error"] > found.numbers["held_out_error"] + 0.1
    assert "run.evaluate" in found.advice


@pytest.mark.parametrize("seed", range(20))
def test_clean_labels_are_left_alone(seed):
    assert not noise(trained(seed, wrong=0.0))


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param({"trial_eval_distance": tried(0.3)}, id="dropout or batch norm"),
        pytest.param({"cross_entropy": 0.0}, id="mixed or smoothed"),
        pytest.param({"calls_evaluation": 0.0}, id="another model was validated"),
        pytest.param({"trial_eval_distance": np.nan}, id="not known"),
    ],
)
def test_what_is_made_harder_on_purpose_is_no_noise(numbers):
    assert not noise(trained(**numbers))


def test_inputs_that_never_come_again_are_augmented():
    evidence = trained()
    fresh = np.arange(SNAPSHOTS * ROWS).reshape(SNAPSHOTS, ROWS)
    assert not noise(replace(evidence, batches=replace(evidence.batches, digests=tuple(fresh))))


def test_a_sampler_that_draws_a_hard_class_more_often_makes_no_noise():
    evidence = trained(wrong=0.0, known=0.97, classes=2)
    seen = evidence.batches
    rng = np.random.default_rng(1)
    hard = [np.where((t == 1) & (rng.random(ROWS) < 0.6), 0.0, p) for t, p in zip(
        seen.targets, seen.predictions, strict=True)]  # fmt: skip
    drawn = replace(evidence, batches=replace(seen, predictions=tuple(hard)))
    natural = {"train": DataSummary("train", "d", class_counts={"0": 270, "1": 30})}
    assert noise(drawn)
    assert not noise(replace(drawn, data=natural))


def test_batches_that_could_not_be_read_tell_nothing():
    evidence = trained()
    kinds = ("classes", "", "classes") * SNAPSHOTS
    some = replace(evidence.batches, answers=kinds[:SNAPSHOTS])
    assert not noise(replace(evidence, batches=some))
