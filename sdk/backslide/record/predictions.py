"""Per-example outcomes: the table that verdicts are made of, and how to get it from a model."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backslide.contract import predictions_schema
from backslide.record.calls import called, content_ids, moved
from backslide.record.data import random_state_kept, to_array
from backslide.record.text import storable

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
LEAST_LOG: Final = -100.0
"""Of a probability of zero, as in torch's BCELoss."""
PROBABILITIES: Final = (
    "the targets are labels, but the predictions look like probabilities: they are compared as "
    "values (mse), without an error rate. Give the predicted labels as predictions and the "
    "probabilities as scores="
)
TARGET_KEYS: Final = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Outcomes:
    """One split's table and the metrics that follow from it.

    Attributes:
        table: by `contract.predictions_schema`. Targets are int64 or text for classes, double
            for regression, where equality means nothing and `correct` is null throughout.
        metrics: by name below the split: "examples"; "error" for classes, "mse" for regression;
            "loss" when losses were given.
        doubt: what looks as if something else was meant; None where nothing does.
    """

    table: pa.Table
    metrics: Mapping[str, float]
    doubt: str | None = None


def outcomes(
    ids: Iterable[object],
    targets: object,
    predictions: object,
    *,
    scores: object = None,
    losses: object = None,
    slices: Mapping[str, Sequence[object]] | None = None,
) -> Outcomes:
    """Builds the table; raises ValueError when the columns do not fit together."""
    names = unique(ids)
    given = _column(targets), _column(predictions)
    truth, said = _same_type(*given)
    columns: list[object] = [names, truth, said]
    classes = truth.dtype.kind != "f"
    correct = truth == said
    columns.append(pa.array(correct) if classes else pa.nulls(len(correct), pa.bool_()))
    for values in (losses, scores):
        floats = None if values is None else _column(values).astype(np.float32)
        columns.append(
            pa.nulls(len(names), pa.float32()) if floats is None else pa.array(floats)
        )
    slices = slices or {}
    columns += [[storable(value) for value in to_array(values)] for values in slices.values()]
    schema = predictions_schema(_arrow_type(truth), tuple(map(storable, slices)))
    for field, column in zip(schema, columns, strict=True):
        if len(column) != len(names):  # type: ignore[arg-type]  # every column has a length
            raise ValueError(f"{len(names)} ids, but {field.name!r} has another length")
    metrics = {"examples": float(len(names))}
    if len(names):
        if classes:
            metrics["error"] = float(1.0 - correct.mean())
        else:
            metrics["mse"] = float(np.square(truth - said).mean())
        if losses is not None:
            metrics["loss"] = float(_column(losses).astype(np.float64).mean())
    doubt = None if classes or not _probabilities(*given) else PROBABILITIES
    return Outcomes(pa.table(columns, schema=schema), metrics, doubt)


def _probabilities(targets: Array, predictions: Array) -> bool:
    """Whether labels were answered with what looks like probabilities."""
    between = (predictions >= 0.0) & (predictions <= 1.0)
    return targets.dtype.kind in "iub" and bool(between.all())


def unique(ids: Iterable[object]) -> list[str]:
    """Ids as text; the second "a" becomes "a#1", the third "a#2"."""
    values = ids if isinstance(ids, list | tuple) else to_array(ids).tolist()
    seen: Counter[str] = Counter()
    names: dict[str, None] = {}
    for value in map(storable, values):
        name = f"{value}#{seen[value]}" if seen[value] else value
        while name in names:  # an id that looks like a repeated one
            seen[value] += 1
            name = f"{value}#{seen[value]}"
        seen[value] += 1
        names[name] = None
    return list(names)


def _column(values: object) -> Array:
    array = to_array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"one value an example is needed, not an array of shape {array.shape}")
    return array


def _same_type(targets: Array, predictions: Array) -> tuple[Array, Array]:
    """Both as int64, both as float64 or both as text; whole-numbered floats are labels."""
    pair = (targets, predictions)
    if any(array.dtype.kind not in "fiub" for array in pair):
        return _text(targets), _text(predictions)
    if all(array.dtype.kind != "f" or _whole(array) for array in pair):
        return targets.astype(np.int64), predictions.astype(np.int64)
    return targets.astype(np.float64), predictions.astype(np.float64)


def _text(array: Array) -> Array:
    return np.array([storable(value) for value in array], dtype=object)


def _whole(array: Array) -> bool:
    return bool(np.isfinite(array).all() and (array == np.round(array)).all())


def _arrow_type(array: Array) -> pa.DataType:
    return {"i": pa.int64(), "f": pa.float64()}.get(array.dtype.kind, pa.string())


def evaluate(
    model: "torch.nn.Module",
    loader: Iterable[Any],
    slices: Mapping[str, Sequence[object]] | None = None,
) -> Outcomes:
    """Runs the model over `(inputs, targets)` batches and keeps what became of each example.

    Ids are digests of the inputs, so retrains pair whatever the order. The model is in eval
    mode without gradients meanwhile; modes and all random states are as before afterwards.

    Understood: outputs `(n, classes)` of logits, log-probabilities or probabilities; one logit
    or probability `(n,)` or `(n, 1)` against targets of 0 and 1; one value against float
    targets (regression, squared error as loss). Batches: `(inputs, targets)`,
    `(a, b, ..., targets)`, mappings with the target under "labels" or "target". Anything else:
    `log_predictions`.

    Raises:
        ValueError: these outputs or batches are not understood, or the model's parameters are
            sharded over processes: its forward would wait for the others, who may not come.
    """
    # Imported here: it needs torch, which a run without a model may not have.
    from backslide.measure.instruments.names import sharded, unwrapped  # noqa: PLC0415

    torch = sys.modules["torch"]
    if sharded(model):
        raise ValueError(
            "the model is sharded over processes; evaluate it on all of them and give the "
            "outcomes to log_predictions"
        )
    model = unwrapped(model)  # a wrapper's forward talks to the other processes
    device = next((tensor.device for tensor in model.parameters()), None)
    ids: list[str] = []
    outputs, targets = [], []
    with random_state_kept(), _evaluating(model), torch.no_grad():
        for batch in loader:
            inputs, truth = _split(batch)
            ids += content_ids(inputs)
            output = called(model, moved(inputs, device))
            outputs.append(reduced(output, moved(truth, device)))
            targets.append(to_array(truth).reshape(-1))
    if not outputs:
        raise ValueError("the loader gave no batch")
    truth = np.concatenate(targets)
    answers: tuple[Array, Array | None, Array]
    said, scores, losses = (np.concatenate(column) for column in zip(*outputs, strict=True))
    alone = bool(np.isnan(scores).all())  # one output an example
    answers = single(said, truth) if alone else (said, scores, losses)
    return outcomes(ids, truth, answers[0], scores=answers[1], losses=answers[2], slices=slices)


def reduced(output: "torch.Tensor", truth: "torch.Tensor") -> tuple[Array, Array, Array]:
    """Prediction, score and loss of each example of a batch, on the host."""
    functional = sys.modules["torch"].nn.functional
    output = output.float()
    if output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1):
        single = to_array(output.double().reshape(-1))
        return single, np.full(len(single), np.nan), np.full(len(single), np.nan)
    if output.ndim != 2:
        shape = tuple(output.shape)
        raise ValueError(f"outputs of shape {shape} are not one answer an example")
    if truth.is_floating_point() or truth.ndim != 1:
        shape = tuple(truth.shape)
        raise ValueError(f"targets {truth.dtype} of shape {shape} are not class indices")
    sums = output.sum(1)
    if bool((output >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        output = output.clamp_min(1e-30).log()  # probabilities already
    logs = functional.log_softmax(output, 1)
    best, said = logs.max(1)
    losses = functional.nll_loss(logs, truth.long(), reduction="none")
    return to_array(said), to_array(best.exp()), to_array(losses)


def single(output: Array, truth: Array) -> tuple[Array, Array | None, Array]:
    """One output an example: a logit or probability when targets are 0 and 1, else a value."""
    if not np.isin(truth, (0, 1)).all():
        return output, None, np.square(output - truth)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        probability = 1.0 / (1.0 + np.exp(-output))
        losses = np.logaddexp(0.0, np.where(truth == 1, -output, output))
        if _sigmoid_is_done(output, probability, truth):
            probability = output
            losses = -np.maximum(np.log(np.where(truth == 1, output, 1.0 - output)), LEAST_LOG)
    said = (probability > 0.5).astype(np.int64)
    return said, np.maximum(probability, 1.0 - probability), losses


def _sigmoid_is_done(output: Array, probability: Array, truth: Array) -> bool:
    """Whether outputs are probabilities, and not the logits that make `probability`.

    Between 0 and 1 on both sides of one half they are. On one side of it, they may be logits of
    a model that answers nearly the same to everything: the reading closer to the truth holds.
    """
    if not len(output) or not bool(((output >= 0) & (output <= 1)).all()):
        return False
    if output.min() < 0.5 < output.max():
        return True
    as_probability, as_logit = (np.square(p - truth).mean() for p in (output, probability))
    return bool(as_probability < as_logit)


@contextmanager
def _evaluating(model: "torch.nn.Module") -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _split(batch: Any) -> tuple[Any, Any]:  # noqa: ANN401  # whatever a loader gives
    if isinstance(batch, Mapping):
        key = next((key for key in TARGET_KEYS if key in batch), None)
        if key is None:
            raise ValueError(f"no target among {sorted(batch)}; expected one of {TARGET_KEYS}")
        return {name: batch[name] for name in batch if name != key}, batch[key]
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
        return inputs, batch[-1]
    raise ValueError("the loader must give (inputs, targets) batches")
