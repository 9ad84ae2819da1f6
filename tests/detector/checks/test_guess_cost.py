"""What a constant guess costs, where classes are known of a sample alone."""

import numpy as np
import pytest
from tests.detector.checks.batch_cases import batches
from tests.detector.checks.builders import run

from backslide_detector.checks.stated import guess_cost
from backslide_detector.evidence import DataSummary

SHARE = 0.05
ENTROPY = -(SHARE * np.log(SHARE) + (1 - SHARE) * np.log(1 - SHARE))


def test_what_was_logged_is_exact():
    data = {"train": DataSummary("train", "d", class_counts={"0": 950, "1": 50})}
    assert guess_cost(run(data=data)) == pytest.approx(ENTROPY)


def test_a_sample_hardly_ever_makes_guessing_look_cheaper_than_it_is():
    rng = np.random.default_rng(0)
    costs = []
    for _ in range(300):
        drawn = (rng.random((40, 32)) < SHARE).astype(float)
        seen = batches(targets=drawn, cross_entropy=1.0)
        costs.append(guess_cost(run(data={}, predictions={}, batches=seen)))
    too_cheap = np.mean(np.array(costs) < ENTROPY)
    assert too_cheap <= 0.02  # of one-sided 0.1 %; the count of a rare class is skewed
    assert np.median(costs) < 1.5 * ENTROPY


@pytest.mark.parametrize("seed", range(5))
def test_a_sampler_that_evens_classes_out_makes_guessing_dearer(seed):
    rng = np.random.default_rng(seed)
    data = {"train": DataSummary("train", "d", class_counts={"0": 950, "1": 50})}

    def cost(share):
        drawn = (rng.random((40, 32)) < share).astype(float)
        return guess_cost(run(data=data, batches=batches(targets=drawn, cross_entropy=1.0)))

    assert cost(0.5) >= np.log(2)
    assert cost(SHARE) == pytest.approx(ENTROPY)
