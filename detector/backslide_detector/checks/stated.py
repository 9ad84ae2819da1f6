"""What a run states about itself, as far as the gate of `learning` weighs it."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.stats import pearsonr

from backslide.contract import Metric
from backslide_detector.checks.batches import are_classes, newest
from backslide_detector.checks.curve import Curve, is_finite, trailing_nonfinite
from backslide_detector.evidence import Batches, Floats, RunEvidence, Series

_CRITIC: Final = re.compile(
    r"critic|discriminator|(^|[^a-z])(d|disc|adv)[_/ ]?loss|loss[_/ ](d|disc)($|[^a-z])"
)
_RATES: Final = re.compile(rf"^{Metric.LEARNING_RATE}/", re.MULTILINE)
_FEW_ANSWERS: Final = 100
_FEW_BATCHES: Final = 5
_NEARLY_ALL: Final = 0.95
_CERTAIN: Final = 3.0  # standard errors
_NO_SUM: Final = 1.5
_FEW_PAIRS: Final = 10
_CHANCE: Final = 0.05
_ALIKE: Final = 0.02
_OFTEN_EACH: Final = 20


def class_shares(run: RunEvidence) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    """Class shares in the training data, else among the predicted targets, shape (k,).

    Where neither was logged, in the batches that were looked at, as the gradients tell; so also
    of a class at each place of an example.
    """
    return _shares(_class_counts(run)[0])


def guess_cost(run: RunEvidence) -> float | None:
    """Cross-entropy in nats of always guessing the class shares, their entropy.

    What was logged is taken for exact. Counts of a sample leave it in doubt: there it is what a
    guess costs at most (three standard errors up), so that doubt finds no fault. So it is where
    batches are surely drawn more evenly than the data set is, as by a weighted sampler.
    """
    counts, sampled = _class_counts(run)
    shares = _shares(counts)
    if shares is None:
        return None
    cost = _entropy(shares)
    if sampled:
        return cost + _CERTAIN * _doubt(shares, sum(counts.values()))
    met = _sampled_classes(run)
    drawn = _shares(met)
    if drawn is None:
        return cost
    doubt = _CERTAIN * _doubt(drawn, met.total())
    return _entropy(drawn) + doubt if _entropy(drawn) - doubt > cost else cost


def _entropy(shares: Floats) -> float:
    return float(-(shares * np.log(shares)).sum())


def _doubt(shares: Floats, seen: int) -> float:
    """Standard error of the entropy of shares that so many examples told."""
    variance = float((shares * np.square(np.log(shares))).sum()) - _entropy(shares) ** 2
    return math.sqrt(max(variance, 0.0) / seen)


def _shares(counts: Mapping[str, int]) -> Floats | None:
    shares = np.array([count for count in counts.values() if count > 0], dtype=np.float64)
    return shares / shares.sum() if len(shares) > 1 else None


def _class_counts(run: RunEvidence) -> tuple[Mapping[str, int], bool]:
    """How often each class occurs, and whether that is known of a sample alone."""
    counts: Mapping[str, int] = {}
    described = sorted(
        run.data.values(), key=lambda d: (d.name not in ("train", "training"), d.name)
    )
    for summary in described:
        counts = counts or summary.class_counts
    for _, table in sorted(run.predictions.items()):
        if not counts and table.are_labels:
            counts = Counter(map(str, table.targets))
    if counts:
        return counts, False
    return _counts_of_places(run) or _sampled_classes(run), True


def _counts_of_places(run: RunEvidence) -> Mapping[str, int]:
    """How often each class is the target at a place; nothing where many were hardly seen."""
    batches = run.batches
    if batches is None or 2 * sum(kind == "dense" for kind in batches.answers) < len(batches):
        return {}
    told = [
        t for t, kind in zip(batches.targets, batches.answers, strict=True) if kind == "dense"
    ]
    targets = np.concatenate([each[np.isfinite(each)] for each in told])
    classes, counts = np.unique(targets, return_counts=True)
    # The entropy of few counts is too low: a large vocabulary takes more than a run shows.
    if len(targets) < _OFTEN_EACH * len(classes):
        return {}
    return {str(int(label)): int(number) for label, number in zip(classes, counts, strict=True)}


def training_examples(run: RunEvidence) -> int | None:
    """How many training examples there are; copies count once where they were told apart."""
    for name in ("train", "training"):
        if name in run.data:
            summary = run.data[name]
            rows = summary.rows or sum(summary.class_counts.values()) or None
            if rows and summary.sketch is not None and summary.sketch.whole:
                return min(rows, len(summary.sketch.keys)) or None
            return rows
    told = run.series.get("train/examples")
    # A count that grows is of those that were seen so far.
    if told is not None and len(told) and (told.values == told.last).all():
        return int(told.last)
    return None


def sampled_error(run: RunEvidence, loss: Series | None) -> float | None:
    """Error on the newest batches, as the gradients tell the classes.

    Those of the last quarter of the steps, at least five. In training mode, and whatever the
    loss weighs; None where a hundred answers are not known, or where none was sampled in the
    last quarter of the losses: much can happen after. Only a cross-entropy counts: its
    gradient has a shape that no other loss, nor its opposite, can be mistaken for.
    """
    batches = run.batches
    if batches is None or not len(batches):
        return None
    wrong, known = 0, 0
    for predictions, targets in _told_classes(batches, newest(batches, loss)):
        known += len(targets)
        wrong += int((predictions != targets).sum())
    return wrong / known if known >= _FEW_ANSWERS else None


def places_skill(run: RunEvidence, loss: Series | None) -> float | None:
    """How far the loss at the newest batches' places is below guessing their class shares.

    A few places stand for all of an example, so they are weighed against themselves.
    """
    batches = run.batches
    if batches is None or not len(batches):
        return None
    fits = batches.numbers["cross_entropy"] >= _NEARLY_ALL
    rows = [
        index
        for index in range(*newest(batches, loss).indices(len(batches)))
        if batches.answers[index] == "dense" and fits[index]
    ]
    if len(rows) < _FEW_BATCHES:
        return None
    targets = np.concatenate([batches.targets[index] for index in rows])
    classes, counts = np.unique(targets[np.isfinite(targets)], return_counts=True)
    if len(classes) < 2 or counts.sum() < _OFTEN_EACH * len(classes):
        return None
    shares = counts / counts.sum()
    costs = batches.numbers["loss"][rows]
    return float(1.0 + np.mean(costs) / (shares * np.log(shares)).sum())


def _told_classes(batches: Batches, which: slice) -> Iterator[tuple[Floats, Floats]]:
    """Predictions and targets of each of these batches, where a cross-entropy tells them."""
    for index in range(*which.indices(len(batches))):
        if batches.numbers["cross_entropy"][index] >= _NEARLY_ALL:
            targets = batches.targets[index]
            told = np.isfinite(targets)
            yield batches.predictions[index][told], targets[told]


def _sampled_classes(run: RunEvidence) -> Counter[str]:
    """How often each class was met; nothing where fewer than a hundred examples were.

    Nor where some batches are no cross-entropy of one right class: mixed pairs ask for doubt.
    """
    counts: Counter[str] = Counter()
    if run.batches is None or not are_classes(run.batches):
        return counts
    told = list(_told_classes(run.batches, slice(None)))
    for _, targets in told:
        counts.update(map(str, targets.tolist()))
    fits = run.batches.numbers["cross_entropy"]
    sure = len(told) >= _NEARLY_ALL * int(np.isfinite(fits).sum())
    return counts if sure and counts.total() >= _FEW_ANSWERS else Counter()


def is_lost(loss: Series, *, finished: bool) -> bool:
    """Did the loss stop being a number for good? One bad batch that passes is none of that."""
    count = trailing_nonfinite(loss)
    return count >= 5 or (finished and count >= 1)


def first_loss(loss: Series | None) -> float | None:
    """The loss of the first step, while no update had an effect on it yet."""
    if (
        loss is None
        or not len(loss)
        or loss.steps[0] > 1
        or not is_finite(loss.values[:1]).all()
    ):
        return None
    return float(loss.values[0])


def recent(series: Series | None, fallback: float | None = None) -> float | None:
    """Median of the newest tenth, at least three values; the newest where these all fall."""
    values = series.values[is_finite(series.values)] if series is not None else np.empty(0)
    if not len(values):
        return fallback
    newest = values[-max(3, len(values) // 10) :]
    falling = (np.diff(newest) < 0.0).all()
    return float(newest[-1] if falling else np.median(newest))


def is_summed(loss: Series | None, run: RunEvidence) -> bool:
    """Is the loss that was logged the sum over each batch, where its mean is known too?

    The first batches tell: later on, a loss that explodes is no longer exact.
    """
    if loss is None or run.batches is None:
        return False
    _, logged, sampled = np.intersect1d(loss.steps, run.batches.steps, return_indices=True)
    means, sizes = run.batches.numbers["loss"][sampled], run.batches.examples[sampled]
    told = np.flatnonzero(np.isfinite(means) & (means > 0.0) & (sizes > 1))[:_FEW_BATCHES]
    ratio = loss.values[logged][told] / (means[told] * sizes[told])
    return bool(len(told)) and abs(float(np.median(ratio)) - 1.0) < _ALIKE


def is_averaged(loss: Series | None, run: RunEvidence) -> bool:
    """Is the loss that was logged no sum, as the batches' own cross-entropies show?

    These leave out examples that are right beyond rounding, and so are rather too high.
    """
    if loss is None or run.batches is None:
        return False
    _, logged, sampled = np.intersect1d(loss.steps, run.batches.steps, return_indices=True)
    sampled, logged = sampled[-_FEW_BATCHES:], logged[-_FEW_BATCHES:]
    means = run.batches.numbers["loss"][sampled]
    told = run.batches.numbers["cross_entropy"][sampled] >= _NEARLY_ALL
    told &= (means > 0.0) & (run.batches.examples[sampled] > 1)
    ratio = loss.values[logged][told] / means[told]
    return len(ratio) == _FEW_BATCHES and bool((ratio < _NO_SUM).all())


@dataclass(frozen=True, slots=True)
class Fit:
    """How predictions of numbers do on held-out data.

    Attributes:
        r_squared: share of the targets' variance that is explained, -1 at least.
        variance: of the targets.
        follows: the predictions go with the targets (correlation above zero, one-sided 5 %).
        related: share of the variance that a straight line over the predictions explains; 0
            where it falls.
    """

    r_squared: float
    variance: float
    follows: bool
    related: float


def regression_fit(run: RunEvidence) -> Fit | None:
    """How well held-out numbers are predicted; None for classes."""
    for name, table in sorted(run.predictions.items(), reverse=True):
        if len(table) > 1 and not name.startswith("train") and not table.are_labels:
            targets = table.targets.astype(np.float64)
            answers = table.predictions.astype(np.float64)
            variance, errors = float(targets.var()), targets - answers
            if variance > 0.0 and np.isfinite(errors).all():
                explained = max(-1.0, 1.0 - float(np.mean(errors**2)) / variance)
                return Fit(explained, variance, *_relation(answers, targets))
    return None


def _relation(answers: Floats, targets: Floats) -> tuple[bool, float]:
    if len(targets) < _FEW_PAIRS or np.ptp(answers) == 0.0:
        return False, 0.0
    found = pearsonr(answers, targets, alternative="greater")
    return bool(found.pvalue < _CHANCE), float(max(found.statistic, 0.0) ** 2)


def predicted_error(run: RunEvidence) -> float | None:
    """Error on the logged predictions, held-out splits only."""
    for name, table in sorted(run.predictions.items(), reverse=True):  # val before test
        if table.are_labels and not name.startswith("train"):
            return table.error
    return None


def is_adversarial(run: RunEvidence) -> bool:
    """Is there a second loss, of a critic or discriminator, or are parts trained apart?

    The latter have a learning rate each, and the model as a whole is never called.
    """
    if any(_CRITIC.search(key.lower()) for key in run.series):
        return True
    whole = run.batches is not None and len(run.batches) > 0
    return not whole and len(_RATES.findall("\n".join(run.series))) > 1


def is_warming_up(run: RunEvidence, learning_rate: Series | None, shape: Curve | None) -> bool:
    """Is a running job's learning rate still rising from a small start?"""
    if run.finished or learning_rate is None or shape is None or len(learning_rate) < 3:
        return False
    rates = learning_rate.values
    return bool(rates[-1] >= rates.max() and rates[-1] > 1.05 * np.median(rates))
