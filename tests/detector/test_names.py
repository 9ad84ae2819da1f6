"""Usual metric names are understood; unusual ones need a mapping, and nothing is guessed."""

import numpy as np
import pytest

from backslide_detector import names
from backslide_detector.evidence import DataSummary, Predictions, Series


def series(*values: float) -> Series:
    steps = np.arange(len(values), dtype=np.int64)
    return Series(steps, np.array(values, float), steps.astype(float))


def table(targets: list[object], predictions: list[object]) -> Predictions:
    ids = np.array([str(i) for i in range(len(targets))], dtype=object)
    right = np.array([a == b for a, b in zip(targets, predictions, strict=True)])
    return Predictions(
        ids, np.array(targets, dtype=object), np.array(predictions, dtype=object), right
    )


def rate(**given):
    empty = {"series": {}, "params": {}, "tags": {}, "data": {}, "predictions": {}}
    return names.error_rate(**{**empty, **given})


@pytest.mark.parametrize(
    "key",
    ["loss", "train/loss", "train_loss", "training_loss", "trainLoss", "Loss/train",
     "batch_loss", "TRAIN.LOSS", "train_loss_step", "epoch_loss", "training_log_loss",
     "nll_loss", "train/total_loss", "train_cross_entropy_loss", "train/avg_loss"],
)  # fmt: skip
def test_training_loss_by_its_usual_names(key):
    assert names.training_loss({key: series(1.0)}).last == 1.0
    assert names.validation_loss({key: series(1.0)}) is None


@pytest.mark.parametrize(
    "key",
    ["val_loss", "validation/loss", "eval_loss", "valid_loss", "dev/loss", "val/loss_epoch",
     "Loss/val", "valLoss", "train/val_loss", "eval/nll"],
)  # fmt: skip
def test_validation_loss_by_its_usual_names(key):
    assert names.validation_loss({key: series(1.0)}).last == 1.0
    assert names.training_loss({key: series(1.0)}) is None


@pytest.mark.parametrize(
    "key",
    ["kl_loss", "d_loss", "aux/loss", "reg_loss", "loss_scale", "test_mean_squared_error",
     "mae", "gradient/norm", "system/gpu_0_memory", "balanced_accuracy", "test_loss",
     "glossary", "", "../loss/../x", "x" * 5000],
)  # fmt: skip
def test_other_quantities_are_left_alone(key):
    given = {key: series(0.5)}
    assert names.training_loss(given) is None
    assert names.validation_loss(given) is None
    assert names.training_error(given) is None
    assert names.validation_error(given) is None
    assert names.learning_rate(given) is None
    assert rate(series=given) is None


@pytest.mark.parametrize(
    ("key", "logged", "error"),
    [
        ("test/error", 0.03, 0.03),
        ("test_error", 0.03, 0.03),
        ("test_error_rate", 0.03, 0.03),
        ("test_acc", 0.97, 0.03),
        ("test_accuracy", 0.97, 0.03),
        ("testAccuracy", 0.97, 0.03),
        ("test/MulticlassAccuracy", 0.97, 0.03),
        ("test_sparse_categorical_accuracy", 0.97, 0.03),
        ("test/top1", 0.97, 0.03),
        ("test_acc@top1", 0.97, 0.03),
        ("test_accuracy_score", 0.97, 0.03),
        ("test_accuracy_percent", 97.0, 0.03),
        ("test_error_%", 3.0, 0.03),
        ("val/error", 0.03, 0.03),
        ("eval_accuracy", 0.97, 0.03),
    ],
)
def test_error_by_its_usual_names(key, logged, error):
    found = rate(series={key: series(0.5, logged)})
    assert found.rate == pytest.approx(error)
    assert found.source == key


@pytest.mark.parametrize(
    ("key", "value"),
    [("test_accuracy", 97.0), ("test_error", 3.0), ("test_error", -0.1), ("test_acc", np.nan),
     ("test_top5_accuracy", 0.99), ("accuracy", 0.9), ("train_error", 0.1)],
)  # fmt: skip
def test_no_verdict_rests_on_a_guess(key, value):
    assert rate(series={key: series(value)}) is None


def test_bare_accuracy_is_a_training_metric():
    assert names.training_error({"accuracy": series(0.9)}).last == pytest.approx(0.1)


def test_test_comes_before_validation_and_predictions_before_metrics():
    metrics = {"val/error": series(0.4), "test_error": series(0.2)}
    wrong = table(["a", "b"], ["a", "a"])
    assert rate(series=metrics).source == "test_error"
    assert rate(series=metrics, predictions={"val": wrong}).source == "test_error"
    assert rate(series={"val/error": series(0.4)}, predictions={"val": wrong}).rate == 0.5
    found = rate(series=metrics, predictions={"test": wrong, "val": wrong})
    assert (found.split, found.rate, found.examples) == ("test", 0.5, 2)


def test_regression_has_no_error_rate():
    assert rate(predictions={"test": table([1.0, 2.0], [1.0, 2.1])}) is None


def test_number_of_examples_from_metric_parameter_tag_or_data():
    metrics = {"test/error": series(0.1)}
    assert rate(series=metrics).examples is None
    assert rate(series={**metrics, "test/examples": series(500.0)}).examples == 500
    assert rate(series=metrics, params={"test_examples": "600"}).examples == 600
    assert rate(series=metrics, params={"n_test_samples": "600"}).examples == 600
    assert rate(series=metrics, tags={"test_examples": "700"}).examples == 700
    assert (
        rate(series=metrics, data={"test": DataSummary("test", "d", rows=800)}).examples == 800
    )
    assert rate(series=metrics, params={"test_examples": "0.2"}).examples is None
    assert rate(series=metrics, params={"test_examples": "1" + "0" * 30}).examples is None
    assert (
        rate(series=metrics, data={"train": DataSummary("train", "d", rows=8)}).examples is None
    )


def test_a_mapping_overrides_the_usual_names():
    metrics = {"test_error": series(0.5), "miss": series(0.1), "good": series(80.0)}
    assert rate(series=metrics, mapping={"test_error": "miss"}).rate == pytest.approx(0.1)
    assert (
        rate(series=metrics, mapping={"test_accuracy_percent": "good"}).source == "test_error"
    )
    only = {"miss": series(0.1), "good": series(80.0)}
    found = rate(series=only, mapping={"test_accuracy_percent": "good"})
    assert (found.rate, found.source) == (pytest.approx(0.2), "good")
    assert rate(series=metrics, mapping={"test_error": "absent"}) is None
    assert names.training_loss(
        {"loss": series(1.0), "mine": series(2.0)}, {"training_loss": "mine"}
    ).last == 2.0  # fmt: skip


def test_the_finest_series_wins_then_the_plainest_name():
    coarse, fine = series(9.0), series(3.0, 2.0, 1.0)
    assert names.training_loss({"train_loss": coarse, "loss": fine}) is fine
    assert names.training_loss({"train_loss_epoch": coarse, "train_loss_step": fine}) is fine
    other = series(6.0, 5.0, 4.0)
    assert names.training_loss({"running_loss": other, "loss": fine}) is fine


@pytest.mark.parametrize(
    "key",
    ["lr", "learning_rate", "lr-Adam", "lr-SGD/pg1", "train/learning_rate", "LearningRate"],
)
def test_learning_rate_by_its_usual_names(key):
    assert names.learning_rate({key: series(0.1), "loss": series(1.0)}).last == 0.1
