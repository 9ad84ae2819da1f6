"""What looks like learning and is a chance resemblance of few labels to the true ones."""

import pytest
import torch
from torch import nn

from backslide.smalldata import control
from backslide.smalldata.agreement import Agreement
from backslide.smalldata.data import examples_of
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Classes

PERMUTED = (0.09, 0.08, 0.12, 0.10)


@pytest.fixture
def learner():
    examples = examples_of((torch.zeros(20, 2), torch.arange(20) % 10))
    recipe = Recipe(lambda: nn.Linear(2, 10), lambda _: None, lambda *_: None, ())
    task = Classes(torch.arange(20) % 10)
    return control._Learner(recipe, examples, examples, task)


@pytest.mark.parametrize(
    ("score", "repeated", "lucky"),
    [
        (0.11, None, True),  # as good as on permuted targets
        (0.15, None, False),  # better, and there are no other examples to ask
        (0.15, 0.09, True),  # other examples know nothing of it
        (0.15, 0.14, False),
        (0.30, 0.25, False),
    ],
)
def test_learning_beats_permuted_targets_and_repeats_on_other_examples(
    learner, monkeypatch, score, repeated, lucky
):
    scores = iter([*PERMUTED, repeated])
    monkeypatch.setattr(
        control._Learner, "learn", lambda self: Agreement(next(scores), 0.1, 0.0)
    )
    others = None if repeated is None else learner.train

    defect = control._lucky(learner, Agreement(score, 0.1, 4.0), others)

    assert (defect is not None) == lucky
    if defect is not None:
        assert (defect.kind, defect.cause) == ("data", "labels-carry-no-information")
        assert f"{score:.2f}" in defect.sentence
