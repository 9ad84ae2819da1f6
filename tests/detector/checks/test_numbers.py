"""What is found of networks that answer with numbers, and honest runs that look like it."""

import numpy as np
import pytest
from tests.detector.checks.batch_cases import EXAMPLES, SQUARED, batches
from tests.detector.checks.builders import SNAPSHOTS, STEPS, noise, predictions, run, series
from tests.detector.checks.test_plain_facts import names

from backslide_detector.checks.batches import targets_left
from backslide_detector.checks.registry import run_checks
from backslide_detector.finding import Crashed

RNG = np.random.default_rng(7)
HELD = RNG.normal(size=200)
TIME = np.arange(STEPS)
DRAWN = RNG.lognormal(sigma=1.5, size=1_200)
BULK = RNG.normal(size=1_000)
SLIPS = np.where(np.arange(1_000) % 9, 0.0, 10.0)


def table(targets, explained):
    """Held-out numbers of which that share of the variance is explained."""
    off = np.sqrt(1.0 - explained) * targets.std() * np.tile([1.0, -1.0], len(targets) // 2)
    return predictions(map(float, targets), map(float, targets + off))


def evaluated(values):
    return series(values, every=STEPS // len(values))


def falling_to(floor, pace):
    """Training and validation loss that come down from 1.2, exponentially."""
    loss = series(floor + (1.2 - floor) * np.exp(-pace * TIME / STEPS) + noise(scale=0.02))
    held = evaluated(floor + (1.2 - floor) * np.exp(-pace * np.arange(1, 11) / 10))
    return loss, held


@pytest.mark.parametrize(
    ("floor", "pace", "explained", "flagged"),
    [
        (0.05, 1.2, 0.6, True),  # the learned part is small, and all of the rest can follow
        (0.05, 1.8, 0.75, True),
        (0.05, 5.0, 0.94, False),  # little is left
        (0.5, 4.0, 0.5, False),  # noise is left
        (0.3, 3.0, 0.65, False),
    ],
)
def test_numbers_that_get_better_to_the_end_are_undertrained_where_much_is_to_come(
    floor, pace, explained, flagged
):
    loss, held = falling_to(floor, pace)
    found = names(
        run(loss, data={}, predictions=table(HELD, explained), series={"val_loss": held})
    )
    assert ("undertrained" in found) == flagged


def test_both_losses_must_get_better():
    loss, held = falling_to(0.05, 1.8)
    flat, level = falling_to(1.0, 40.0)
    for trained, validated in ((loss, level), (flat, held)):
        evidence = run(
            trained, data={}, predictions=table(HELD, 0.75), series={"val_loss": validated}
        )
        assert "undertrained" not in names(evidence)


@pytest.mark.parametrize(
    ("training", "held", "explained", "flagged"),
    [
        (np.where(SLIPS > 0.0, -20.0 * np.abs(BULK) - 10.0, BULK), HELD, -1.5, True),
        (np.where(SLIPS > 0.0, -20.0 * np.abs(BULK) - 10.0, BULK), HELD, 0.9, False),
        (BULK + SLIPS, HELD, -1.5, True),  # a comma that slipped
        (BULK, HELD, -1.5, False),
        (DRAWN[:1_000], DRAWN[1_000:], -0.2, False),  # few earn most
        (np.r_[BULK[:-3], 90.0, -90.0, 120.0], HELD, -0.2, False),  # three may be real
    ],
)
def test_targets_far_beyond_all_others_are_mistyped_where_others_are_answered_badly(
    training, held, explained, flagged
):
    seen = batches(kind="values", targets=lambda examples: training[examples])
    evidence = run(SQUARED, data={}, predictions=table(held, explained), batches=seen)
    assert ("label-noise" in names(evidence)) == flagged


def test_where_few_examples_make_the_spread_batches_differ_by_chance():
    spreads = np.r_[[2.0] * 3, [0.05, 2.0] * (SNAPSHOTS // 2 - 3), [0.05] * 3]
    honest = batches(kind="values", targets=BULK[EXAMPLES], target_spread=spreads)
    follows = batches(
        kind="values", targets=BULK[EXAMPLES], target_spread=np.sort(spreads)[::-1]
    )
    assert targets_left(honest, SQUARED) == 1.0
    assert targets_left(follows, SQUARED) < 0.2


@pytest.mark.parametrize(("cost", "flagged"), [(2.0, False), (1e-3, True)])
def test_losses_that_any_constant_answer_would_cost_are_not_the_rates(cost, flagged):
    """Whether outputs are thrown out, or targets lie far out."""
    losses = np.where(TIME < 3, 1.0, 400.0) + noise()
    seen = batches(
        kind="values",
        targets=BULK[EXAMPLES],
        loss=losses[:: STEPS // SNAPSHOTS],
        target_spread=np.sqrt(cost * losses[:: STEPS // SNAPSHOTS]),
    )
    evidence = run(series(losses), data={}, predictions=table(HELD, -1.5), batches=seen)
    assert ("learning-rate-too-high" in names(evidence)) == flagged


def test_a_loss_that_never_was_a_number_crashes_no_check():
    seen = batches(kind="values", targets=BULK[EXAMPLES], loss=np.nan, target_spread=1.0)
    results = run_checks(run(series(np.full(STEPS, np.nan)), data={}, batches=seen))
    assert not [r for r in results if isinstance(r.outcome, Crashed)]
