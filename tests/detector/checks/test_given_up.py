"""Rare classes that are never answered with in training, and those that are rightly left."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.batch_cases import ROWS, SNAPSHOTS, batches
from tests.detector.checks.builders import run

from backslide_detector.checks.registry import run_checks
from backslide_detector.evidence import DataSummary, Nearest
from backslide_detector.finding import Found

SHAPE = (SNAPSHOTS, ROWS)


def trained(shares, *, right=0.97, loss=None, neighbours=None, ever=0, seed=0, **changes):
    """A run without evaluation, whose last class is never answered with but `ever` times."""
    rng = np.random.default_rng(seed)
    wanted = np.round(np.asarray(shares) * SNAPSHOTS * ROWS).astype(int)
    wanted[0] += SNAPSHOTS * ROWS - wanted.sum()
    targets = rng.permutation(np.repeat(np.arange(len(shares)), wanted)).reshape(SHAPE) * 1.0
    last = len(shares) - 1
    answers = np.where(rng.random(SHAPE) < right, targets, (targets + 1) % max(last, 1))
    answers[targets == last] = 0.0
    answers.ravel()[np.flatnonzero(targets.ravel() == last)[::-1][:ever]] = last
    guess = np.array([-np.log(np.asarray(shares))[row.astype(int)].mean() for row in targets])
    cost = guess if loss is None else loss * guess
    counts = {str(k): int(share * 2_000) for k, share in enumerate(shares)}
    near = None if neighbours is None else Nearest(2_000, error=neighbours)
    data = {"train": DataSummary("train", "d", class_counts=counts, nearest=near)}
    seen = batches(targets=targets, answered=answers, cross_entropy=1.0, loss=cost)
    return run(data=data, predictions={}, batches=seen, **changes)


def imbalance(evidence):
    return [
        r.outcome
        for r in run_checks(evidence)
        if r.check == "class-imbalance" and isinstance(r.outcome, Found)
    ]


TWO, THREE = (0.94, 0.06), (0.65, 0.29, 0.06)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        pytest.param({"shares": TWO, "loss": 0.8, "neighbours": 0.04}, "nearest", id="near"),
        pytest.param({"shares": TWO, "loss": 1.02}, "always answering", id="nothing learned"),
        pytest.param({"shares": THREE, "loss": 0.3}, "each other class", id="others known"),
    ],
)
def test_a_rare_class_that_could_be_told_is_named(seed, evidence, reason):
    (found,) = imbalance(trained(seed=seed, **evidence))
    assert reason in found.sentence
    assert found.since_step == 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param({"shares": TWO, "loss": 0.9, "neighbours": 0.058}, id="rare by nature"),
        pytest.param({"shares": TWO, "loss": 0.99}, id="hardly anything can be known"),
        pytest.param({"shares": TWO, "loss": 1.02, "ever": 1}, id="on its way"),
        pytest.param({"shares": THREE, "loss": 0.7, "right": 0.6}, id="others hardly better"),
        pytest.param({"shares": (0.88, 0.12), "loss": 1.02}, id="not so rare"),
        pytest.param({"shares": (0.995, 0.005), "loss": 1.02}, id="hardly met"),
        pytest.param({"shares": TWO, "loss": 1.02, "status": "RUNNING"}, id="goes on"),
    ],
)
def test_a_rare_class_is_left_alone_without_proof(seed, evidence):
    assert not imbalance(trained(seed=seed, **evidence))


def test_words_are_rare_and_nobody_expects_each_of_them():
    shares = np.array([0.5, *[0.5 / 30] * 30])
    assert not imbalance(trained(tuple(shares), loss=1.02))


def test_held_out_predictions_decide_where_there_are_any():
    evidence = trained(TWO, loss=1.02)
    assert imbalance(evidence)
    assert not imbalance(replace(evidence, predictions=run().predictions))
