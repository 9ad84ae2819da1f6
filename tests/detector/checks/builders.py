"""Evidence made by hand, a plausible run with one thing changed at a time."""

from dataclasses import replace

import numpy as np

from backslide.contract import HISTOGRAM_BINS
from backslide_detector.evidence import (
    DataSummary,
    LayerHistory,
    Predictions,
    RunEvidence,
    Series,
)

STEPS = 400
SNAPSHOTS = 40


def series(values, every=1) -> Series:
    values = np.asarray(values, dtype=np.float64)
    steps = np.arange(len(values), dtype=np.int64) * every
    return Series(steps, values, steps.astype(np.float64))


def history(layers: dict[str, str], **columns) -> LayerHistory:
    """Tensors by name with their module's class; columns broadcast to (snapshots, tensors)."""
    shape = (SNAPSHOTS, len(layers))
    usual = {
        "mean": 0.0,
        "std": 0.1,
        "rms": 0.1,
        "abs_max": 0.3,
        "zero_fraction": 0.0,
        "nonfinite_fraction": 0.0,
        "saturated_fraction": np.nan,
        "dead_fraction": np.nan,
    }
    filled = {
        name: np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), shape))
        for name, value in (usual | columns).items()
    }
    return LayerHistory(
        layers=tuple(layers),
        kinds=tuple(layers.values()),
        depth=np.arange(len(layers), dtype=np.int64),
        count=np.full(len(layers), 4096, dtype=np.int64),
        steps=np.arange(SNAPSHOTS, dtype=np.int64) * (STEPS // SNAPSHOTS),
        histogram=np.zeros((*shape, HISTOGRAM_BINS), np.int32),
        **filled,
    )


def noise(n=STEPS, scale=0.02, seed=0):
    return np.random.default_rng(seed).normal(0.0, scale, n)


WEIGHTS = {
    "0.weight": "Linear",
    "2.weight": "Linear",
    "4.weight": "Linear",
    "6.weight": "Linear",
}
OUTPUTS = {"0": "Linear", "1": "ReLU", "2": "Linear", "3": "ReLU", "4": "Linear"}
FALLING = series(2.3 * np.exp(-np.arange(STEPS) / 60) + 0.1 + noise())
STUCK = series(np.log(10) + noise())
RISING = series(np.log(10) * (1 + 4 * (np.arange(STEPS) > 50)) + noise())
LOST = series(np.where(np.arange(STEPS) < 200, np.log(10) + noise(), np.nan))
COUNTS = {"train": DataSummary("train", "d", class_counts={str(i): 100 for i in range(10)})}
MOVING = np.linspace(0.1, 0.12, SNAPSHOTS)[:, None]
RELU = np.where([kind == "ReLU" for kind in OUTPUTS.values()], 0.1, np.nan)


def predictions(targets, answers) -> dict[str, Predictions]:
    targets = np.array(list(targets), dtype=object)
    answers = np.array(list(answers), dtype=object)
    ids = np.array([str(i) for i in range(len(targets))], dtype=object)
    return {"test": Predictions(ids, targets, answers, targets == answers)}


def labels(n=300) -> list[str]:
    return [str(i % 10) for i in range(n)]


def run(loss: Series | None = FALLING, **changes) -> RunEvidence:
    """A healthy run of a ten-class network; by default everything was recorded."""
    given = {} if loss is None else {"loss": loss}
    given |= changes.pop("series", {})
    return replace(
        RunEvidence(
            run_id="r",
            name="r",
            experiment_id="0",
            status="FINISHED",
            started=0.0,
            ended=1.0,
            lineage="l",
            series=given,
            activations=history(OUTPUTS, dead_fraction=RELU),
            gradients=history(WEIGHTS, rms=1e-2, abs_max=5e-2),
            weights=history(WEIGHTS, rms=MOVING),
            updates=history(WEIGHTS, rms=2e-4, abs_max=1e-3),
            predictions=predictions(labels(), labels()),
            data=COUNTS,
        ),
        **changes,
    )


def failing(loss: Series = STUCK, **changes) -> RunEvidence:
    """The same network when it answers at chance."""
    return run(loss, **({"predictions": predictions(labels(), np.roll(labels(), 1))} | changes))
