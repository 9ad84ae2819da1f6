"""All classes and slices of a retrain as one test: the stream's, which an alert waits for."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from backslide_detector.evidence import Floats
from backslide_detector.judgement import Group, Groups, MetricChange
from backslide_detector.retrain.groups import GroupChange
from backslide_detector.stats.mcnemar import exact_pvalues
from backslide_detector.stats.multiplicity import holm

SUSPECTS: Final = 5
"""Classes and slices that an alert may name."""


def of_flips(tables: Sequence[GroupChange]) -> Groups | None:
    """Classes and slices by their flips; None without any.

    The exact test, which never rejects more often than it says, because the stream counts on
    it; the tables that people read have the mid-p test.
    """
    if not tables:
        return None
    broken = np.array([group.broken for group in tables])
    fixed = np.array([group.fixed for group in tables])
    names = [
        f"class {group.group}" if group.column == "class" else f"{group.column} = {group.group}"
        for group in tables
    ]
    found = [
        Group(name, group.n, group.new_error - group.old_error, group.interval, 1.0)
        for name, group in zip(names, tables, strict=True)
    ]
    return _together(found, exact_pvalues(broken, fixed), exact_pvalues(fixed, broken))


def of_losses(rows: Sequence[MetricChange], measure: str) -> Groups | None:
    """Slices by their mean losses, from rows that were not adjusted yet; None without any."""
    found, worse = [], []
    for row in rows:
        if row.pvalue is None or row.effect is None or row.interval is None:
            continue
        name = row.name.removeprefix(f"{measure}/").replace("=", " = ", 1)
        found.append(Group(name, row.n, row.effect, row.interval, 1.0))
        worse.append(row.pvalue / 2 if row.effect > 0 else 1 - row.pvalue / 2)
    if not found:
        return None
    ups = np.array(worse)
    return _together(found, ups, 1 - ups)


def _together(found: Sequence[Group], worse: Floats, better: Floats) -> Groups:
    """Adjusted for how many there are; clearest suspects first."""
    ups, downs = holm(worse), holm(better)
    order = np.lexsort((worse, ups))[:SUSPECTS]
    return Groups(
        len(found),
        float(ups.min()),
        float(downs.min()),
        tuple(
            Group(each.name, each.n, each.effect, each.interval, float(ups[place]))
            for place in order.tolist()
            for each in [found[place]]
        ),
    )
