"""Everything that both models were measured by, one row a metric."""

from typing import Final

from backslide_detector.estimand import Estimand
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.behaviour import Behaviour
from backslide_detector.retrain.groups import GroupChange

MOST_GROUPS: Final = 200
"""Classes, and slices, of which each gets a row; those that changed most clearly come first."""
GROUP_METHOD: Final = "mid-p McNemar test, Tango interval"
DISCOVERED_METHOD: Final = (
    "mid-p McNemar test and adjusted Wald test against all other examples, Tango interval, on "
    "the held half"
)


def metric_changes(behaviour: Behaviour) -> tuple[MetricChange, ...]:
    """Metrics over all common examples, recall of each class, error of each slice."""
    rows = list(behaviour.metrics)
    rows += [_recall(group) for group in behaviour.classes[:MOST_GROUPS]]
    rows += [_error(group) for group in behaviour.slices[:MOST_GROUPS]]
    rows += [_error(group, discovered=True) for group in behaviour.discovered]
    return tuple(rows)


def gate(name: str, model: Estimand, new: float, old: float) -> MetricChange:
    """The row of what the verdict is about; it is not adjusted for the others."""
    return MetricChange(
        name,
        "lower",
        model.n,
        old,
        new,
        model.effect,
        model.interval,
        model.pvalue,
        role="gate",
        method=model.method or model.reason or "",
    )


def _recall(group: GroupChange) -> MetricChange:
    """Among the examples of a class, recall is what is not an error."""
    low, high = group.interval
    before, after = 1 - group.old_error, 1 - group.new_error
    return MetricChange(
        f"recall/{group.group}",
        "higher",
        group.n,
        before,
        after,
        after - before,
        (-high, -low),
        group.pvalue,
        role="class",
        method=GROUP_METHOD,
    )


def _error(group: GroupChange, *, discovered: bool = False) -> MetricChange:
    return MetricChange(
        f"error/{group.column}={group.group}",
        "lower",
        group.n,
        group.old_error,
        group.new_error,
        group.new_error - group.old_error,
        group.interval,
        group.pvalue,
        role="discovered" if discovered else "slice",
        method=DISCOVERED_METHOD if discovered else GROUP_METHOD,
    )
