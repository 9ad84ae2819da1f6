"""Faults that show in the numbers themselves, and healthy runs that look a little like them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.batch_cases import HALF_RIGHT, batches, numbers
from tests.detector.checks.builders import (
    OUTPUTS,
    SNAPSHOTS,
    STEPS,
    WEIGHTS,
    failing,
    history,
    noise,
    predictions,
    run,
    series,
)

from backslide_detector.checks.registry import run_checks
from backslide_detector.evidence import DataSummary
from backslide_detector.finding import Found, Severity


def names(evidence):
    return [
        r.check
        for r in run_checks(evidence)
        if isinstance(r.outcome, Found) and r.outcome.severity is not Severity.NOTE
    ]


def several_labels(outputs, seed=0):
    """Batches of 32 examples with six labels, under the mean of their binary cross-entropies.

    The SDK reads targets as those of a mean of squares: output less half of sigmoid less
    target.
    """
    rng = np.random.default_rng(seed)
    ends = []
    for answers in outputs:
        labels = rng.random(answers.shape) < 0.3
        read = answers - (1 / (1 + np.exp(-answers)) - labels) / 2
        ends.append((answers.min(), answers.max(), read.min(), read.max()))
    low, high, target_low, target_high = np.array(ends).T
    return batches(
        kind="vectors",
        outputs=6.0,
        output_low=low,
        output_high=high,
        target_low=target_low,
        target_high=target_high,
    )


@pytest.mark.parametrize("seed", range(10))
def test_sigmoids_before_a_binary_cross_entropy_of_logits_are_named(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.linspace(0, -5, SNAPSHOTS)[:, None, None], 0.5, (SNAPSHOTS, 32, 6))
    squashed = several_labels(1 / (1 + np.exp(-logits)), seed)
    assert "output-loss-mismatch" in names(run(batches=squashed))
    assert "output-loss-mismatch" not in names(run(batches=several_labels(logits, seed)))


def test_probabilities_with_a_loss_of_probabilities_are_in_order():
    rng = np.random.default_rng(0)
    ends = np.sort(rng.random((4, SNAPSHOTS)), axis=0)
    fine = batches(
        kind="vectors",
        output_low=ends[0] * 0.01,
        output_high=ends[3],
        target_low=0.0,
        target_high=1.0,
    )
    assert "output-loss-mismatch" not in names(run(batches=fine))


def ten_classes(never_right, recall=0.95, own=40, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.repeat(np.arange(10), [40] * 9 + [own])
    said = np.where(rng.random(len(targets)) < recall, targets, (targets + 1) % 9)
    if never_right:
        said = np.where(targets == 9, rng.integers(0, 9, len(targets)), said)
        said[said == 9] = 0
    return predictions(targets.astype(str), said.astype(str))


def test_one_class_that_a_good_network_never_predicts_is_named():
    assert "class-collapse" in names(run(predictions=ten_classes(never_right=True)))


@pytest.mark.parametrize(
    "held_out",
    [
        pytest.param(ten_classes(never_right=False), id="predicted"),
        pytest.param(ten_classes(never_right=True, recall=0.6), id="others hardly better"),
        pytest.param(ten_classes(never_right=True, own=8), id="rare"),
    ],
)
def test_no_class_is_called_left_out_without_proof(held_out):
    assert "class-collapse" not in names(run(predictions=held_out))


def test_bounds_that_cost_most_of_the_error_are_named_though_the_run_learns():
    targets = np.linspace(-1.8, 1.8, 200)
    answers = np.clip(targets, -0.995, 0.995) + noise(200, 0.002).clip(-0.004, 0.004)
    assert "output-range-mismatch" in names(numbers(targets, answers, activations=None))


@pytest.mark.parametrize("seed", range(10))
def test_noise_about_a_bound_is_nobodys_fault(seed):
    rng = np.random.default_rng(seed)
    truth = np.maximum(rng.normal(-1.0, 1.0, 400), 0.0)  # rain: mostly none, measured badly
    relu = history(OUTPUTS | {"5": "ReLU"})
    loss = series(np.linspace(1.0, 0.05, STEPS))
    evidence = numbers(truth + rng.normal(0, 0.2, 400), truth, loss=loss, activations=relu)
    assert "output-range-mismatch" not in names(evidence)


def test_numbers_that_come_sorted_are_named_where_a_fifth_is_left():
    rng = np.random.default_rng(0)
    rising = np.sort(rng.normal(size=SNAPSHOTS * 32)).reshape(SNAPSHOTS, 32)
    wandering = rising[rng.permutation(SNAPSHOTS)]  # as alike, in no order
    loss = series(np.where(np.arange(STEPS) < SNAPSHOTS, 1.0, 0.2))
    for targets, expected in ((rising, True), (wandering, False)):
        fed = replace(
            batches(kind="values", targets=targets, loss=1.0), steps=np.arange(SNAPSHOTS)
        )
        evidence = run(loss, batches=fed, data={}, predictions={})
        assert ("ordered-batches" in names(evidence)) is expected


TANHS = OUTPUTS | {"1": "Tanh", "3": "Tanh"}
FULL = history(TANHS, saturated_fraction=0.99, std=0.99)


def test_large_inputs_that_put_the_first_layer_at_its_bounds_come_first():
    poor = {"predictions": HALF_RIGHT}
    large = batches(input_rms=150.0)
    loss = series(np.linspace(2.3, 1.4, STEPS) + noise())
    assert names(run(loss, batches=large, activations=FULL, **poor))[:1] == ["input-scale"]
    assert "input-scale" not in names(run(loss, batches=large, **poor))
    assert "input-scale" not in names(run(batches=large, activations=FULL))


def test_what_weight_decay_took_is_no_step_of_the_optimizer():
    steps = {"0.weight": "Linear", "2.weight": "Linear", "4.weight": "Linear"}
    leaps = {"updates": history(steps, rms=0.026), "weights": history(steps, rms=0.1)}
    assert "learning-rate-too-high" in names(failing(**leaps))
    assert "learning-rate-too-high" not in names(failing(shrink=0.2, **leaps))
    assert "over-regularized" in names(failing(shrink=0.2, **leaps))


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        pytest.param(failing(batches=batches(uncleared=1.0)), True, id="never cleared"),
        pytest.param(run(batches=batches(uncleared=1.0)), False, id="and yet all is learned"),
        pytest.param(failing(batches=batches(uncleared=0.0)), False, id="cleared"),
        pytest.param(failing(batches=batches()), False, id="not known"),
    ],
)
def test_gradients_that_are_never_cleared_are_the_cause(evidence, expected):
    assert ("exploding-gradient" in names(evidence)) is expected
    if expected:
        assert "learning-rate-too-high" not in names(evidence)


def test_a_mean_far_above_a_guess_learned_nothing_wherever_it_began():
    down = np.linspace(40.0, 5.0, STEPS)
    rare = {
        "data": {"train": DataSummary("train", "d", class_counts={"0": 950, "1": 50})},
        "predictions": predictions(["0"] * 95 + ["1"] * 5, ["0"] * 80 + ["1"] * 20),
    }
    every = down[:: STEPS // SNAPSHOTS]
    learned_nothing = [
        "loss-not-decreasing"
        in names(run(series(down), batches=batches(cross_entropy=1.0, loss=mean), **rare))
        for mean in (every, every / 32)  # the loss that is logged, and one that is its sum
    ]
    assert learned_nothing == [True, False]


def test_outputs_that_are_all_probabilities_are_no_logits_however_little_was_learned():
    inside = batches(cross_entropy=1.0, output_low=0.02, output_high=0.4)
    touching = batches(cross_entropy=1.0, output_low=0.0, output_high=0.4)
    assert "output-loss-mismatch" in names(run(batches=inside))
    assert "output-loss-mismatch" not in names(run(batches=touching))


def test_a_single_output_that_is_always_one_is_named():
    ones = {"kind": "", "outputs": 1.0, "output_low": 1.0}
    assert names(failing(batches=batches(output_high=1.0, **ones)))[0] == "output-loss-mismatch"
    assert "output-loss-mismatch" not in names(
        failing(batches=batches(output_high=1.1, **ones))
    )


def test_nothing_gets_past_units_that_a_large_step_killed():
    lost = batches(dependence=0.0, names={"cut_layer": "4"})
    leaps = {"updates": history(WEIGHTS, rms=0.1), "weights": history(WEIGHTS, rms=0.1)}
    assert "input-independent" in names(failing(batches=lost))
    found = names(failing(batches=lost, **leaps))
    assert "learning-rate-too-high" in found
    assert "input-independent" not in found


@pytest.mark.parametrize(("right", "expected"), [(0.05, True), (0.2, False)])
def test_a_rare_class_on_its_way_is_left_alone_where_held_out_data_are_as_uneven(
    right, expected
):
    data = {"train": DataSummary("train", "d", class_counts={"0": 940, "1": 60})}
    said = ["0"] * 940 + ["1" if i < 60 * right else "0" for i in range(60)]
    held_out = predictions(["0"] * 940 + ["1"] * 60, said)
    assert ("class-imbalance" in names(run(data=data, predictions=held_out))) is expected
