"""One comparison of two models: paired where the examples are common, else unpaired."""

from dataclasses import dataclass, replace
from typing import Final

from backslide_detector.evidence import ErrorRate, RunEvidence
from backslide_detector.judgement import MetricChange
from backslide_detector.retrain.behaviour import (
    behaviour_sentences,
    compare_behaviour,
    mix_sentence,
)
from backslide_detector.retrain.metrics import metric_changes
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.retrain.sentence import count
from backslide_detector.stats.comparison import Comparison
from backslide_detector.stats.equivalence import equivalence_level
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.power import mde_paired, mde_unpaired
from backslide_detector.stats.tango import tango_interval
from backslide_detector.stats.unpaired import newcombe_interval, unpaired_difference

ALPHA: Final = 0.05
PAIRED_SHARE: Final = 0.5
"""Share of the smaller test set that must be common to both runs for a paired comparison."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One comparison of two models, with what the decision needs."""

    test: Comparison
    narrow: tuple[float, float]
    """The 90 % interval, for equivalence."""
    mde: float
    new_error: float
    old_error: float
    sizes: str
    discordant: float | None = None
    fixed: int | None = None
    broken: int | None = None
    advice: str | None = None
    metrics: tuple[MetricChange, ...] = ()


def measure(
    new: RunEvidence, old: RunEvidence, error: ErrorRate, before: ErrorRate
) -> tuple[Measured | None, tuple[str, ...]]:
    """A paired comparison where enough examples are common, else an unpaired one.

    Returns:
        What was measured, or None without the number of examples, and sentences on behaviour.
    """
    ours, theirs = new.predictions.get(error.split), old.predictions.get(error.split)
    advice: str | None = None
    said: tuple[str, ...] = ()
    if ours is not None and theirs is not None and ours.are_labels and theirs.are_labels:
        pairing = pair(ours, theirs)
        if len(pairing) >= max(PAIRED_SHARE * min(len(ours), len(theirs)), 1):
            behaviour = compare_behaviour(ours, theirs, pairing)
            paired = _paired(pairing, of=min(len(ours), len(theirs)))
            if behaviour is None:
                return paired, ()
            said = behaviour_sentences(behaviour)
            return replace(paired, metrics=metric_changes(behaviour)), said
        mix = mix_sentence(ours, theirs)
        said = () if mix is None else (mix,)
        advice = (
            f"Only {count(len(pairing), 'test example')} of {len(theirs):,} are in both runs: "
            "evaluate the old model on the new test set as well, then the two can be paired."
        )
    if not error.examples or not before.examples:
        return None, said
    return _unpaired(error, before, advice), said


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


def _unpaired(error: ErrorRate, before: ErrorRate, advice: str | None) -> Measured:
    """Two error rates alone."""
    n_new, n_old = error.examples or 0, before.examples or 0
    wrong_new, wrong_old = round(error.rate * n_new), round(before.rate * n_old)
    sizes = f"{n_new:,} examples" if n_new == n_old else f"{n_new:,} and {n_old:,} examples"
    return Measured(
        test=unpaired_difference(wrong_new, n_new, wrong_old, n_old),
        narrow=newcombe_interval(
            wrong_new, n_new, wrong_old, n_old, level=equivalence_level(ALPHA)
        ),
        mde=mde_unpaired(n_new, n_old, (wrong_new + wrong_old) / (n_new + n_old), alpha=ALPHA),
        new_error=error.rate,
        old_error=before.rate,
        sizes=f"{sizes}, unpaired",
        advice=advice
        or 'Log every prediction (run.evaluate("test", loader)): on common examples the same '
        "test set shows smaller differences.",
    )
