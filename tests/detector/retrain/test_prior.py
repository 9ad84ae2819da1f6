"""What is expected of retrain noise before anything was repeated."""

import math

import pytest

from backslide_detector.retrain.noise import PRIOR_PHI, prior_sd


def test_flips_set_the_prior():
    expected = math.sqrt(PRIOR_PHI * 0.03 / 20_000)
    assert prior_sd(10_000, 0.03, 0.03) == pytest.approx(expected)


def test_a_broken_model_does_not_make_luck_look_large():
    assert prior_sd(800, 0.03, 0.87) == pytest.approx(prior_sd(800, 0.03, 0.10))


def test_no_errors_are_no_proof_of_no_noise():
    assert prior_sd(100, 0.0, None) > 0
