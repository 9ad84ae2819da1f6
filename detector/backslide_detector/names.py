"""Which of a run's metrics is its loss, its error, its learning rate."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from backslide.contract import Measure
from backslide_detector.evidence import DataSummary, ErrorRate, Predictions, Series
from backslide_detector.keys import NO_MAPPING, Meaning, Quantity, Split, readings, split_of

_SHARES: Final[tuple[Quantity, ...]] = ("error", "accuracy")
_HELD_OUT: Final[tuple[Split, ...]] = ("test", "val")
_MOST_EXAMPLES: Final = 1e9  # exact tests take time with the size; beyond, it is a mistake


def _longest(
    series: Mapping[str, Series],
    wanted: tuple[Split | None, ...],
    quantity: Quantity,
    mapping: Mapping[str, str],
) -> Series | None:
    """The finest-grained series of a meaning; among equals the plainest name."""
    found = [(k, m) for k, m in readings(series, wanted, quantity, mapping) if len(series[k])]
    if not found:
        return None
    key, _ = min(found, key=lambda item: (-len(series[item[0]]), item[1].detours, item[0]))
    return series[key]


def training_loss(
    series: Mapping[str, Series], mapping: Mapping[str, str] = NO_MAPPING
) -> Series | None:
    """The training loss: `loss`, `train/loss`, `training_loss`, `train_loss_step`, ..."""
    return _longest(series, (None, "train"), "loss", mapping)


def validation_loss(
    series: Mapping[str, Series], mapping: Mapping[str, str] = NO_MAPPING
) -> Series | None:
    """The validation loss: `val_loss`, `validation/loss`, `eval_loss`, ..."""
    return _longest(series, ("val",), "loss", mapping)


def training_error(
    series: Mapping[str, Series], mapping: Mapping[str, str] = NO_MAPPING
) -> Series | None:
    """Share of wrong predictions in training, from `train/error`, `accuracy`, ..."""
    return _error_series(series, (None, "train"), mapping)


def validation_error(
    series: Mapping[str, Series], mapping: Mapping[str, str] = NO_MAPPING
) -> Series | None:
    """Share of wrong predictions on validation data, from `val/error`, `eval_accuracy`, ..."""
    return _error_series(series, ("val",), mapping)


def learning_rate(
    series: Mapping[str, Series], mapping: Mapping[str, str] = NO_MAPPING
) -> Series | None:
    """The learning rate: `lr`, `learning_rate`, `lr-Adam`; of several groups the first."""
    found = [
        (k, m) for k, m in readings(series, (None, "train"), "rate", mapping) if len(series[k])
    ]
    return series[min(found, key=lambda item: (item[1].detours, item[0]))[0]] if found else None


def _error_series(
    series: Mapping[str, Series],
    wanted: tuple[Split | None, ...],
    mapping: Mapping[str, str],
) -> Series | None:
    """The longest series of error rates, in [0, 1]."""
    found: list[tuple[int, int, str, Series]] = []
    for quantity in _SHARES:
        for key, meaning in readings(series, wanted, quantity, mapping):
            rates = _as_error(series[key], meaning)
            if rates is not None:
                found.append((-len(rates), meaning.detours, key, rates))
    return min(found, key=lambda item: item[:3])[3] if found else None


def _as_error(series: Series, meaning: Meaning) -> Series | None:
    """The same series as error rates; None when its values are no shares.

    A value above 1 is a percentage only when the name says so: an "error" of 3.0 may be
    3 %, a distance or a count, and guessing would make a verdict of it.
    """
    values = series.values / 100.0 if meaning.percent else series.values
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() < 0.0 or finite.max() > 1.0:
        return None
    return replace(series, values=1.0 - values if meaning.quantity == "accuracy" else values)


def error_rate(
    series: Mapping[str, Series],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    data: Mapping[str, DataSummary],
    predictions: Mapping[str, Predictions],
    *,
    mapping: Mapping[str, str] = NO_MAPPING,
) -> ErrorRate | None:
    """The error a verdict is about: test before validation, predictions before metrics.

    The number of examples comes from the predictions themselves, a metric, parameter or tag
    such as `test_examples`, or the rows of a data set of that name, in this order. A bare
    `accuracy` names no split and is taken for a training metric, as Keras means it.
    """
    for split in _HELD_OUT:
        for name in sorted(predictions):
            if split_of(name) == split and predictions[name].are_labels:
                table = predictions[name]
                return ErrorRate(split, table.error, len(table), f"predictions/{name}")
        metric = _last_error(series, split, mapping)
        if metric is not None:
            key, rate = metric
            examples = _examples(split, series, (params, tags), data, mapping)
            return ErrorRate(split, rate, examples, key)
    return None


def table_of(predictions: Mapping[str, Predictions], split: str) -> Predictions | None:
    """The predictions on a split, which the run may call `validation` where we say `val`."""
    if split in predictions:
        return predictions[split]
    return next((predictions[n] for n in sorted(predictions) if split_of(n) == split), None)


def mean_loss(
    series: Mapping[str, Series], predictions: Mapping[str, Predictions]
) -> ErrorRate | None:
    """What a regression is judged by: from its predictions, else by the keys of our own SDK."""
    for split in _HELD_OUT:
        table = table_of(predictions, split)
        stated_loss = None if table is None else loss_of(table, split)
        if stated_loss is not None:
            return stated_loss
        mse, loss = series.get(f"{split}/mse"), series.get(f"{split}/loss")
        examples = series.get(f"{split}/examples")
        stated = loss or mse
        if mse and examples and stated and np.isfinite(stated.last):
            measure: Measure = "loss" if loss else "mse"
            key = f"{split}/{measure}"
            return ErrorRate(split, stated.last, _count(examples.last), key, measure)
    return None


def loss_of(table: Predictions, split: str) -> ErrorRate | None:
    """The mean loss over predicted values; None for labels and without a finite one."""
    if not len(table) or table.are_labels:
        return None
    losses = table.losses[np.isfinite(table.losses)]
    if not len(losses):
        return None
    measure: Measure = "mse" if table.loss is None else "loss"
    return ErrorRate(split, float(losses.mean()), len(table), f"predictions/{split}", measure)


def _last_error(
    series: Mapping[str, Series], split: Split, mapping: Mapping[str, str]
) -> tuple[str, float] | None:
    """(key, newest error rate) by the plainest key of the split."""
    found: list[tuple[int, int, str, float]] = []
    for order, quantity in enumerate(_SHARES):
        for key, meaning in readings(series, (split,), quantity, mapping):
            rates = _as_error(series[key], meaning)
            if rates is not None and np.isfinite(rates.last):
                found.append((meaning.detours, order, key, rates.last))
    return min(found)[2:] if found else None


def _examples(
    split: Split,
    metrics: Mapping[str, Series],
    texts: tuple[Mapping[str, str], ...],
    data: Mapping[str, DataSummary],
    mapping: Mapping[str, str],
) -> int | None:
    """How many examples the split has, as far as the run said."""
    said: list[object] = [
        metrics[key].last
        for key, _ in readings(metrics, (split,), "examples", mapping)
        if len(metrics[key])
    ]
    for words in texts:
        said += [words[key] for key, _ in readings(words, (split,), "examples", mapping)]
    said += [data[name].rows for name in sorted(data) if split_of(name) == split]
    return next((count for value in said if (count := _count(value)) is not None), None)


def _count(value: object) -> int | None:
    """A whole positive number that a test set can have, or None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if 1 <= number <= _MOST_EXAMPLES and number.is_integer() else None
