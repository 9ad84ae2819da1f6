"""Metrics of which the runs logged the number alone: compared, but without an interval."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from backslide_detector.evidence import Series
from backslide_detector.judgement import MetricChange
from backslide_detector.keys import words_of

MOST: Final = 60
"""Keys that get a row, in alphabetical order."""
NO_INTERVAL: Final = "no interval: only the number was logged"

_HELD_OUT: Final = frozenset(
    {"test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"}
)
_LOWER: Final = frozenset(
    {
        "loss", "error", "err", "mse", "mae", "rmse", "mape", "smape", "msle", "nll", "logloss",
        "crossentropy", "entropy", "perplexity", "ppl", "wer", "cer", "ter", "brier", "ece",
        "fid", "eer", "hinge", "deviance", "bpc", "bpb",
    }
)  # fmt: skip
_HIGHER: Final = frozenset(
    {
        "accuracy", "acc", "top", "f", "auc", "auroc", "auprc", "roc", "ap", "map", "precision",
        "recall", "sensitivity", "specificity", "tpr", "tnr", "r", "bleu", "rouge", "meteor",
        "chrf", "iou", "miou", "jaccard", "dice", "ndcg", "mrr", "mcc", "kappa", "psnr", "ssim",
        "hit", "em", "reward",
    }
)  # fmt: skip
"""`f1`, `r2` and `top5` come as a word and a number."""
_OF_TRAINING: Final = frozenset({"accuracy", "acc", "r", "f", "top", "hit", "map", "reward"})
"""Without the name of a split these are of training, as Keras means them, or of anything."""
_NO_QUALITY: Final = frozenset(
    {
        "examples", "samples", "lr", "epoch", "runtime", "time", "second", "seconds", "steps",
        "memory", "size", "count", "seen",
    }
)  # fmt: skip
_FOREIGN: Final = ("backslide/", "system/")


def logged_rows(
    new: Mapping[str, Series],
    old: Mapping[str, Series],
    measured: Sequence[MetricChange],
) -> tuple[MetricChange, ...]:
    """Held-out metrics that both runs logged and that nothing better is known of.

    Args:
        new: all series of the new run; the newest value counts.
        old: of the old run.
        measured: rows with intervals; a number that one of them states is not said twice.
    """
    rows = []
    for key in sorted(new.keys() & old.keys()):
        if not (len(new[key]) and len(old[key])) or not _of_interest(key):
            continue
        before, after = old[key].last, new[key].last
        if not (math.isfinite(before) and math.isfinite(after)):
            continue
        if any(_stated(row, before, after) for row in measured):
            continue
        rows.append(
            MetricChange(
                key,
                direction(key),
                0,
                before,
                after,
                after - before,
                role="logged",
                method=NO_INTERVAL,
            )
        )
    return tuple(rows[:MOST])


def direction(key: str) -> Literal["lower", "higher"] | None:
    """Which way a metric is better, by its name; None where the name does not tell."""
    words = set(words_of(key))
    lower, higher = bool(words & _LOWER), bool(words & _HIGHER)
    if lower == higher:
        return None
    return "lower" if lower else "higher"


def _of_interest(key: str) -> bool:
    """Whether a key names the quality of a model on examples that were held out."""
    words = set(words_of(key))
    if key.startswith(_FOREIGN) or words & _NO_QUALITY or words & {"train", "training"}:
        return False
    return bool(words & _HELD_OUT) or bool(words & _HIGHER - _OF_TRAINING)


def _stated(row: MetricChange, before: float, after: float) -> bool:
    """Whether a measured row says these two numbers already, or what is left of them to one."""
    if row.old is None or row.new is None:
        return False
    return any(
        math.isclose(before, old, rel_tol=1e-5, abs_tol=1e-9)
        and math.isclose(after, new, rel_tol=1e-5, abs_tol=1e-9)
        for old, new in ((row.old, row.new), (1 - row.old, 1 - row.new))
    )
