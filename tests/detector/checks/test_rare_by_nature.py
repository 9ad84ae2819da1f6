"""A class that is rare by nature is no fault; one that the network never learned is."""

import numpy as np
import pytest

from backslide_detector.checks.data.class_imbalance import check
from backslide_detector.evidence import DataSummary, Predictions
from backslide_detector.finding import Clear, Found

DATA = {"train": DataSummary("train", "d", rows=6_000, class_counts={"0": 5_700, "1": 300})}


def held_out(probability, rare):
    said = probability > 0.5
    return {
        "test": Predictions(
            ids=np.arange(len(rare)).astype(str).astype(object),
            targets=rare.astype(int).astype(str).astype(object),
            predictions=said.astype(int).astype(str).astype(object),
            correct=said == rare,
            score=np.maximum(probability, 1 - probability),
        )
    }


def clicks(seed, n=2_000):
    """Of the logistic model with these logits: what a perfect network knows, and clicks."""
    rng = np.random.default_rng(seed)
    probability = 1 / (1 + np.exp(3.5 - rng.normal(size=n)))
    return probability, rng.random(n) < probability


@pytest.mark.parametrize("seed", range(20))
def test_clicks_that_no_network_could_foretell_are_no_finding(seed):
    assert isinstance(check(DATA, held_out(*clicks(seed))), Clear)


UNLEARNED = {
    "the share of the class and no more": lambda p, rare: np.full(len(p), rare.mean()),
    "ranked well, expected far too seldom": lambda p, rare: p / 20,
    "told apart, below one half": lambda p, rare: np.where(rare, 0.4, p / 2),
}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("known", UNLEARNED)
def test_a_class_that_was_not_learned_is_found(seed, known):
    probability, rare = clicks(seed)
    answers = UNLEARNED[known](probability, rare)
    assert isinstance(check(DATA, held_out(answers, rare)), Found)
