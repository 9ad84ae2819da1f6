"""Faults that show in the numbers themselves, and healthy runs that look a little like them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks.batch_cases import (
    BAD_VALIDATION,
    FIRST,
    HALF_RIGHT,
    batches,
    numbers,
)
from tests.detector.checks.builders import (
    OUTPUTS,
    SNAPSHOTS,
    STEPS,
    WEIGHTS,
    failing,
    history,
    labels,
    noise,
    predictions,
    run,
    series,
)

from backslide.contract import EXPONENT_MAX, EXPONENT_MIN, ZERO_BIN
from backslide_detector.checks.registry import run_checks
from backslide_detector.evidence import DataSummary
from backslide_detector.finding import Found, Severity
from backslide_detector.graph import Graph, Node


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


def running_down(kind="classes", **columns):
    """Classes whose loss falls for ever; once all has run away, nothing can be read."""
    known = batches(cross_entropy=0.0, **columns)
    kinds = tuple(kind if i < 12 else "" for i in range(SNAPSHOTS))
    return replace(known, answers=kinds)


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        pytest.param({"gradient_balance": 1.0, "output_low": -5.0, "output_high": 9.0},
                     "it gets raw scores", id="scores"),
        pytest.param({"gradient_balance": 1.0, "output_low": 0.0, "output_high": 1.0},
                     "it gets probabilities", id="probabilities"),
        pytest.param({"gradient_balance": 0.2, "output_low": -5.0, "output_high": 9.0},
                     "its sign is turned", id="turned"),
        pytest.param({"gradient_balance": np.nan, "output_low": -5.0, "output_high": 9.0},
                     "look for a minus", id="not known"),
    ],
)  # fmt: skip
def test_a_loss_below_zero_is_named_before_it_is_none(columns, advice):
    falling = series(np.where(np.arange(STEPS) < 150, -np.exp(np.arange(STEPS) / 20), np.nan))
    results = run_checks(failing(falling, batches=running_down(**columns)))
    found = next(r for r in results if isinstance(r.outcome, Found))
    assert found.check == "output-loss-mismatch"
    assert advice in found.outcome.advice
    others = names(failing(falling, batches=running_down(kind="values", **columns)))
    assert "output-loss-mismatch" not in others


def test_a_loss_without_a_floor_is_never_called_undertrained():
    def ends(last):
        return names(run(series(np.linspace(1.5, last, STEPS) + noise()), predictions=OTHERS))

    assert "undertrained" in ends(1.2)
    assert "undertrained" not in ends(-50.0)


OTHERS = predictions(np.arange(300) % 10, (np.arange(300) + (np.arange(300) % 3 > 0)) % 10)


def test_no_unit_is_dead_where_the_output_has_no_slope():
    tensors = {f"{i}.{kind}": "Linear" for i in (0, 2, 4) for kind in ("weight", "bias")}
    functional = history({"0": "Linear", "2": "Linear", "4": "Linear"})
    nothing = history(tensors, zero_fraction=1.0, abs_max=0.0, rms=0.0)
    last = np.array([name.startswith("4") for name in tensors])
    some = replace(nothing, depth=np.array([0, 0, 1, 1, 2, 2]), abs_max=nothing.abs_max + last)
    flat = replace(nothing, depth=some.depth)
    assert "dead-units" in names(failing(activations=functional, gradients=some))
    assert "dead-units" not in names(failing(activations=functional, gradients=flat))


def test_units_are_dead_since_they_stay_so():
    dead = np.full(SNAPSHOTS, 0.9)
    dead[1:20] = 0.2  # the first batch alone had left most of them out
    shares = np.where(RELU_AT, dead[:, None], np.nan)
    results = run_checks(failing(activations=history(OUTPUTS, dead_fraction=shares)))
    (found,) = [r.outcome for r in results if r.check == "dead-units"]
    assert found.since_step == 20 * STEPS // SNAPSHOTS


RELU_AT = np.array([kind == "ReLU" for kind in OUTPUTS.values()])


def test_inputs_that_end_in_a_function_are_not_lost_in_front_of_the_next_layer():
    lost = batches(dependence=0.0, names={"cut_layer": "4"})
    functional = history({"0": "Linear", "2": "Linear", "4": "Linear"})
    counts = functional.histogram.copy()
    counts[..., 0] = 100  # all below zero
    ended = replace(functional, histogram=counts)
    assert "input-independent" in names(failing(batches=lost, activations=functional))
    assert "input-independent" not in names(failing(batches=lost, activations=ended))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_output_that_never_changes_and_gets_no_gradient_is_named(value):
    constant = batches(outputs=1.0, output_low=value, output_high=value)
    still = history(WEIGHTS, rms=0.0, abs_max=0.0)
    found = names(failing(batches=constant, gradients=still))
    assert found[0] == "output-loss-mismatch"
    assert "constant-output" not in found
    moving = names(failing(batches=constant))
    assert ("output-loss-mismatch" in moving) is (value == 1.0)


@pytest.mark.parametrize(
    ("distance", "training", "expected"),
    [
        pytest.param(1.2, 3.0, True, id="chance drowns all"),
        pytest.param(0.4, 3.0, False, id="examples differ by more"),
        pytest.param(1.2, 1.5, False, id="evaluation costs more"),
    ],
)
def test_dropout_by_a_function_is_seen_by_what_it_does(distance, training, expected):
    many = np.isin(np.arange(SNAPSHOTS), [2, 6, 20, 30])
    trials = batches(
        trial_eval_distance=np.where(many, distance, np.nan),
        trial_loss=np.where(many, training, np.nan),
        trial_eval_loss=np.where(many, 2.3, np.nan),
    )
    assert ("over-regularized" in names(failing(batches=trials))) is expected
    assert "over-regularized" not in names(run(batches=trials))


def test_one_answer_is_not_reported_beside_what_brought_it():
    same = predictions(labels(), ["0"] * len(labels()))
    dead = history(OUTPUTS, dead_fraction=np.where(RELU_AT, 1.0, np.nan))
    assert "constant-output" in names(failing(predictions=same))
    found = names(failing(predictions=same, activations=dead))
    assert "dead-units" in found
    assert "constant-output" not in found


@pytest.mark.parametrize(("kind", "expected"), [("tanh", True), ("relu", False)])
def test_a_function_that_gets_what_is_far_from_zero_is_saturated(kind, expected):
    layers = history({"first": "Linear", "last": "Linear"})
    counts = layers.histogram.copy()
    counts[:, 0, ZERO_BIN + EXPONENT_MAX - EXPONENT_MIN - 15] = 100  # 2^8
    nodes = (Node("first", "first", "Linear"), Node("f", "", kind, "operation"))
    graph = Graph((*nodes, Node("last", "last", "Linear")), (("first", "f"), ("f", "last")))
    far = {"activations": replace(layers, histogram=counts), "graph": graph}
    assert ("saturated-activation" in names(failing(**far))) is expected
    assert "saturated-activation" not in names(run(**far))
    lost = batches(dependence=0.0, names={"cut_layer": "last"})
    assert "input-independent" not in names(failing(batches=lost, **far))


ATTENTION = {
    "emb.weight": "LayerNorm",
    "0.query.weight": "Linear",
    "0.value.weight": "Linear",
    "1.query.weight": "Linear",
    "1.value.weight": "Linear",
    "head.weight": "Linear",
}


@pytest.mark.parametrize(("before", "expected"), [(0.1, False), (1e-9, True)])
def test_queries_with_hardly_a_gradient_are_no_fading_where_it_gets_past_them(before, expected):
    sizes = [before, 1e-9, max(before, 1e-7), 1e-6, 0.1, 0.1]
    found = names(failing(gradients=history(ATTENTION, rms=sizes, abs_max=sizes)))
    assert ("vanishing-gradient" in found) is expected


@pytest.mark.parametrize(("step", "expected"), [(1e-9, False), (1e-3, True)])
def test_what_rounding_keeps_where_it_is_was_not_left_out(step, expected):
    layers = {"0.weight": "Linear", "1.weight": "LayerNorm", "2.weight": "Linear"}
    moving = np.linspace(0.1, 0.1 + 10 * step, SNAPSHOTS)
    sizes = np.stack([moving, np.ones(SNAPSHOTS), moving], axis=1)
    found = names(
        failing(
            weights=history(layers, mean=sizes, rms=sizes, abs_max=sizes),
            gradients=history(layers, rms=1e-2, abs_max=5e-2),
            updates=history(layers, rms=[step, 0.0, step], abs_max=[step, 0.0, step]),
        )
    )
    assert ("unchanged-weights" in found) is expected


@pytest.mark.parametrize(
    ("told", "expected"), [([], True), ([32], False), ([32, 64, 96], True), ([5_000], True)]
)
def test_a_data_set_no_larger_than_a_batch_may_say_so_in_a_metric(told, expected):
    known = {"train/examples": series(told)} if told else {}
    bad = BAD_VALIDATION | {"data": {}, "series": BAD_VALIDATION.get("series", {}) | known}
    assert ("repeated-batch" in names(run(batches=batches(FIRST), **bad))) is expected


@pytest.mark.parametrize(("agrees", "expected"), [(SNAPSHOTS, True), (10, False)])
def test_targets_of_another_loss_that_agree_for_a_while_are_not_known(agrees, expected):
    squares = np.where(np.arange(SNAPSHOTS) < agrees, 1.0, 5.0)
    grey = batches(
        kind="vectors", outputs=64.0, loss=squares,
        output_low=0.01, output_high=0.99, target_low=-0.6, target_high=1.6,
    )  # fmt: skip
    bounded = history(OUTPUTS | {"5": "Sigmoid"})
    evidence = run(
        series(np.ones(STEPS)), predictions={}, data={}, activations=bounded, batches=grey
    )
    assert ("output-range-mismatch" in names(evidence)) is expected


@pytest.mark.parametrize(("newest", "expected"), [(4.0, True), (0.05, False)])
def test_statistics_that_have_caught_up_are_no_mismatch(newest, expected):
    tried = np.isin(np.arange(SNAPSHOTS), [20, 38])
    caught = batches(
        trial_loss=np.where(tried, 0.04, np.nan),
        trial_eval_loss=np.where(
            np.arange(SNAPSHOTS) == 38, newest, np.where(tried, 9.0, np.nan)
        ),
        trial_eval_distance=np.where(tried, 2.0, np.nan),
    )
    found = names(run(batches=caught, **BAD_VALIDATION))
    assert ("train-eval-mismatch" in found) is expected
