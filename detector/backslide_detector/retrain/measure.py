"""One comparison of two models: paired where the examples are common, else unpaired."""

from dataclasses import replace
from typing import Final

from backslide_detector.evidence import ErrorRate, Predictions, RunEvidence
from backslide_detector.names import table_of
from backslide_detector.retrain.apart import apart_rows
from backslide_detector.retrain.behaviour import (
    behaviour_sentences,
    compare_behaviour,
    mix_sentence,
)
from backslide_detector.retrain.measured import ALPHA, Measured
from backslide_detector.retrain.metrics import metric_changes
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.retrain.parts import of_flips
from backslide_detector.retrain.values import measure_apart, measure_values
from backslide_detector.stats.equivalence import equivalence_level
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.power import mde_paired, mde_unpaired
from backslide_detector.stats.tango import tango_interval
from backslide_detector.stats.unpaired import newcombe_interval, unpaired_difference
from backslide_detector.wording import count

PAIRED_SHARE: Final = 0.5
"""Share of the smaller test set that must be common to both runs for a paired comparison."""


def measure(
    new: RunEvidence, old: RunEvidence, error: ErrorRate, before: ErrorRate
) -> tuple[Measured | None, tuple[str, ...]]:
    """A paired comparison where enough examples are common, else an unpaired one.

    Returns:
        What was measured, or None without the number of examples, and sentences on behaviour.
    """
    ours, theirs = (table_of(run.predictions, error.split) for run in (new, old))
    labels = error.measure == "error"
    if not (ours and theirs and ours.are_labels == theirs.are_labels == labels):
        measurable = labels and error.examples and before.examples
        return (_unpaired(error, before) if measurable else None), ()
    pairing = pair(ours, theirs)
    if len(pairing) >= max(PAIRED_SHARE * min(len(ours), len(theirs)), 1):
        found = _together(ours, theirs, pairing, error)
        if found is not None:
            return found
    advice = (
        f"Only {count(len(pairing), 'test example')} of {len(theirs):,} are in both runs: "
        "evaluate the old model on the new test set as well, then the two can be paired."
    )
    if not labels:
        apart = measure_apart(ours, theirs, error.measure)
        if apart is None:
            return None, ()
        return replace(apart, advice=advice, other_examples=True), ()
    mix = mix_sentence(ours, theirs)
    unpaired = replace(
        _unpaired(error, before),
        metrics=apart_rows(ours, theirs),
        advice=advice,
        other_examples=True,
    )
    return unpaired, () if mix is None else (mix,)


def _together(
    new: Predictions, old: Predictions, pairing: Pairing, error: ErrorRate
) -> tuple[Measured, tuple[str, ...]] | None:
    """Both models on their common examples, with all that changed beyond the error."""
    if error.measure != "error":
        return measure_values(new, old, pairing, error.measure)
    paired = _paired(pairing, of=min(len(new), len(old)))
    behaviour = compare_behaviour(new, old, pairing)
    if behaviour is None:
        return paired, ()
    measured = replace(
        paired,
        metrics=metric_changes(behaviour),
        groups=of_flips([*behaviour.classes, *behaviour.slices]),
    )
    return measured, behaviour_sentences(behaviour)


def _paired(pairing: Pairing, *, of: int) -> Measured:
    """Both models on the same examples."""
    n, broken, fixed = len(pairing), pairing.broken, pairing.fixed
    discordant = (broken + fixed) / n
    sizes = f"{fixed:,} fixed, {broken:,} newly broken of {n:,}"
    if n < of:
        sizes += f" examples in both test sets, {of - n:,} others left out"
    return Measured(
        test=mcnemar(broken, fixed, n),
        narrow=tango_interval(broken, fixed, n, level=equivalence_level(ALPHA)),
        mde=mde_paired(n, discordant, alpha=ALPHA),
        new_error=pairing.new_error,
        old_error=pairing.old_error,
        sizes=sizes,
        discordant=discordant,
        fixed=fixed,
        broken=broken,
    )


def _unpaired(error: ErrorRate, before: ErrorRate) -> Measured:
    """Two error rates alone."""
    n_new, n_old = error.examples or 0, before.examples or 0
    wrong_new, wrong_old = round(error.rate * n_new), round(before.rate * n_old)
    sizes = count(n_new, "example") if n_new == n_old else f"{n_new:,} and {n_old:,} examples"
    return Measured(
        test=unpaired_difference(wrong_new, n_new, wrong_old, n_old),
        narrow=newcombe_interval(
            wrong_new, n_new, wrong_old, n_old, level=equivalence_level(ALPHA)
        ),
        mde=mde_unpaired(n_new, n_old, (wrong_new + wrong_old) / (n_new + n_old), alpha=ALPHA),
        new_error=error.rate,
        old_error=before.rate,
        sizes=f"{sizes}, unpaired",
        advice='Log every prediction (run.evaluate("test", loader)): on common examples the '
        "same test set shows smaller differences.",
    )
