"""One class crowds out the others.

What it looks for:
    Training data in which the largest class has at least ten times as many examples as the
    smallest, together with held-out predictions in which classes as rare as that are found
    in fewer than three of ten cases (one of ten where held-out data are as uneven), while
    the largest is predicted more often than it occurs. Counted are the examples of the data
    set or, where one class fills ten elevenths of the batches but not half of the data,
    those of the batches. Of a finished run without held-out predictions, the batches tell:
    after the first quarter no example was answered with a class as rare as that, though there
    were thirty or more of it, and more could be known of it: the nearest training examples tell
    a fifth of them, or the loss is higher than that of always answering the class shares, or
    of each other class four in five are right.

Why it matters:
    Always answering the large class is almost right in training, so the small ones are not
    learned.

What usually causes it:
    Classes sampled as they occur, with a loss that counts every example alike.

What to do:
    Weight the loss by the inverse class frequency or sample the classes evenly, collect
    more of the rare ones, and judge by recall per class.

When it is wrong:
    Imbalance alone is no fault: where the rare classes are found, this is a note. So it is
    where one of two classes is rare by nature, as with clicks: the network tells its
    examples from the others, expects as many as there are, and even among those that it
    finds likeliest fewer than half are of the class, so that to predict the other is right.

References:
    Buda et al. (2018), A systematic study of the class imbalance problem in convolutional
    neural networks. Amazon SageMaker Debugger, rule ClassImbalance (ratio 10).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import typical
from backslide_detector.checks.given_up import RARE, given_up
from backslide_detector.evidence import Batches, DataSummary, Predictions, RunEvidence
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_FEW = 30
_RECALL = 0.3
_HARDLY = 0.1
_AS_UNEVEN = 0.9
_BATCHES = 20
_TRUSTED = 0.95
_AS_OFTEN = 1.5
_CHANCE = 1e-3


def check(
    data: Mapping[str, DataSummary] | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    *,
    run: RunEvidence | None = None,
    batches: Batches | None = None,
) -> Found | Clear | Skipped:
    """Compares training counts with the recall of rare classes, held-out data before all."""
    trained = next((data[n] for n in ("train", "training") if data and n in data), None)
    counts = {} if trained is None else trained.class_counts
    counts = {str(label): count for label, count in counts.items() if count > 0}
    chosen = held_out(predictions or {})
    if chosen is None and batches is not None and run is not None and run.finished:
        return _in_training(batches, trained)
    if len(counts) < 2 or chosen is None or not chosen[1].are_labels:
        return Skipped("needs class counts of the training data and held-out predictions")
    return _held_out(counts, *chosen, batches)


def _held_out(
    counts: dict[str, int], name: str, table: Predictions, batches: Batches | None
) -> Found | Clear | Skipped:
    """Class counts beside the recall on a held-out split."""
    what = "training examples"
    if (drawn := _drawn(batches, counts)) is not None:
        counts, what = drawn, "examples in the batches that were looked at"
    largest = max(counts, key=lambda label: counts[label])
    rare = [label for label in counts if counts[label] * RARE <= counts[largest]]
    if not rare or counts[largest] < _FEW:
        return Clear()  # so few differ as much by chance
    targets, predicted = table.targets.astype(str), table.predictions.astype(str)
    concerned = np.isin(targets, rare)
    if not concerned.any():
        return Skipped("the held-out split has no example of the rare classes")
    recall = float(np.asarray(table.correct)[concerned].mean())
    share, true = float((predicted == largest).mean()), float((targets == largest).mean())
    text = (
        f"Class {largest!r} has {counts[largest]:,} {what} and "
        f"{count(len(rare), 'class', 'classes')} a tenth of that or less; {recall:.0%} of the "
        f"latter are recognised on {name}"
    )
    # On data like its own it may well be on its way; on even ones it has not begun.
    uneven = true > _AS_UNEVEN * counts[largest] / sum(counts.values())
    if recall >= (_HARDLY if uneven else _RECALL) or share <= true:
        return Clear(f"{text}.")
    if drawn is None and len(counts) == 2 and _rare_by_nature(table, concerned):
        return Clear(f"{text}, and no more can be told apart by what the network answers.")
    return Found(
        Severity.WARNING,
        f"{text}, while {largest!r} is predicted for {share:.0%} and right for {true:.0%}.",
        "Look at the sampler: the data holds more of the other classes than the batches do."
        if drawn is not None
        else "Weight the loss by inverse class frequency or sample the classes evenly.",
        since_step=0,
        numbers={"recall": recall, "largest_share": share, "rare_classes": float(len(rare))},
    )


def _in_training(batches: Batches, trained: DataSummary | None) -> Found | Clear:
    """The same in the batches alone: rare classes that are never answered with."""
    left = given_up(batches, trained)
    if left is None:
        return Clear()
    one = len(left.classes) == 1
    named = ", ".join(f"'{label}'" for label in left.classes[:5])
    return Found(
        Severity.WARNING,
        f"From step {left.since} on, none of {left.examples} training examples of "
        f"{'class' if one else 'classes'} {named} was answered with {'it' if one else 'them'}, "
        f"though {left.reason}; class '{left.largest}' is ten times as frequent, or more.",
        "Weight the loss by inverse class frequency or sample the classes evenly.",
        since_step=left.since,
        numbers={"examples": float(left.examples), "rare_classes": float(len(left.classes))},
    )


def _rare_by_nature(table: Predictions, rare: NDArray[np.bool_]) -> bool:
    """Whether to predict the commoner of two classes is right nearly everywhere.

    That is so for well-founded probabilities which rank the examples of the rare class above
    the others (rank-sum test), but none of them as likely.
    """
    if table.score is None or not np.isfinite(table.score).all() or rare.all():
        return False
    says_rare = np.asarray(table.correct) == rare
    likely = np.where(says_rare, table.score, 1.0 - table.score)
    often, expected = float(rare.mean()), float(likely.mean())
    if not often / _AS_OFTEN <= expected <= often * _AS_OFTEN:
        return False
    ranked = mannwhitneyu(likely[rare], likely[~rare], alternative="greater")
    likeliest = np.argsort(-likely, kind="stable")[: int(rare.sum())]
    return bool(ranked.pvalue < _CHANCE and rare[likeliest].mean() < 1 / 2)


def _drawn(batches: Batches | None, counts: Mapping[str, int]) -> dict[str, int] | None:
    """What the batches hold, where one class fills them and not the data; else None."""
    if batches is None or set(counts) != set(map(str, range(len(counts)))):
        return None
    if (typical(batches, "cross_entropy") or 0.0) < _TRUSTED:
        return None  # targets are read from gradients
    targets = [t for t, learns in zip(batches.targets, batches.training, strict=True) if learns]
    told = np.concatenate([*targets, np.empty(0)])
    told = told[np.isin(told, np.arange(len(counts)))].astype(np.int64)
    found = np.bincount(told, minlength=len(counts))
    first = int(found.argmax())
    fills = len(targets) >= _BATCHES and RARE * (len(told) - found[first]) <= found[first]
    if not fills or 2 * counts[str(first)] > sum(counts.values()):
        return None
    return {str(label): int(number) for label, number in enumerate(found)}
