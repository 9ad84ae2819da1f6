"""Found, clear and skipped cases of the checks that read batches."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tests.detector.checks.builders import (
    COUNTS,
    OUTPUTS,
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

from backslide.contract import BATCHES_SCHEMA
from backslide_detector.evidence import Batches

ROWS = 32
RANDOM = np.random.default_rng(0)
EXAMPLES = RANDOM.integers(0, 1_000, (SNAPSHOTS, ROWS))
"""Which of the 1,000 training examples each batch drew."""
TRIED = np.isin(np.arange(SNAPSHOTS), [1, 6, 20])
ZEROS = np.zeros(SNAPSHOTS)


def truth(example: np.ndarray) -> np.ndarray:
    return (example % 10).astype(np.float64)


def batches(
    examples: np.ndarray = EXAMPLES,
    targets: Callable[[np.ndarray], np.ndarray] | np.ndarray = truth,
    kind: str = "classes",
    names: dict[str, str] | None = None,
    structural: bool = False,
    answered: np.ndarray | None = None,
    **numbers,
) -> Batches:
    """Batches of a sound run with some things changed; numbers broadcast to the snapshots."""
    wanted = targets(examples) if callable(targets) else targets
    columns = [f.name for f in BATCHES_SCHEMA if str(f.type) == "float"]
    usual = dict.fromkeys(columns, np.nan) | {
        "outputs": 10.0, "optimizer_steps": np.arange(SNAPSHOTS) * (STEPS // SNAPSHOTS) + 1,
        "input_rms": 1.0, "input_abs_max": 4.0, "input_spread_ratio": 3.0,
        "loss": 1.0, "gradient_balance": 0.1,
        "target_low": np.nan if kind == "classes" else float(wanted.min()),
        "target_high": np.nan if kind == "classes" else float(wanted.max()),
        "trial_loss": np.where(TRIED, 0.5, np.nan),
        "trial_eval_loss": np.where(TRIED, 0.5, np.nan),
        "trial_eval_distance": np.where(TRIED, 0.0, np.nan),
        "trial_noise": np.where(TRIED, 0.0, np.nan),
        "calls_training": 0.0, "calls_evaluation": np.where(TRIED, 4.0, 0.0),
        "calls_again": 0.0,
        "mixing": np.where(TRIED, 0.0, np.nan),
        "dependence": np.where(TRIED, 1.0, np.nan),
    }  # fmt: skip
    given = {"mixing_layer": "", "cut_layer": ""} | (names or {})
    return Batches(
        steps=np.arange(SNAPSHOTS) * (STEPS // SNAPSHOTS),
        examples=np.full(SNAPSHOTS, examples.shape[1]),
        training=np.full(SNAPSHOTS, True),
        numbers={
            name: np.array(np.broadcast_to(np.asarray(value, float), SNAPSHOTS))
            for name, value in (usual | numbers).items()
        },
        names={name: (layer,) * SNAPSHOTS for name, layer in given.items()},
        structural=np.full(SNAPSHOTS, structural),
        answers=(kind,) * SNAPSHOTS,
        digests=tuple(examples),
        predictions=tuple(wanted if answered is None else answered),
        targets=tuple(wanted),
    )


SOUND = batches()
HALF_RIGHT = predictions(labels(), [str((int(x) + i % 2) % 10) for i, x in enumerate(labels())])
POOR = series(np.linspace(2.3, 1.5, STEPS) + noise())
KNOWN = {"train": replace(COUNTS["train"], rows=1_000)}
FULL_BATCH = {"train": replace(COUNTS["train"], rows=ROWS)}
FIRST = np.tile(np.arange(ROWS), (SNAPSHOTS, 1))
SORTED = np.sort(np.arange(SNAPSHOTS * ROWS) // 128).reshape(SNAPSHOTS, ROWS).astype(float)
NUMBERS = np.random.default_rng(3).normal(size=(SNAPSHOTS, ROWS))
SORTED_NUMBERS = np.sort(NUMBERS.ravel()).reshape(SNAPSHOTS, ROWS)
ONE_EACH = np.repeat(np.arange(SNAPSHOTS) % 10, ROWS).reshape(SNAPSHOTS, ROWS).astype(float)
DONE = series(2.3 * np.exp(-np.arange(STEPS) / 40) + 0.01)
SQUARED = series(np.ones(STEPS))  # what the inferred losses of numbers agree with
ABSENT = run(batches=None)


def tried(value):
    return np.where(TRIED, value, np.nan)


def numbers(targets, answers, **changes):
    """A run whose answers are numbers."""
    given = {"data": {}, "loss": SQUARED} | changes
    table = predictions([float(t) for t in targets], [float(a) for a in answers])
    return run(given.pop("loss"), predictions=table, **given)


PULLED = batches(
    kind="values", loss=0.3, targets=np.tile(NUMBERS[:, :1], ROWS) + 1e-9 * NUMBERS
)  # fmt: skip
FOLLOWING = batches(
    kind="values", targets=NUMBERS, target_spread=np.geomspace(1.0, 0.05, SNAPSHOTS)
)  # fmt: skip
STAYING = batches(kind="values", targets=NUMBERS, target_spread=1.0)
THERE_AND_BACK = series(np.where(np.arange(STEPS) == 50, 1e12, 1.0))
LARGE_TARGETS = np.random.default_rng(4).normal(50.0, 10.0, 100)
SIGMOID = history(OUTPUTS | {"5": "Sigmoid"})
LOST_INPUTS = batches(dependence=tried(0.0), names={"cut_layer": "0"})
MIXED = batches(mixing=tried(0.4), names={"mixing_layer": "0"})
OTHERS = RANDOM.integers(0, 10, EXAMPLES.shape).astype(float)
DENSE = {"kind": "dense", "cross_entropy": 1.0}
AT_PLACES = {"data": {}, "predictions": {}}
"""A class at each place is neither counted nor evaluated by anybody else."""
GUESSED = batches(answered=OTHERS, loss=np.log(10), **DENSE)
LEARNED = batches(loss=0.5, **DENSE)
SELDOM = batches(optimizer_steps=3.0)
EACH_EPOCH = batches(optimizer_steps=STEPS / 10)
GATHERED = batches(optimizer_steps=STEPS / 4)
ATTENDS = batches(mixing=tried(0.02), names={"mixing_layer": "0"}, structural=True)
SHAKEN = {"trial_eval_distance": tried(0.8)}
UNFAIR = {"calls_training": tried(4.0), "calls_evaluation": 0.0, **SHAKEN}
CHANCY = {"trial_noise": tried(0.8), **SHAKEN}
WORSE = batches(trial_eval_loss=tried(3.0))
BAD_VALIDATION = {"predictions": predictions(labels(), np.roll(labels(), 1))}


def described(mean=0.0, spread=1.0):
    """Two data sets, the second one with such features."""
    features = {"0": {"mean": 0.0, "std": 1.0}}, {"0": {"mean": mean, "std": spread}}
    train, test = (replace(COUNTS["train"], features=each) for each in features)
    return {"train": train, "test": replace(test, name="test")}


HALVED = np.linspace(1.0, 0.5, STEPS)
FIVE = {"output_low": -5.0, "output_high": 5.0}
WITHIN_FIVE = batches(cross_entropy=1.0, **FIVE)

FOUND = {
    "input-scale": [
        failing(batches=batches(input_rms=1e4, input_abs_max=1e5, input_spread_ratio=1e5)),
        failing(batches=batches(input_rms=1e-4)),
        failing(RISING, batches=batches(input_rms=300.0)),
        run(batches=SOUND, data=described(spread=0.01), **BAD_VALIDATION),
        run(batches=SOUND, data=described(mean=130.0, spread=40.0), **BAD_VALIDATION),
        # Held-out answers that are no answers of training: no label could cost as much.
        run(batches=WITHIN_FIVE, series={"val_loss": series([20.0] * 9)}, **BAD_VALIDATION),
        numbers(NUMBERS[0], 50.0 * NUMBERS[1], series={"val_loss": series([2e3] * 9)},
                loss=series(HALVED), batches=batches(
                    kind="values", targets=NUMBERS, loss=HALVED[::STEPS // SNAPSHOTS], **FIVE)),
    ],
    "input-independent": [
        failing(batches=batches(np.tile(EXAMPLES[:, :1], ROWS))),
        failing(batches=LOST_INPUTS),
        run(batches=batches(np.tile(EXAMPLES[:, :1], ROWS)), **BAD_VALIDATION),
    ],
    "misaligned-batch": [
        failing(batches=MIXED),
        run(POOR, predictions=HALF_RIGHT, batches=MIXED),
        run(batches=ATTENDS),
        failing(batches=batches(targets=RANDOM.integers(0, 10, EXAMPLES.shape).astype(float))),
        run(POOR, batches=batches(targets=OTHERS, answered=OTHERS[::-1], **DENSE), **AT_PLACES),
        numbers(NUMBERS[0], NUMBERS[1], batches=PULLED),
        run(POOR, predictions=HALF_RIGHT, batches=batches(gradient_balance=1e-7, outputs=1.0)),
        run(batches=batches(gradient_balance=1e-7)),  # one output for each of ten classes
    ],
    "repeated-batch": [
        run(batches=batches(FIRST), data=KNOWN),
        run(batches=batches(FIRST), **(BAD_VALIDATION | {"data": {}})),
        run(DONE, batches=batches(FIRST, cross_entropy=1.0), **AT_PLACES),
    ],
    "ordered-batches": [
        failing(batches=batches(targets=SORTED)),
        run(POOR, predictions=HALF_RIGHT, batches=batches(targets=SORTED)),
        numbers(NUMBERS[0], NUMBERS[1],
                batches=batches(targets=SORTED_NUMBERS, kind="values")),
        numbers(NUMBERS[0], 0.5 * NUMBERS[0],
                batches=batches(targets=SORTED_NUMBERS, kind="values")),
        run(DONE, batches=batches(targets=ONE_EACH, cross_entropy=1.0), **AT_PLACES),
    ],
    "train-eval-mismatch": [
        run(batches=WORSE, **BAD_VALIDATION),
        # Half-way there in training mode, and worse than knowing nothing in the other.
        run(batches=batches(trial_loss=tried(2.0), trial_eval_loss=tried(5.0)),
            **BAD_VALIDATION),
        run(batches=batches(trial_loss=np.nan, trial_eval_loss=np.nan,
                            trial_eval_distance=tried(5.0)), **BAD_VALIDATION),
        run(batches=batches(**UNFAIR), series={"val_error": series([0.4] * 9)}),
        numbers(NUMBERS[0], NUMBERS[0] + 0.1, series={"val_loss": series([0.5] * 9)},
                batches=batches(kind="values", targets=NUMBERS, **UNFAIR)),
        run(batches=batches(**UNFAIR, trial_eval_loss=tried(0.2)), predictions={}),
        run(POOR, predictions=HALF_RIGHT, batches=batches(**CHANCY)),
    ],
    "output-range-mismatch": [
        numbers(LARGE_TARGETS, np.full(100, 0.99), activations=SIGMOID),
        numbers(LARGE_TARGETS, 1.0 - np.abs(noise(100, 1e-3)), activations=None),
        numbers(-LARGE_TARGETS, np.zeros(100), activations=None),
        run(SQUARED, predictions={}, data={}, activations=SIGMOID, batches=batches(
            kind="vectors", target_low=0.0, target_high=16.0,
            output_low=0.2, output_high=1.0)),
        run(SQUARED, **AT_PLACES, batches=batches(
            kind="values", targets=NUMBERS, answered=np.fmax(NUMBERS, 1e-3))),
        run(SQUARED, **AT_PLACES, batches=batches(
            kind="vectors", target_low=-3.0, target_high=3.0,
            output_low=1e-4, output_high=2.0)),
    ],
}  # fmt: skip
CLEAR = {
    "input-scale": [
        run(batches=SOUND, data=described(mean=130.0, spread=40.0)),  # and does well
        run(batches=SOUND, data=described(mean=2.0, spread=3.0), **BAD_VALIDATION),
        run(batches=WITHIN_FIVE, series={"val_loss": series([9.0] * 9)}, **BAD_VALIDATION),
        run(batches=WITHIN_FIVE, series={"val_loss": series([20.0] * 9)}),  # a sum, perhaps
        run(series(np.geomspace(2.3, 1e18, STEPS)), batches=WITHIN_FIVE,
            series={"val_loss": series([1e18] * 9)}, **BAD_VALIDATION),  # and so is training
        numbers(NUMBERS[0], NUMBERS[1], series={"val_loss": series([20.0] * 9)},
                batches=batches(kind="values", targets=NUMBERS, **FIVE)),
        run(batches=SOUND),
        run(batches=batches(input_rms=1e4)),  # and yet it learns
        failing(batches=batches(input_rms=8.0, input_abs_max=16.0)),
        failing(batches=batches(input_rms=0.03)),  # one-hot vectors of a thousand
    ],
    "input-independent": [
        run(batches=SOUND),
        failing(batches=SOUND),
        run(batches=batches(np.tile(EXAMPLES[:, :1], ROWS))),
        failing(batches=LOST_INPUTS, weights=history(WEIGHTS, rms=1e-5)),  # lost in rounding
        failing(batches=batches(dependence=tried(0.0))),  # lost bit by bit, or in dead units
    ],
    "misaligned-batch": [
        run(batches=SOUND),
        numbers(NUMBERS[0], NUMBERS[1], batches=PULLED, loss=THERE_AND_BACK),
        failing(batches=SOUND),
        run(batches=MIXED),  # on purpose, as it seems
        run(STUCK, batches=GUESSED, **AT_PLACES),
        run(batches=batches(targets=RANDOM.integers(0, 10, EXAMPLES.shape).astype(float))),
        failing(batches=batches(  # noise of half the labels
            targets=np.where(RANDOM.random(EXAMPLES.shape) < 0.5, truth(EXAMPLES), 3.0))),
        run(batches=batches(gradient_balance=1e-7, outputs=1.0)),  # ranked against each other
        failing(batches=batches(EXAMPLES % 4, RANDOM.integers(0, 2, EXAMPLES.shape) * 1.0)),
    ],
    "repeated-batch": [
        run(batches=SOUND, data=KNOWN),
        run(batches=batches(FIRST), data=FULL_BATCH),
        run(batches=batches(EXAMPLES % 300), **(BAD_VALIDATION | {"data": {}})),
        run(batches=batches(FIRST), data={}),  # perhaps that is all there is
        run(DONE, batches=batches(FIRST[:, :16], cross_entropy=1.0), **AT_PLACES),  # a table
        run(DONE, batches=batches(EXAMPLES % 100, cross_entropy=1.0), **AT_PLACES),
        run(POOR, batches=batches(FIRST, answered=OTHERS, cross_entropy=1.0), **AT_PLACES),
        failing(batches=batches(EXAMPLES % 4), data=KNOWN),  # four kinds of examples
    ],
    "ordered-batches": [
        run(batches=SOUND),
        failing(batches=SOUND),
        run(batches=batches(targets=SORTED)),
        numbers(NUMBERS[0], NUMBERS[0] + 0.3 * NUMBERS[1],
                batches=batches(targets=SORTED_NUMBERS, kind="values")),
    ],
    "train-eval-mismatch": [
        run(batches=SOUND),
        run(batches=WORSE),
        run(batches=batches(trial_loss=tried(2.0), trial_eval_loss=tried(4.5)),
            **BAD_VALIDATION),
        run(batches=batches(trial_loss=tried(1.5), trial_eval_loss=tried(0.5)),
            **BAD_VALIDATION),  # dropout
        failing(batches=batches(trial_loss=tried(2.3), trial_eval_loss=tried(9.0))),
        run(batches=batches(**UNFAIR), series={"val_error": series([0.02] * 9)}),
        run(batches=batches(**UNFAIR | {"calls_evaluation": 1.0}),
            series={"val_error": series([0.4] * 9)}),
        run(batches=batches(**UNFAIR, calls_again=tried(9.0)),  # sampled on purpose
            series={"val_error": series([0.4] * 9)}),
        run(batches=batches(**UNFAIR), predictions={}),
        run(batches=batches(**CHANCY)),
        run(POOR, predictions=HALF_RIGHT, batches=batches(**CHANCY, calls_again=1.0)),
        run(POOR, predictions=HALF_RIGHT, batches=batches(kind="vectors", **CHANCY)),
    ],
    "output-range-mismatch": [
        run(SQUARED, **AT_PLACES, batches=batches(
            kind="values", targets=NUMBERS, answered=0.9 * NUMBERS)),
        run(SQUARED, **AT_PLACES, batches=batches(  # a mean for all is no bound
            kind="values", targets=NUMBERS, answered=0.5 + 0.01 * np.abs(NUMBERS))),
        run(SQUARED, **AT_PLACES, batches=batches(
            kind="vectors", target_low=-3.0, target_high=3.0,
            output_low=NUMBERS[:, 0], output_high=2.0)),
        numbers(NUMBERS[0], NUMBERS[0]),
        numbers(LARGE_TARGETS, np.full(100, 0.01), activations=None),  # only too small
        numbers(np.abs(NUMBERS[0]) % 1.0, np.full(ROWS, 0.5), activations=SIGMOID),
        run(SQUARED, predictions={}, data={}, activations=SIGMOID, batches=batches(
            kind="vectors", target_low=0.0, target_high=1.0,
            output_low=0.2, output_high=1.0)),
    ],
}  # fmt: skip
SKIPPED = {
    "input-scale": [ABSENT, run(batches=batches(input_rms=np.nan))],
    "input-independent": [
        ABSENT,
        run(batches=batches(EXAMPLES[:, :1], dependence=np.nan)),
    ],
    "misaligned-batch": [ABSENT, run(batches=batches(kind="", mixing=np.nan))],
    "repeated-batch": [ABSENT, run(batches=batches(EXAMPLES[:, :1]))],
    "ordered-batches": [
        ABSENT,
        run(batches=batches(kind="")),
        run(batches=batches(targets=np.zeros(EXAMPLES.shape))),
        run(batches=batches(kind="values")),  # of another loss
        # Outputs that ran away look like classes, whatever was asked of them.
        failing(
            series(np.where(np.arange(STEPS) < 5, 2.0, 1e5)),
            batches=batches(targets=SORTED, cross_entropy=0.0),
        ),
    ],
    "train-eval-mismatch": [ABSENT, run(batches=batches(trial_eval_distance=np.nan))],
    "output-range-mismatch": [run(), run(predictions={}, batches=SOUND)],
}


def broken():
    """Batches in every state that a file can leave them in."""
    nothing = (np.empty(0),) * SNAPSHOTS
    for value in (np.nan, np.inf, 0.0, -1.0, 1e308):
        numbers = {name: np.full(SNAPSHOTS, value) for name in SOUND.numbers}
        for kind in ("classes", "values"):
            targets = (np.full(ROWS, value),) * SNAPSHOTS
            yield replace(SOUND, numbers=numbers, targets=targets, answers=(kind,) * SNAPSHOTS)
    yield replace(SOUND, digests=(np.empty(0, np.int64),) * SNAPSHOTS)
    yield replace(SOUND, targets=nothing, predictions=nothing)
    yield replace(SOUND, examples=np.zeros(SNAPSHOTS, np.int64))
    one = {name: values[:1] for name, values in SOUND.numbers.items()}
    columns = ("steps", "examples", "training", "structural", "answers", "digests", "targets")
    yield replace(SOUND, numbers=one, **{name: getattr(SOUND, name)[:1] for name in columns})
