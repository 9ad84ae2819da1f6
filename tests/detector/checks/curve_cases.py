"""Found, clear and skipped cases of the checks that read curves and predictions together."""

from dataclasses import replace

import numpy as np
from tests.detector.checks.batch_cases import batches
from tests.detector.checks.builders import (
    COUNTS,
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

from backslide_detector.evidence import DataSummary, Nearest, Sketch

TIME = np.arange(STEPS)
CHANCE = predictions(labels(), list(np.random.default_rng(1).permutation(labels())))
SHIFTED = predictions(labels(), [str((int(x) + 1) % 10) for x in labels()])
EXCHANGED = predictions(labels(), [{"3": "8", "8": "3"}.get(x, x) for x in labels()])
ONE_WAY = predictions(labels(), ["8" if x == "3" else x for x in labels()])
HALF = predictions(labels(), [str(int(x) % 5) for x in labels()])
A_THIRD_WRONG = predictions(
    labels(), ["0" if i % 3 == 0 else x for i, x in enumerate(labels())]
)
A_TENTH_WRONG = predictions(
    labels(), ["0" if i % 11 == 1 else x for i, x in enumerate(labels())]
)
GOOD = predictions(labels(), labels())
WORSE_IN_TRAINING = GOOD | {"train": A_THIRD_WRONG["test"]}

CREEPING = series(np.where(TIME < 60, 2.3 - TIME / 70, 1.45 - TIME / 1600) + noise())
BY_HEART = series(2.3 - TIME / 250 + noise())
EPOCHS = 30


def each_epoch(values):
    return series(values, every=STEPS // EPOCHS)


FLAT_HIGH = each_epoch([0.62] * EPOCHS)
SURE = each_epoch([0.16] * EPOCHS)
FEW_ERRORS = each_epoch([0.05] * EPOCHS)
ERRORS_COME_BACK = each_epoch(np.r_[0.5, 0.2, [0.05] * 6, np.linspace(0.05, 0.25, EPOCHS - 8)])
JUMPING_BACK = each_epoch(
    np.r_[
        0.3, [0.0] * 5, np.linspace(0.02, 0.15, EPOCHS - 6) * (1 + 0.5 * np.tile([1, -1], 12))
    ]
)
JUMPING = each_epoch(np.r_[0.3, 0.0, 0.07 + 0.07 * np.tile([1, -1], EPOCHS // 2 - 1)])

LUCKY_IN_THE_END = each_epoch(np.r_[np.linspace(0.9, 0.6, EPOCHS - 2), 0.2, 0.5])

FORTY = {"train": replace(COUNTS["train"], rows=40)}
FORTY_THOUSAND = {"train": replace(COUNTS["train"], rows=40_000)}
LEARNED = series(2.3 * np.exp(-TIME / 20) + 1e-3)
VALUES = np.random.default_rng(2).normal(size=60)
NUMBERS = predictions(list(VALUES), list(0.3 * VALUES + noise(60, 0.8)))
UNRELATED = predictions(list(VALUES), list(np.roll(VALUES, 1)))
BY_THE_MEAN = predictions(list(VALUES), list(noise(60, 0.01)))
THREE_HUNDRED = {"train": replace(FORTY["train"], rows=300, class_counts={})}
COPIED = replace(
    COUNTS["train"],
    rows=600,
    sketch=Sketch("x", np.arange(30, dtype=np.uint64), np.zeros((30, 1)), whole=True),
)
FALLING_SQUARES = series(1.0 - TIME / 800 + noise())
FORTY_NUMBERS = {"train": replace(COUNTS["train"], rows=40, class_counts={})}

SLOW = series(2.3 - TIME / 1300 + noise())
HALFWAY = series(2.3 - TIME / 350 + noise())
SLOW_VALIDATION = each_epoch(np.linspace(2.3, 2.0, EPOCHS))
DONE = series(1.3 + np.exp(-TIME / 20) + noise())

GETTING_WORSE = each_epoch(np.linspace(2.3, 2.6, EPOCHS))
A_LITTLE = series(2.3 - TIME / 2_000 + noise())

SMALL = history({"0.weight": "Linear", "0.bias": "Linear"})
SMALL = replace(SMALL, count=np.array([20, 10]))
NARROW = history(dict.fromkeys(("0.weight", "0.bias", "2.weight", "2.bias"), "Linear"))
NARROW = replace(NARROW, count=np.array([128, 2, 20, 10]), depth=np.array([0, 0, 2, 2]))
FIVE = {"train": DataSummary("train", "d", class_counts={str(i): 200 for i in range(5)})}
TWO_UNITS = replace(NARROW, count=np.array([128, 2, 10, 5]))
MOSTLY_WRONG = predictions(
    (str(i % 5) for i in range(300)), ("0" if i % 3 else str(i % 5) for i in range(300))
)
FLAT = series(1.2 + noise())
GATE = replace(NARROW, count=np.array([128, 2, 640, 10]))
MANY = {"train": replace(COUNTS["train"], rows=1_000)}
AT_GUESS = each_epoch([np.log(10)] * EPOCHS)
SOME_OF_EACH = list(np.random.default_rng(3).integers(0, 10, 300).astype(str))

AT_DONE = {"val_loss": each_epoch([1.35] * EPOCHS)}
EASY = {"train": replace(MANY["train"], nearest=Nearest(1_000, error=0.02))}
NOISY = {"train": replace(MANY["train"], nearest=Nearest(1_000, error=0.45))}
FEW_EASY = {"train": replace(MANY["train"], nearest=Nearest(30, error=0.24))}
A_CURVE = {"train": DataSummary("train", "d", nearest=Nearest(500, r_squared=0.97))}
NOISE = {"train": DataSummary("train", "d", nearest=Nearest(500, r_squared=0.2))}
HALF_TOLD = predictions(list(VALUES), list(0.5 * VALUES + noise(60, 0.6)))
LOGARITHMS = predictions(list(VALUES), list(3.0 + VALUES / 9))
REBUILT = batches(
    kind="vectors",
    loss=DONE.values[::10],
    output_spread=0.3,
    target_spread=1.4**0.5,
    target_low=-3.0,
    target_high=3.0,
)
ONE_NUMBER = replace(NARROW, count=np.array([64, 1, 64, 64]))

SWINGING = series(1.2 + 0.4 * np.sign(np.sin(TIME / 17)) * (1 + TIME % 3 / 9) + noise())
LOST_AGAIN = series(np.where(TIME < 200, 2.3 * np.exp(-TIME / 40), 1.6) + abs(noise()))
RATE = series(0.1 * (1.1 + np.sin(TIME / 17)))
POOR = {"predictions": HALF}
MORE_AND_MORE = batches(
    targets=lambda examples: (
        examples % np.linspace(2, 10, len(examples)).astype(int)[:, None]
    ).astype(float)
)
ONE_LAYER = replace(SMALL, depth=np.array([0, 0]))

FOUND = {
    "label-mismatch": [
        run(predictions=CHANCE),
        run(predictions=SHIFTED),
        run(predictions=EXCHANGED),
        run(A_LITTLE, predictions=CHANCE, series={"val_loss": GETTING_WORSE}),
        run(FALLING_SQUARES, predictions=UNRELATED, data=THREE_HUNDRED),
    ],
    "label-noise": [
        run(CREEPING, series={"val_loss": FLAT_HIGH, "val/error": FEW_ERRORS}),
        run(CREEPING, series={"val/error": ERRORS_COME_BACK}),
        run(CREEPING, series={"val/error": JUMPING_BACK}),
        run(BY_HEART, predictions=CHANCE, series={"val_loss": FLAT_HIGH}),
        run(predictions=WORSE_IN_TRAINING),
    ],
    "too-little-data": [
        run(LEARNED, data=FORTY, predictions=A_THIRD_WRONG),
        run(LEARNED, data={"train": COPIED}, predictions=A_THIRD_WRONG),
        run(
            LEARNED,
            data=FORTY_NUMBERS,
            predictions=NUMBERS,
            series={"val_loss": each_epoch([1.0] * EPOCHS)},
        ),
    ],
    "undertrained": [
        run(SLOW, predictions=HALF),
        run(SLOW, predictions={}),
        run(SLOW, predictions=HALF, series={"val_loss": SLOW_VALIDATION}),
        run(
            series(2.3 + noise(scale=0.5)),
            predictions=HALF,
            series={"val_loss": SLOW_VALIDATION},
        ),
    ],
    "underfitting": [
        run(
            FLAT,
            weights=TWO_UNITS,
            data=FIVE,
            predictions=MOSTLY_WRONG,
            series={"val_loss": each_epoch([1.22] * EPOCHS)},
        ),
        failing(
            STUCK,
            weights=SMALL,
            data=MANY,
            series={"val_loss": AT_GUESS},
            predictions=predictions(labels(), SOME_OF_EACH),
        ),
        failing(
            STUCK,
            weights=ONE_LAYER,
            updates=history({"0.weight": "Linear"}, rms=1e-3),
            data=MANY,
            series={"val_loss": AT_GUESS},
            predictions=predictions(labels(), ["3"] * 300),
        ),
        run(
            DONE,
            weights=NARROW,
            data=MANY,
            predictions=HALF,
            series=AT_DONE,
        ),
        run(DONE, data=EASY, predictions=HALF, series=AT_DONE),
        run(DONE, data=A_CURVE, predictions=HALF_TOLD, series=AT_DONE),
        run(
            DONE,
            data={},
            predictions={},
            weights=ONE_NUMBER,
            batches=REBUILT,
            series=AT_DONE,
        ),
    ],
    "oscillating-loss": [
        run(SWINGING, **POOR),
        run(SWINGING, batches=batches(), **POOR),
        run(LOST_AGAIN, **POOR),
    ],
}
CLEAR = {
    "label-mismatch": [
        run(),
        run(predictions=ONE_WAY),
        run(predictions=A_THIRD_WRONG),
        run(LEARNED, data=FORTY, predictions=CHANCE),  # four a class
        run(FALLING_SQUARES, predictions=BY_THE_MEAN, data=THREE_HUNDRED),
        run(FALLING_SQUARES, predictions=UNRELATED, data=FORTY_NUMBERS),
        run(FALLING_SQUARES, predictions=NUMBERS, data=THREE_HUNDRED),
    ],
    "label-noise": [
        run(series={"val_loss": SURE, "val/error": FEW_ERRORS}),
        run(CREEPING, series={"val_loss": each_epoch([1.3] * 30), "val/error": FEW_ERRORS}),
        run(CREEPING, series={"val_loss": SURE, "val/error": FEW_ERRORS}),
        run(LEARNED, series={"val_loss": SURE, "val/error": ERRORS_COME_BACK}),
        run(CREEPING, series={"val/error": LUCKY_IN_THE_END}),
        run(CREEPING, series={"val/error": JUMPING}),
    ],
    "too-little-data": [
        run(LEARNED, data=FORTY, predictions=GOOD),
        run(LEARNED, data=FORTY_THOUSAND, predictions=A_THIRD_WRONG),
        run(STUCK, data=FORTY, predictions=A_THIRD_WRONG),
    ],
    "undertrained": [
        run(),
        run(DONE, predictions=HALF),
        run(SLOW, predictions=GOOD),
        run(SLOW, predictions=HALF, series={"val_loss": each_epoch(np.linspace(2, 3, 30))}),
        run(SLOW, predictions={}, data={}),
        run(HALFWAY, predictions={}),
        run(
            series(2.3 + noise(scale=0.5)),
            predictions=HALF,
            series={"val_loss": series([2.3, 2.2, 2.12, 2.06, 2.03, 2.01], every=STEPS // 6)},
        ),
        run(  # an even number of evaluations has no middle: in doubt
            series(2.3 + noise(scale=0.5)),
            predictions=HALF,
            series={"val_loss": series([2.3, 2.27, 2.24, 2.21, 2.18, 2.15], every=STEPS // 6)},
        ),
    ],
    "underfitting": [
        run(series={"val_loss": SURE}),
        run(
            FLAT,  # three units are enough for five classes
            weights=replace(TWO_UNITS, count=np.array([192, 3, 15, 5])),
            data=FIVE,
            predictions=MOSTLY_WRONG,
            series={"val_loss": each_epoch([1.22] * EPOCHS)},
        ),
        failing(STUCK, data=MANY, series={"val_loss": AT_GUESS}),
        run(DONE, predictions=HALF, weights=GATE, series={"val_loss": each_epoch([1.35] * 30)}),
        run(DONE, weights=NARROW, data=MANY, series={"val_loss": each_epoch([1.35] * EPOCHS)}),
        failing(
            STUCK,
            weights=SMALL,
            updates=history(WEIGHTS, rms=1e-9),
            data=MANY,
            series={"val_loss": AT_GUESS},
            predictions=predictions(labels(), ["3"] * 300),
        ),
        run(DONE, data=NOISY, predictions=HALF, series=AT_DONE),
        run(DONE, data=FEW_EASY, predictions=HALF, series=AT_DONE),
        run(DONE, data=EASY, predictions=GOOD, series=AT_DONE),
        run(SLOW, data=EASY, predictions=HALF, series={"val_loss": SLOW_VALIDATION}),
        run(DONE, data=EASY, predictions=HALF, series={"val_loss": each_epoch([2.3] * 30)}),
        run(DONE, data=NOISE, predictions=HALF_TOLD, series=AT_DONE),
        run(DONE, data=A_CURVE, predictions=LOGARITHMS, series=AT_DONE),
        run(  # a code of two numbers
            DONE,
            data={},
            predictions={},
            weights=replace(NARROW, count=np.array([128, 2, 128, 64])),
            batches=REBUILT,
            series=AT_DONE,
        ),
    ],
    "oscillating-loss": [
        run(),
        run(SWINGING),
        run(SWINGING, series={"lr": RATE}, **POOR),
        run(SWINGING, batches=MORE_AND_MORE, **POOR),
        run(SWINGING, predictions={}, data={}),
        failing(STUCK),
    ],
}
SKIPPED = {
    "label-mismatch": run(predictions={}, data={}),
    "label-noise": run(predictions={}, data={}),
    "too-little-data": run(LEARNED, data=FORTY, predictions=A_THIRD_WRONG, status="RUNNING"),
    "undertrained": run(SLOW, predictions=HALF, status="RUNNING"),
    "underfitting": run(STUCK, predictions={}, data={}, series={"val_loss": AT_GUESS}),
    "oscillating-loss": run(series(2.3 + noise(50))),
}
