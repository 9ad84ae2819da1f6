"""Everything that was measured of two models on common examples, one row a metric."""

from typing import Final

from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.behaviour import Behaviour
from backslide_detector.retrain.groups import GroupChange
from backslide_detector.stats.comparison import Comparison

MOST_GROUPS: Final = 200
"""Classes, and slices, of which each gets a row; those that changed most clearly come first."""


def metric_changes(behaviour: Behaviour) -> tuple[MetricChange, ...]:
    """Loss, calibration, recall of each class, error of each slice; each with its direction."""
    rows = [_mean("loss", behaviour.loss, "lower")] if behaviour.loss else []
    if behaviour.calibration is not None:
        before, after = behaviour.calibration
        rows.append(
            MetricChange(
                "calibration_error", "lower", behaviour.n, before, after, after - before
            )
        )
    if behaviour.confidence is not None:
        rows.append(_mean("confidence", behaviour.confidence, None))
    rows += [_recall(group) for group in behaviour.classes[:MOST_GROUPS]]
    slices = (*behaviour.slices[:MOST_GROUPS], *behaviour.discovered)
    return (*rows, *map(_error, slices))


def _mean(name: str, found: Comparison, better: str | None) -> MetricChange:
    return MetricChange(
        name, better, found.n, effect=found.effect, interval=found.interval, pvalue=found.pvalue
    )


def _recall(group: GroupChange) -> MetricChange:
    """Among the examples of a class, recall is what is not an error."""
    before, after = 1 - group.old_error, 1 - group.new_error
    return MetricChange(
        f"recall/{group.group}",
        "higher",
        group.n,
        before,
        after,
        after - before,
        pvalue=group.pvalue,
    )


def _error(group: GroupChange) -> MetricChange:
    return MetricChange(
        f"error/{group.column}={group.group}",
        "lower",
        group.n,
        group.old_error,
        group.new_error,
        group.new_error - group.old_error,
        pvalue=group.pvalue,
    )
