"""Two models that predict measured values, on the same examples: judged by their losses."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from backslide.contract import Measure
from backslide_detector.evidence import Ints, Predictions
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.groups import clusters, slice_columns
from backslide_detector.retrain.measured import ALPHA, Measured
from backslide_detector.retrain.metrics import MOST_GROUPS
from backslide_detector.retrain.overall import holm_adjusted, of_values, paired_row
from backslide_detector.retrain.pairing import Pairing
from backslide_detector.retrain.parts import of_losses
from backslide_detector.stats.dispersion import PRIOR_PHI
from backslide_detector.stats.equivalence import equivalence_level
from backslide_detector.stats.paired_means import paired_mean_difference
from backslide_detector.stats.power import mde_mean, standard_error
from backslide_detector.stats.unpaired_means import unpaired_mean_difference
from backslide_detector.wording import count

WORDS: Final = {
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "r2": "explained share of the variance",
    "bias": "mean of prediction minus target",
}
NAMED: Final = 3
"""Slices that get a sentence."""


def measure_values(
    new: Predictions, old: Predictions, pairing: Pairing, measure: Measure
) -> tuple[Measured, tuple[str, ...]] | None:
    """The losses on common examples, by groups of them if any, and what else changed.

    None where fewer than two common examples, or groups of them, have finite losses.
    """
    ours, theirs = new.losses[pairing.rows[0]], old.losses[pairing.rows[1]]
    finite = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[finite], theirs[finite]
    groups = clusters(new, pairing)
    within = None if groups is None else groups[finite]
    units = len(ours) if within is None else len(np.unique(within))
    if units < 2:
        return None
    test = paired_mean_difference(ours, theirs, groups=within)
    level = equivalence_level(ALPHA)
    sizes = f"{count(len(ours), 'example')}, paired"
    if within is not None:
        sizes += f", in {units:,} groups"
    others = [row for row in of_values(new, old, pairing, groups) if row.name != measure]
    single = _by_slice(new, old, pairing, measure, groups)
    slices = sorted(holm_adjusted(single), key=lambda row: (row.pvalue or 0.0, row.name))
    found = Measured(
        test=test,
        narrow=paired_mean_difference(ours, theirs, groups=within, level=level).interval,
        mde=mde_mean(test.interval, alpha=ALPHA),
        new_error=float(ours.mean()),
        old_error=float(theirs.mean()),
        sizes=sizes,
        measure=measure,
        prior=spread_beforehand(test.interval),
        metrics=(*others, *slices[:MOST_GROUPS]),
        groups=of_losses(single, measure),
    )
    return found, tuple(_sentences(new, old, pairing, others, slices))


def measure_apart(new: Predictions, old: Predictions, measure: Measure) -> Measured | None:
    """The losses of two models on different examples."""
    ours, theirs = (table.losses[np.isfinite(table.losses)] for table in (new, old))
    if min(len(ours), len(theirs)) < 2:
        return None
    test = unpaired_mean_difference(ours, theirs)
    narrow = unpaired_mean_difference(ours, theirs, level=equivalence_level(ALPHA))
    return Measured(
        test=test,
        narrow=narrow.interval,
        mde=mde_mean(test.interval, alpha=ALPHA),
        new_error=float(ours.mean()),
        old_error=float(theirs.mean()),
        sizes=f"{len(ours):,} and {len(theirs):,} examples, unpaired",
        measure=measure,
        prior=spread_beforehand(test.interval),
    )


def spread_beforehand(interval: tuple[float, float]) -> float:
    """Spread of the loss of one retrain that is expected before any was repeated.

    As of flips: half of the variance of the difference of two runs, over-dispersed.

    Args:
        interval: 95 %, of the difference between the two models.
    """
    return math.sqrt(PRIOR_PHI / 2) * standard_error(interval)


def _by_slice(
    new: Predictions, old: Predictions, pairing: Pairing, measure: Measure, groups: Ints | None
) -> tuple[MetricChange, ...]:
    """The mean loss in every slice, not adjusted."""
    ours, theirs = new.losses[pairing.rows[0]], old.losses[pairing.rows[1]]
    rows: list[MetricChange] = []
    for column, slices in slice_columns(new, pairing).items():
        order = np.argsort(slices.codes, kind="stable")
        codes = slices.codes[order]
        edges = np.searchsorted(codes, np.arange(len(slices.names) + 1))
        for name, start, stop in zip(slices.names, edges[:-1], edges[1:], strict=True):
            of = order[start:stop]
            if not len(of):
                continue
            row = paired_row(
                f"{measure}/{column}={name}",
                "lower",
                (ours[of], theirs[of]),
                None if groups is None else groups[of],
                resample=False,
            )
            rows += [] if row is None else [replace(row, role="slice")]
    return tuple(rows)


def _sentences(
    new: Predictions,
    old: Predictions,
    pairing: Pairing,
    others: Sequence[MetricChange],
    slices: Sequence[MetricChange],
) -> Iterator[str]:
    """What a person should know beyond the loss; differences only where they were shown."""
    ours, theirs = pairing.rows
    said, before, truth = (
        column.astype(np.float64)
        for column in (new.predictions[ours], old.predictions[theirs], new.targets[ours])
    )
    moved = np.abs(said - before)
    if np.isfinite(moved).any():
        yield (
            f"The answers moved by {np.nanmean(moved):.3g} on average; the targets have a "
            f"standard deviation of {np.nanstd(truth):.3g}."
        )
    for row in (*others, *slices[:NAMED]):
        if row.pvalue is None or row.pvalue >= ALPHA or row.interval is None:
            continue
        name = WORDS.get(row.name, row.name)
        low, high = row.interval
        yield (
            f"The {name} changed by {row.effect:+.3g} to {row.new:.4g} (95 % interval "
            f"{low:+.3g} to {high:+.3g}; adjusted p = {row.pvalue:.2g})."
        )
