"""Each check finds its fault, stays clear of the healthy twin, and says when it cannot tell."""

from dataclasses import replace

import numpy as np
import pytest
from tests.detector.checks import batch_cases, curve_cases
from tests.detector.checks.builders import (
    FALLING,
    LOST,
    MOVING,
    OUTPUTS,
    RELU,
    RISING,
    SNAPSHOTS,
    STEPS,
    STUCK,
    WEIGHTS,
    failing,
    history,
    labels,
    noise,
    predictions,
    run,
    series,
)

from backslide_detector.checks.registry import load_checks, run_checks
from backslide_detector.checks.stated import recent
from backslide_detector.evidence import Provenance
from backslide_detector.finding import Clear, Crashed, Found, Severity, Skipped

EMPTY = run(
    None, activations=None, gradients=None, weights=None, updates=None, predictions={}, data={}
)
FADING = history(WEIGHTS, rms=[1e-8, 1e-6, 1e-4, 1e-2], abs_max=[1e-7, 1e-5, 1e-3, 1e-1])
GROWING = history(WEIGHTS, rms=np.geomspace(1e-2, 1e2, SNAPSHOTS)[:, None])
HALF_DEAD = history(OUTPUTS, dead_fraction=np.where(np.isnan(RELU), np.nan, 0.66))
DEAD = history(OUTPUTS, dead_fraction=np.where(np.isnan(RELU), np.nan, 0.97))
TANHS = {name: kind.replace("ReLU", "Tanh") for name, kind in OUTPUTS.items()}
TANH = np.where([kind == "Tanh" for kind in TANHS.values()], 0.9, np.nan)
AT_BOUNDS = history(TANHS, saturated_fraction=TANH, std=0.99)
FREE = history(TANHS, saturated_fraction=TANH / 9, std=0.5)
BROKEN = history(WEIGHTS, nonfinite_fraction=(np.arange(SNAPSHOTS) >= 20)[:, None])
HICCUP = history(WEIGHTS, rms=1e-2, nonfinite_fraction=(np.arange(SNAPSHOTS) == 2)[:, None])
ONE_LEAP = history(WEIGHTS, rms=np.where(np.arange(SNAPSHOTS) == 5, 0.09, 1e-8)[:, None])
STILL = history(WEIGHTS, rms=np.where([True, False, False, False], 0.1, MOVING))
NO_STEP = history(WEIGHTS, rms=0.0, abs_max=0.0)
HALF_STEP = history(WEIGHTS, rms=[0.0, 1e-4, 1e-4, 1e-4], abs_max=[0.0, 1e-3, 1e-3, 1e-3])
CUT = history(dict(list(WEIGHTS.items())[1:]), rms=1e-2, abs_max=5e-2)
STILL_BEHIND = history(WEIGHTS, rms=np.where([False, True, False, False], 0.1, MOVING))
STOPPED = history(WEIGHTS, rms=np.where([True, True, True, False], 0.1, MOVING))
THREE_STILL = history(WEIGHTS, rms=[0.0, 0.0, 0.0, 1e-4], abs_max=[0.0, 0.0, 0.0, 1e-3])
NO_SLOPE = history(WEIGHTS, rms=[0.0, 0.0, 0.0, 1e-2], abs_max=[0.0, 0.0, 0.0, 5e-2])
FIRES = history(OUTPUTS, dead_fraction=RELU)
LEAPS = history(WEIGHTS, rms=0.05, abs_max=0.2)
CRAWL = history(WEIGHTS, rms=1e-8, abs_max=1e-7)
SHRUNK = history(WEIGHTS, rms=np.geomspace(0.1, 1e-4, SNAPSHOTS)[:, None])
EQUAL = history(WEIGHTS, rms=0.1, mean=0.1, std=[0.0, 0.0, 0.1, 0.1])
DECAYED = series(np.where(np.arange(STEPS) < 5, 0.1, 1e-9))
VAL_UP = series(np.r_[np.linspace(2, 0.8, 10), np.linspace(0.85, 2.0, 20)], every=13)
ERRORS_UP = series(np.r_[np.linspace(0.9, 0.05, 10), np.linspace(0.05, 0.2, 20)], every=13)
VAL_DOWN = series(np.linspace(2, 0.3, 30), every=13)
FADING_COST = np.geomspace(2.3, 0.1, SNAPSHOTS)
MORE_CONFIDENT = series(np.r_[np.linspace(2, 0.2, 10), np.linspace(0.2, 0.6, 20)], every=13)
THROWN = series(np.r_[[2.3, 2.3, 900.0], np.full(20, 60.0), FALLING.values[23:]])
NOISE = noise(50)
UNTOUCHED = Provenance(initial_weights="w", final_weights="w")
BUMPED = series(np.r_[[2.3, 2.3], np.full(9, 2.6), FALLING.values[11:]])
REPLACED = history(WEIGHTS, rms=np.where(np.arange(SNAPSHOTS) == 0, 0.09, 1e-4)[:, None])
CRUSHED = history(WEIGHTS, rms=np.geomspace(0.1, 1e-3, SNAPSHOTS)[:, None])
ONE_CRUSHED = history({"0.weight": "Linear"}, rms=np.geomspace(0.1, 1e-3, SNAPSHOTS)[:, None])
NORMED = history(WEIGHTS | {"7.weight": "LayerNorm"}, rms=CRUSHED.rms[:, :1])
FROM_ZERO = history(WEIGHTS, rms=2e-3, std=2e-3)  # after a first step
FROM_A_TENTH = history(WEIGHTS, mean=0.1, std=2e-3)
SMOOTH_TEN = 1.4612
LOUD = history(OUTPUTS, rms=[1.0, 2.0, 4.0, 8.0, 16.0])
WILD = series(np.r_[30.0, 30.0 + noise(STEPS - 1)])
FAR_OFF = series(np.r_[1e6, FALLING.values[1:]])
RUN_AWAY = series(np.where(np.arange(STEPS) < 50, FALLING.values, 1e6))
GROWING_ON = batch_cases.batches(
    cross_entropy=1.0, output_low=-0.9, output_high=np.linspace(0.1, 1.0, SNAPSHOTS)
)
TAKEN_FOR_LOGITS = batch_cases.batches(cross_entropy=1.0, output_low=0.0, output_high=0.99)
ALL_WRONG = replace(
    TAKEN_FOR_LOGITS, predictions=tuple((y + 1) % 10 for y in TAKEN_FOR_LOGITS.targets)
)
MIXED_AT_TIMES = replace(
    ALL_WRONG,
    numbers=ALL_WRONG.numbers
    | {"cross_entropy": np.where(np.arange(SNAPSHOTS) % 10, 1.0, 0.2)},
)
ONE_ANSWER = predictions(labels(), ["3"] * 300)
A_FIFTH_WRONG = predictions(
    labels(), [str((int(x) + (i % 5 == 1)) % 10) for i, x in enumerate(labels())]
)
MOSTLY_ONE = predictions(["1"] * 97 + ["2"] * 3, ["1"] * 100)
TWO_ANSWERS = predictions(labels(), ["3", "3", "3", "3", "4"] * 60)
FEW_ZEROS = {"train": replace(run().data["train"], class_counts={"0": 900, "1": 50, "2": 50})}
FEW_OF_ALL = {"train": replace(run().data["train"], class_counts={"0": 20, "1": 2, "2": 2})}
BLIND = predictions(["0", "1", "2"] * 20, ["0"] * 58 + ["1", "2"])
SEEING = predictions(["0", "1", "2"] * 20, ["0", "1", "2"] * 20)
NUMBERS = predictions([float(i) for i in range(60)], [30.0] * 60)
STOOD_STILL = series(np.maximum(2.3 - np.arange(STEPS) / 60, 1.5) + noise())
FORGETS = batch_cases.batches(memory=batch_cases.tried(1e-9))
CUT_OFF = batch_cases.batches(cross_entropy=1.0, output_low=0.0, output_high=3.0)

SUMMED = series(batch_cases.ROWS * FALLING.values)
MEANS = batch_cases.batches(loss=FALLING.values[:: STEPS // SNAPSHOTS])
FUNCTIONAL = history({"fc1": "Linear", "fc2": "Linear", "fc3": "Linear"})


def gain(times):
    """Two layers that make what passes them so many times as large, of 64 inputs a unit."""
    layers = dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), "Linear")
    found = history(layers, rms=times / 8.0)
    return replace(found, count=np.array([4096, 64, 4096, 64]))


def outsized(data):
    """Such weights in a network that errs on a fifth."""
    return run(curve_cases.DONE, weights=gain(30.0), data=data, predictions=A_FIFTH_WRONG)


def leap(times):
    """A first step that made them so."""
    return history({"0.weight": "Linear", "2.weight": "Linear"}, rms=times / 8.0)


def all_zeros(cross_entropy):
    """Batches of class 0 alone, if the gradient can be believed."""
    zeros = np.zeros((SNAPSHOTS, batch_cases.ROWS))
    return batch_cases.batches(targets=zeros, cross_entropy=cross_entropy)


def left_out(*names):
    """Gradients of three layers; those named are exactly zero in nine units of ten."""
    layers = [f"fc{i}.{part}" for i in (1, 2, 3) for part in ("weight", "bias")]
    zero = [0.9 if name in names else 0.0 for name in layers]
    return history(dict.fromkeys(layers, "Linear"), zero_fraction=zero)


def vectors(loss=batch_cases.SQUARED, **numbers):
    """A run that answers with several numbers an example."""
    seen = batch_cases.batches(kind="vectors", **numbers)
    return run(loss, predictions={}, data={}, batches=seen)


def counted():
    """A network that learned the logarithms of rates, by a Poisson likelihood."""
    rates = np.exp(1.0 + 0.7 * np.random.default_rng(5).normal(size=300))
    counts = np.random.default_rng(6).poisson(rates)
    loss = series(-2.0 + 2.6 * np.exp(-np.arange(STEPS) / 9) + noise(scale=1.0))
    table = predictions(counts.astype(float).tolist(), np.log(rates).tolist())
    return run(loss, predictions=table, data={}, batches=batch_cases.batches(kind="values"))


def signs():
    """What the gradient of a binary cross-entropy of targets -1 and 1 is read as."""
    logits = np.random.default_rng(7).normal(size=batch_cases.NUMBERS.shape)
    wanted = np.sign(batch_cases.NUMBERS)
    read = logits - (1.0 / (1.0 + np.exp(-logits)) - wanted) / 2.0
    found = batch_cases.batches(kind="values", targets=read, outputs=1.0)
    return replace(found, predictions=tuple(logits))


COUNTED = counted()
SIGNS = signs()
BEATS = {"backslide/last_seen": series(np.linspace(0, 9_000, 100))}

FOUND = {
    "nan-or-inf": [
        failing(LOST),
        run(weights=BROKEN),
        run(series(np.where(np.arange(STEPS) % 10 == 9, np.nan, FALLING.values)[:-1])),
        failing(STUCK, gradients=BROKEN),
        failing(series([*([2.3] * STEPS), 1.797e308])),
    ],
    "vanishing-gradient": [failing(gradients=FADING), failing(batches=FORGETS)],
    "exploding-gradient": [
        failing(RISING, gradients=GROWING),
        failing(LOST, gradients=history(WEIGHTS, rms=1e3)),
    ],
    "dead-units": [
        failing(activations=DEAD),
        failing(activations=FUNCTIONAL, gradients=left_out("fc1.bias")),
        failing(activations=HALF_DEAD),
        failing(activations=HALF_DEAD, batches=batch_cases.LOST_INPUTS),
        failing(activations=DEAD, batches=batch_cases.SOUND),
    ],
    "saturated-activation": [failing(activations=AT_BOUNDS)],
    "unchanged-weights": [
        failing(weights=STILL, updates=HALF_STEP),
        failing(weights=STILL, updates=HALF_STEP, gradients=CUT),
        failing(weights=STOPPED, updates=THREE_STILL, gradients=NO_SLOPE, activations=FIRES),
        failing(weights=history(WEIGHTS), updates=NO_STEP),
        failing(weights=None, updates=None, gradients=None),
        failing(idle=("0.weight", "0.bias")),
        failing(batches=batch_cases.SELDOM),
        failing(batches=batch_cases.EACH_EPOCH, series={"val_loss": series(range(40))}),
        run(weights=None, updates=None, gradients=None, provenance=UNTOUCHED),
        run(idle=("4.weight",)),
        run(
            idle=("0.weight", "0.bias"),
            drawn=("0.weight",),
            predictions=batch_cases.HALF_RIGHT,
        ),
        run(weights=STILL, updates=HALF_STEP, gradients=CUT, drawn=("0.weight",)),
    ],
    "learning-rate-too-high": [
        failing(RISING),
        failing(LOST, updates=LEAPS),
        run(RUN_AWAY),
        run(THROWN, updates=REPLACED, predictions=batch_cases.HALF_RIGHT),
        run(BUMPED, updates=REPLACED, predictions=batch_cases.HALF_RIGHT),
        run(SUMMED, updates=LEAPS, predictions=batch_cases.HALF_RIGHT, batches=MEANS),
    ],
    "learning-rate-too-low": [
        failing(updates=CRAWL),
        failing(updates=history(WEIGHTS, rms=2e-6, abs_max=1e-5)),  # under 1 % in all steps
        run(  # what it fell by is noise
            series(2.3 - np.arange(STEPS) / 4_000 + noise(scale=0.3)),
            updates=CRAWL,
            predictions=batch_cases.HALF_RIGHT,
        ),
        failing(updates=None, series={"lr": DECAYED}),
        run(STOOD_STILL, predictions=batch_cases.HALF_RIGHT, series={"lr": DECAYED}),
        failing(
            updates=CRAWL,
            gradients=history(WEIGHTS, rms=1e-8, abs_max=1e-7),
            series={"gradient/norm": series([1.0] * STEPS)},
        ),
    ],
    "over-regularized": [
        failing(weights=SHRUNK),
        failing(shrink=0.03),
        failing(dropping=("2",), weights=None),
        failing(
            series(20.0 + noise()),
            batches=batch_cases.batches(cross_entropy=1.0, loss=2.3 + noise(SNAPSHOTS)),
        ),
        run(weights=CRUSHED, predictions={}, data={}),
        batch_cases.numbers(
            batch_cases.NUMBERS[0],
            0.3 * batch_cases.NUMBERS[0],
            loss=series(20.0 + noise()),
            batches=batch_cases.batches(
                kind="values",
                targets=batch_cases.NUMBERS,
                loss=1.0 + noise()[:: STEPS // SNAPSHOTS],
            ),
        ),
    ],
    "symmetric-weights": [
        run(
            series(2.3 * np.exp(-np.arange(STEPS) / 20)),
            weights=FROM_A_TENTH,
            predictions=curve_cases.A_TENTH_WRONG,
            alike=("0.weight", "2.weight"),
        ),
        failing(weights=EQUAL),
        failing(weights=history({"0.weight": "Embedding", "1.weight": "Linear"}, std=0.0)),
        failing(alike=("0.weight", "2.weight")),
        run(
            batch_cases.POOR,
            predictions=batch_cases.HALF_RIGHT,
            alike=("0.weight", "2.weight"),
        ),
    ],
    "poor-initialization": [
        failing(WILD, activations=None),
        failing(WILD, activations=LOUD),
        run(activations=AT_BOUNDS, predictions=curve_cases.A_THIRD_WRONG),
        run(FAR_OFF, activations=LOUD, predictions=curve_cases.A_THIRD_WRONG),
        failing(WILD, activations=LOUD, predictions={}, data={}, batches=ALL_WRONG),
        failing(weights=gain(30.0)),
        outsized(curve_cases.EASY),
        failing(weights=gain(1e-4), updates=leap(1e-6)),
    ],
    "overfitting": [
        run(series={"val_loss": VAL_UP}, predictions={}),
        run(series={"val_loss": VAL_UP}, predictions={}, data={}),
        run(series={"val_loss": VAL_UP, "val/error": ERRORS_UP}),
        run(series={"val_loss": VAL_UP, "val/error": series([0.5] * 30, every=13)}),
        run(series={"val_loss": curve_cases.SURE, "val/error": curve_cases.JUMPING_BACK}),
    ],
    "loss-not-decreasing": [
        failing(STUCK),
        run(STUCK, batches=batch_cases.GUESSED, **batch_cases.AT_PLACES),
        failing(RISING),
        failing(LOST),
        vectors(
            series(1.0 + 3.0 * (np.arange(STEPS) < 9)), output_spread=0.1, target_spread=1.0
        ),
    ],
    "constant-output": [
        run(predictions=ONE_ANSWER),
        run(predictions=NUMBERS, data={}),
        vectors(output_spread=1e-3, target_spread=1.0),
        vectors(FALLING, output_spread=1e-6, target_spread=1.0, output_low=0, output_high=1),
    ],
    "class-collapse": [run(predictions=TWO_ANSWERS)],
    "output-loss-mismatch": [
        run(series(np.maximum(2.3 - np.arange(STEPS) / 50, SMOOTH_TEN) + abs(noise()))),
        run(batches=TAKEN_FOR_LOGITS),
        run(
            batches=batch_cases.batches(cross_entropy=1.0, output_low=0.05, output_high=0.2),
            activations=history(OUTPUTS | {"5": "Softmax"}),
        ),
        run(batches=batch_cases.batches(cross_entropy=1.0, output_low=-0.99, output_high=0.98)),
        run(series(-np.arange(STEPS) / 10.0), batches=batch_cases.batches(cross_entropy=0.0)),
        failing(series(np.zeros(STEPS))),
        run(batch_cases.POOR, predictions=batch_cases.HALF_RIGHT, batches=CUT_OFF),
        run(
            batch_cases.POOR,
            predictions=batch_cases.HALF_RIGHT,
            batches=batch_cases.batches(cross_entropy=1.0, output_low=0.2, output_high=3.0),
            activations=history(OUTPUTS | {"5": "ReLU"}),
        ),
        run(batches=SIGNS),
        batch_cases.numbers(NOISE, NOISE[::-1], batches=batch_cases.FOLLOWING),
    ],
    "class-imbalance": [
        run(data=FEW_ZEROS, predictions=BLIND),
        run(predictions=predictions(labels(), ["0"] * len(labels())), batches=all_zeros(1.0)),
    ],
    "stalled-run": [run(status="RUNNING", series=BEATS)],
    **curve_cases.FOUND,
    **batch_cases.FOUND,
}
CLEAR = {
    "nan-or-inf": [run(gradients=HICCUP), failing(STUCK)],
    "vanishing-gradient": [
        run(gradients=FADING),
        failing(STUCK),
        run(batches=FORGETS),
        failing(batches=batch_cases.batches(memory=batch_cases.tried(0.1))),
    ],
    "exploding-gradient": [run(gradients=GROWING), failing(STUCK)],
    "dead-units": [
        run(activations=DEAD),
        failing(activations=HALF_DEAD, batches=batch_cases.SOUND),
        failing(STUCK),
        run(activations=FUNCTIONAL, gradients=left_out("fc1.bias")),
        failing(activations=FUNCTIONAL, gradients=left_out("fc1.weight", "fc3.bias")),
    ],
    "saturated-activation": [run(activations=AT_BOUNDS), failing(activations=FREE)],
    "unchanged-weights": [
        run(weights=STILL, updates=HALF_STEP),
        failing(STUCK),
        run(batches=batch_cases.SELDOM),
        failing(batches=batch_cases.GATHERED),
        failing(batches=batch_cases.EACH_EPOCH),
        failing(batches=batch_cases.SELDOM, status="RUNNING"),
        failing(weights=STILL, updates=CRAWL),
        failing(weights=STOPPED, updates=THREE_STILL, gradients=NO_SLOPE, activations=DEAD),
        run(idle=("0.weight", "0.bias")),
        run(idle=("0.weight", "0.bias"), drawn=("4.weight",)),
        run(idle=("0.weight", "0.bias"), drawn=("0.weight",)),  # and all there was is learned
        run(weights=STILL_BEHIND, updates=HALF_STEP, gradients=CUT, drawn=("2.weight",)),
    ],
    "learning-rate-too-high": [
        run(updates=LEAPS),
        failing(STUCK),
        failing(WILD),
        run(updates=REPLACED, predictions=batch_cases.HALF_RIGHT),  # from zero, and no rise
        run(BUMPED, updates=REPLACED),
        run(THROWN, updates=REPLACED),  # and yet it learned all there was
        failing(updates=LEAPS, dropping=("2",)),
        run(SUMMED, updates=LEAPS, predictions=batch_cases.HALF_RIGHT),  # it began far off
    ],
    "learning-rate-too-low": [
        run(updates=CRAWL),
        failing(updates=ONE_LEAP),  # and what it left behind stands still
        run(
            series(2.3 - np.arange(STEPS) / 400 + noise(scale=0.3)),
            updates=CRAWL,
            predictions=batch_cases.HALF_RIGHT,
        ),
        failing(updates=history(WEIGHTS, rms=5e-6, abs_max=2e-5)),
        failing(STUCK),
        run(series={"lr": DECAYED}),
        run(batch_cases.POOR, predictions=batch_cases.HALF_RIGHT, series={"lr": DECAYED}),
    ],
    "over-regularized": [
        run(weights=SHRUNK),
        failing(STUCK),
        run(shrink=0.03, dropping=("2",)),
        failing(weights=ONE_CRUSHED, shrink=1e-4),  # zero may be a straight line's best
        run(weights=NORMED, predictions={}, data={}),
        failing(shrink=9e-4),
        batch_cases.numbers(  # another loss than the squared errors, which do not move it
            batch_cases.NUMBERS[0],
            0.3 * batch_cases.NUMBERS[0],
            loss=series(20.0 + noise()),
            batches=batch_cases.batches(
                kind="values", targets=batch_cases.NUMBERS, loss=0.01 + 0.1 * noise(SNAPSHOTS)
            ),
        ),
        failing(  # what is left over swings with the batches, as under another loss
            series(20.0 + noise(scale=5.0)),
            batches=batch_cases.batches(cross_entropy=1.0, loss=2.3 + noise(SNAPSHOTS)),
        ),
        run(
            series(20.0 + noise()),
            batches=batch_cases.batches(cross_entropy=1.0, loss=FADING_COST),
        ),
    ],
    "symmetric-weights": [
        run(weights=EQUAL),
        failing(STUCK),
        run(alike=("0.weight", "2.weight")),
        run(
            weights=FROM_ZERO,
            predictions=curve_cases.A_TENTH_WRONG,
            alike=("0.weight", "2.weight"),
        ),
        failing(alike=("6.weight",)),  # an output layer from zero
    ],
    "poor-initialization": [
        failing(STUCK),
        run(),
        failing(WILD),
        run(activations=AT_BOUNDS),
        run(FAR_OFF, activations=LOUD),
        failing(
            WILD, activations=LOUD, predictions={}, data={},
            batches=replace(ALL_WRONG, numbers=batch_cases.SOUND.numbers),
        ),  # no cross-entropy: its outputs may be no classes

        failing(  # mixed pairs in a tenth of the batches
            WILD, activations=LOUD, predictions={}, data={}, batches=MIXED_AT_TIMES
        ),
        run(weights=gain(30.0)),
        outsized(curve_cases.NOISY),
        failing(weights=gain(5.0)),
        failing(weights=gain(30.0), updates=leap(30.0)),
        failing(weights=gain(0.1)),
        run(weights=gain(1e-4), updates=leap(1e-6), predictions=curve_cases.A_THIRD_WRONG),
    ],
    "overfitting": [
        run(series={"val_loss": VAL_DOWN}),
        run(series={"val_loss": curve_cases.SURE, "val/error": curve_cases.JUMPING}),
        run(
            curve_cases.CREEPING,
            series={"val_loss": curve_cases.SURE, "val/error": curve_cases.JUMPING_BACK},
        ),
        run(series={"val_loss": MORE_CONFIDENT}, predictions={}, data={}),
        run(series={"val_loss": MORE_CONFIDENT}, predictions={}),
        run(series={"val_loss": VAL_UP, "val/error": series([0.12] * 30, every=13)}),
    ],
    "loss-not-decreasing": [
        run(),
        run(STUCK, batches=batch_cases.LEARNED, **batch_cases.AT_PLACES),  # a part of the loss
        COUNTED, replace(COUNTED, batches=None),
    ],
    "constant-output": [
        run(),
        run(predictions=MOSTLY_ONE),
        vectors(output_spread=0.5, target_spread=1.2),
        vectors(  # a sum of squares makes targets look as far apart as it is large
            FALLING, output_spread=0.1, target_spread=1e5, output_low=0, output_high=1
        ),
    ],
    "class-collapse": [run()],
    "output-loss-mismatch": [
        run(),
        failing(STUCK),
        run(batches=batch_cases.batches(cross_entropy=1.0, output_low=-3.0, output_high=9.0)),
        run(batches=batch_cases.batches(cross_entropy=0.0, output_low=0.0, output_high=1.0)),
        run(batches=batch_cases.batches(cross_entropy=1.0, output_low=0.0, output_high=0.3)),
        run(batches=GROWING_ON),
        run(batches=CUT_OFF),
        run(batches=replace(SIGNS, targets=SIGNS.predictions)),
        batch_cases.numbers(NOISE, NOISE, batches=batch_cases.FOLLOWING),
        batch_cases.numbers(NOISE, NOISE[::-1], batches=batch_cases.STAYING),
        run(series(-np.arange(STEPS) / 10.0), batches=batch_cases.batches(cross_entropy=1.0)),
    ],
    "class-imbalance": [
        run(),
        run(data=FEW_ZEROS, predictions=SEEING),
        run(data=FEW_OF_ALL, predictions=BLIND),
        run(predictions=predictions(labels(), ["0"] * len(labels())), batches=all_zeros(0.0)),
        run(batches=all_zeros(1.0)),
    ],
    "stalled-run": [run(series=BEATS), run(status="RUNNING", series={
        "backslide/last_seen": series([float(STEPS)])})],
    **curve_cases.CLEAR,
    **batch_cases.CLEAR,
}  # fmt: skip
SKIPPED = {
    "nan-or-inf": EMPTY,
    "vanishing-gradient": run(gradients=history({"0.weight": "Linear"})),
    "dead-units": run(activations=history({"0": "Linear", "1": "Linear"})),
    "saturated-activation": run(),
    "unchanged-weights": run(weights=None),
    "loss-not-decreasing": run(series([2.3] * 20), predictions={}),
    "overfitting": run(series={"val_loss": series([1.0, 0.9])}),
    "class-collapse": run(predictions=NUMBERS, data={}),
    "class-imbalance": run(predictions=predictions(["1"], ["1"])),
    "stalled-run": run(status="RUNNING"),
    **curve_cases.SKIPPED,
    **batch_cases.SKIPPED,
}


def outcome(name, evidence):
    (check,) = [check for check in load_checks() if check.name == name]
    (result,) = run_checks(evidence, [check])
    return result.outcome


def cases(table):
    return [
        pytest.param(name, evidence, id=f"{name}-{number}")
        for name, several in table.items()
        for number, evidence in enumerate(several if isinstance(several, list) else [several])
    ]


def test_every_check_has_found_and_clear_cases():
    # Those that compare a run with the one before have cases in tests/detector/inside.
    names = {check.name for check in load_checks() if check.family != "inside"}
    assert set(FOUND) == names
    assert set(CLEAR) == names


@pytest.mark.parametrize(("name", "evidence"), cases(FOUND))
def test_the_fault_is_found(name, evidence):
    found = outcome(name, evidence)
    assert isinstance(found, Found), found
    assert found.severity is not Severity.NOTE
    assert found.sentence.endswith(".")
    assert any(letter.isdigit() for letter in found.sentence), "a finding has numbers"
    assert found.advice.endswith(".")
    assert all(np.isfinite(list(found.numbers.values())))


@pytest.mark.parametrize(("name", "evidence"), cases(CLEAR))
def test_the_healthy_twin_is_clear(name, evidence):
    assert isinstance(outcome(name, evidence), Clear), outcome(name, evidence)


@pytest.mark.parametrize(("name", "evidence"), cases(SKIPPED))
def test_what_cannot_be_told_is_skipped_with_a_reason(name, evidence):
    found = outcome(name, evidence)
    assert isinstance(found, Skipped), found
    assert found.reason


def test_nothing_is_found_in_a_run_without_evidence():
    assert {type(result.outcome) for result in run_checks(EMPTY)} <= {Skipped, Clear}


def test_nothing_is_found_in_a_healthy_run():
    healthy = run(series={"val_loss": VAL_DOWN, "lr": series([1e-3] * STEPS)})
    assert not [r for r in run_checks(healthy) if isinstance(r.outcome, Found)]


def test_a_rate_that_is_too_high_comes_before_what_it_brings_about():
    ruined = failing(LOST, updates=LEAPS, activations=DEAD, weights=BROKEN)
    names = [r.check for r in run_checks(ruined) if isinstance(r.outcome, Found)]
    assert names[:3] == ["learning-rate-too-high", "dead-units", "nan-or-inf"]


def test_batches_sampled_before_the_fall_say_nothing_of_its_end():
    steps = np.arange(STEPS)
    ruined = series(np.where(steps < 200, 2.3 * np.exp(-steps / 40), 3.0) + noise() + 0.05)
    right = replace(batch_cases.batches(cross_entropy=1.0), steps=np.arange(SNAPSHOTS) * 4)
    answers = predictions(labels(), ["1"] * len(labels()))
    found = run_checks(run(ruined, batches=right, predictions=answers))
    names = [result.check for result in found if isinstance(result.outcome, Found)]
    assert names[0] == "learning-rate-too-high"
    assert not {"label-mismatch", "label-noise"} & set(names)


def test_what_is_seen_in_the_network_comes_before_what_held_out_data_suggest():
    mislabelled = run(predictions=curve_cases.CHANCE)
    left_out = replace(mislabelled, idle=("0.weight",), drawn=("0.weight",))
    for evidence, first in (mislabelled, "label-mismatch"), (left_out, "unchanged-weights"):
        found = [r.check for r in run_checks(evidence) if isinstance(r.outcome, Found)]
        assert found[0] == first


@pytest.mark.parametrize(
    ("name", "evidence", "layer"),
    [
        ("dead-units", failing(activations=DEAD), "1"),
        ("saturated-activation", failing(activations=AT_BOUNDS), "1"),
        ("vanishing-gradient", failing(gradients=FADING), "0"),
        ("unchanged-weights", failing(weights=STILL, updates=HALF_STEP), "0"),
    ],
)
def test_the_layer_is_named(name, evidence, layer):
    assert outcome(name, evidence).layer == layer


def test_units_whose_outputs_are_lost_are_not_called_dead():
    lost = replace(DEAD, nonfinite_fraction=np.ones_like(DEAD.dead_fraction))
    assert not isinstance(outcome("dead-units", failing(activations=lost)), Found)


def test_layers_that_are_numbers_are_named_with_their_class():
    assert (
        "units of layer 1 (ReLU) never"
        in outcome("dead-units", failing(activations=DEAD)).sentence
    )


def test_a_learning_rate_of_nothing_is_named():
    still = failing(updates=CRAWL, series={"lr": DECAYED})
    assert (
        "size: the learning rate is 1e-09 since step 5."
        in outcome("learning-rate-too-low", still).sentence
    )


def test_the_last_activation_is_named_where_it_may_be_the_cause():
    ends = history({"0": "Linear", "1": "Softmax"})
    found = outcome("constant-output", run(predictions=ONE_ANSWER, activations=ends))
    assert found.advice.endswith("layer 1 (Softmax): over a single output it is always 1.")


def test_of_errors_that_fall_the_newest_counts_and_of_others_their_median():
    assert recent(series([0.4, 0.24, 0.14])) == pytest.approx(0.14)
    assert recent(series([0.4, 0.10, 0.14])) == pytest.approx(0.14)
    assert recent(series([0.1, 0.3, 0.2])) == pytest.approx(0.2)


def test_doubt_that_dropout_brings_is_no_doubt_of_the_labels():
    held = {"val_loss": curve_cases.FLAT_HIGH, "val/error": curve_cases.FEW_ERRORS}
    for evaluated, kind in (0.5, Clear), (1.9, Found):
        seen = batch_cases.batches(
            cross_entropy=1.0,
            trial_loss=batch_cases.tried(2.0),
            trial_eval_loss=batch_cases.tried(evaluated),
        )
        evidence = run(curve_cases.CREEPING, series=held, batches=seen)
        assert isinstance(outcome("label-noise", evidence), kind)


def test_gradients_wiped_before_the_step_are_not_called_a_missing_step():
    wiped = failing(weights=history(WEIGHTS), updates=NO_STEP, gradients=None)
    assert "never stepped" in outcome("unchanged-weights", wiped).sentence
    found = outcome("unchanged-weights", replace(wiped, batches=batch_cases.SOUND))
    assert "no parameter has a gradient" in found.sentence
    assert found.advice.startswith("Call zero_grad()")


def test_nan_or_inf_names_the_first_step():
    assert outcome("nan-or-inf", failing(LOST)).since_step == 200
    assert outcome("nan-or-inf", run(weights=BROKEN)).since_step == 20 * STEPS // SNAPSHOTS


def test_nan_or_inf_names_the_inputs_that_brought_it():
    bad = np.where(np.arange(SNAPSHOTS) == 15, 0.01, 0.0)
    found = outcome(
        "nan-or-inf",
        failing(LOST, batches=batch_cases.batches(input_nonfinite_fraction=bad)),
    )
    assert "inputs of step 150" in found.sentence
    assert "missing values" in found.advice


def mangled():
    """The plain run in every state that a file can leave it in."""
    plain = failing()
    roles = ("activations", "gradients", "weights", "updates")

    def everywhere(change):
        def column(array):
            return change(array) if array.ndim == 2 else array

        def layers(h):
            return replace(h, **{k: column(getattr(h, k)) for k in (
                "mean", "std", "rms", "abs_max", "zero_fraction", "nonfinite_fraction",
                "saturated_fraction", "dead_fraction")})  # fmt: skip

        return replace(
            plain,
            series={k: replace(s, values=change(s.values)) for k, s in plain.series.items()},
            **{role: layers(getattr(plain, role)) for role in roles},
        )

    def cut(rows):
        def shorter(h):
            columns = {k: v[:rows] for k, v in vars(h).items()
                       if isinstance(v, np.ndarray) and v.ndim >= 2}  # fmt: skip
            return replace(h, steps=h.steps[:rows], **columns)

        return replace(
            plain,
            series={k: type(s)(s.steps[:rows], s.values[:rows], s.times[:rows])
                    for k, s in plain.series.items()},
            **{role: shorter(getattr(plain, role)) for role in roles},
        )  # fmt: skip

    yield "empty", EMPTY
    yield "no rows", cut(0)
    yield "one row", cut(1)
    yield "two rows", cut(2)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("zero", 0.0), ("one", 1.0),
                        ("huge", 1.79e308), ("negative", -5.0)):  # fmt: skip
        yield name, everywhere(lambda a, value=value: np.full_like(a, value))
    yield "long", run(series(2.3 + noise(1_000_000)))
    for number, broken in enumerate(batch_cases.broken()):
        yield f"batches {number}", failing(batches=broken)
    yield "one example", run(predictions=predictions(["1"], ["1"]))


MANGLED = dict(mangled())


@pytest.mark.parametrize("state", MANGLED)
@pytest.mark.filterwarnings("error")
def test_every_check_survives_and_says_the_same_twice(state):
    evidence = MANGLED[state]
    first = run_checks(evidence)
    for result in first:
        assert not isinstance(result.outcome, Crashed), result.outcome.traceback
    assert repr(run_checks(evidence)) == repr(first)


def test_checks_leave_the_evidence_as_it_was():
    evidence = failing()
    before = [h.rms.tobytes() for h in (evidence.activations, evidence.weights)]
    for h in (evidence.activations, evidence.gradients, evidence.weights, evidence.updates):
        for column in vars(h).values():
            if isinstance(column, np.ndarray):
                column.setflags(write=False)
    assert not [r for r in run_checks(evidence) if isinstance(r.outcome, Crashed)]
    assert before == [h.rms.tobytes() for h in (evidence.activations, evidence.weights)]
