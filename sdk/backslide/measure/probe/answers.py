"""What the model says about the examples of a probe."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backslide.measure.probe.concepts import Concepts
from backslide.record.data import to_array
from backslide.record.predictions import reduced, single
from backslide.record.text import storable


@dataclass(frozen=True, eq=False)
class Said:
    """The model's answers; a column is None where it makes no sense of them.

    Attributes:
        predictions: of each example, as text.
        scores: confidence in [0, 1], shape (n,).
        losses: shape (n,).
        accuracy: share of right classes; None for other targets.
    """

    predictions: Sequence[str] | None = None
    scores: NDArray[np.floating] | None = None
    losses: NDArray[np.floating] | None = None
    accuracy: float | None = None


def said(answers: Sequence[object], concepts: Concepts) -> Said:
    """Reads answers, shape (n, classes), (n,) or (n, 1), as `evaluate` does.

    Args:
        answers: by mini-batch.
        concepts: with the targets.
    """
    rows = [each for each in answers if isinstance(each, Tensor) and each.ndim in (1, 2)]
    if not rows or len(rows) < len(answers):
        return Said()
    output = torch.cat([each.detach().to("cpu") for each in rows])
    truth = concepts.targets
    if len(output) != len(concepts.labels) or not output.is_floating_point():
        return Said()
    if truth is not None and (truth.ndim != 1 or truth.dtype.kind not in "biuf"):
        truth = None
    if output.ndim == 1 or output.shape[1] == 1:
        return _one_number(to_array(output.double().reshape(-1)), truth)
    known = _class_numbers(truth, output.shape[1])
    wanted = np.zeros(len(output), np.int64) if known is None else known
    best, scores, losses = reduced(output, torch.from_numpy(wanted))
    hits = None if truth is None or truth.dtype.kind == "f" else best == truth
    return Said(
        [storable(value) for value in best.tolist()],
        scores,
        None if known is None else losses,
        None if hits is None else float(hits.mean()),
    )


def of_class(answers: object, truth: Tensor) -> Tensor:
    """The answer for the true class of each example; of one logit, towards it.

    Raises:
        ValueError: the answers are not one number for each class.
    """
    if not isinstance(answers, Tensor) or answers.ndim not in (1, 2):
        raise ValueError("the model's answers are not one number for each class")
    rows = answers.float().reshape(len(answers), -1)
    if rows.shape[1] == 1:
        if bool((truth > 1).any()):
            raise ValueError("one answer, but more than two classes")
        return rows[:, 0] * (2 * truth - 1)
    if bool(((truth < 0) | (truth >= rows.shape[1])).any()):
        raise ValueError("targets are no numbers of outputs")
    return rows.gather(1, truth[:, None])[:, 0]


def _one_number(output: NDArray[np.float64], truth: NDArray[np.generic] | None) -> Said:
    if truth is None:
        return Said([f"{value:.6g}" for value in output])
    best, scores, losses = single(output, truth)
    classes = best.dtype.kind == "i"
    return Said(
        [storable(value) if classes else f"{value:.6g}" for value in best.tolist()],
        scores,
        losses,
        float((best == truth).mean()) if classes else None,
    )


def _class_numbers(truth: NDArray[np.generic] | None, classes: int) -> NDArray[np.int64] | None:
    """Targets as numbers of outputs; None where they are something else."""
    if truth is None or truth.dtype.kind not in "biu":
        return None
    numbers = truth.astype(np.int64)
    return numbers if bool(((numbers >= 0) & (numbers < classes)).all()) else None
