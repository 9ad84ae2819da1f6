"""One retrain among all others: what it stakes in the stream, and what came of it in words."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd

from backslide.contract import Measure
from backslide_detector.evidence import Predictions, RunEvidence
from backslide_detector.judgement import (
    Anchor,
    Claim,
    Creeping,
    Estimand,
    Judgement,
    RetrainVerdict,
    Stake,
    Standing,
    Stream,
)
from backslide_detector.names import table_of
from backslide_detector.retrain.history import PastRun, recipe_digest
from backslide_detector.retrain.measure import PAIRED_SHARE
from backslide_detector.retrain.pairing import pair
from backslide_detector.retrain.sentence import LOSSES, size
from backslide_detector.retrain.spending import one_sided
from backslide_detector.stats.change_point import date_change
from backslide_detector.stats.creep import RUN_LENGTH, detect_creep
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.shelf_life import shelf_life

FALSE_ALARM_EVERY: Final = 1_000.0


def against(
    new: RunEvidence, reference: RunEvidence, why: str, verdict: RetrainVerdict
) -> Anchor | None:
    """The difference to the reference, paired; None without enough common examples."""
    if reference.run_id == verdict.compared_to:
        model = verdict.model
        paired = model.broken is not None
        return Anchor(reference.run_id, reference.name, why, model) if paired else None
    split = verdict.split or ""
    ours, theirs = table_of(new.predictions, split), table_of(reference.predictions, split)
    if ours is None or theirs is None or not (ours.are_labels and theirs.are_labels):
        return None
    pairing = pair(ours, theirs)
    if len(pairing) < max(PAIRED_SHARE * min(len(ours), len(theirs)), 1):
        return None
    test = mcnemar(pairing.broken, pairing.fixed, len(pairing))
    model = Estimand(
        effect=test.effect,
        interval=test.interval,
        pvalue=test.pvalue,
        n=test.n,
        method=test.method,
        fixed=pairing.fixed,
        broken=pairing.broken,
    )
    return Anchor(reference.run_id, reference.name, why, model)


def stake(
    new: RunEvidence,
    verdict: RetrainVerdict,
    anchor: Anchor | None,
    *,
    reference: RunEvidence | None,
    frozen: bool,
    phi: float = 1.0,
    every: float = FALSE_ALARM_EVERY,
) -> Stake | None:
    """What a judged retrain puts into the stream; None when nothing was tested.

    Args:
        new: the retrain.
        verdict: of it.
        anchor: the difference to the reference of the alert channel.
        reference: that reference.
        frozen: many retrains are held against this baseline.
        phi: over-dispersion of the lineage, as far as repeats have shown it.
        every: retrains between two false alarms.
    """
    pvalues = one_sided(verdict.model)
    if pvalues is None:
        return None
    split = verdict.split or ""
    predictions = table_of(new.predictions, split)
    recipes = one_sided(verdict.recipe)
    common = Stake(
        worse=pvalues.worse,
        better=pvalues.better,
        frozen=frozen,
        recipe=None if recipes is None else (recipes.worse, recipes.better),
        began=new.started,
        ended=new.ended,
        test_set=None if predictions is None else digest_of_examples(predictions),
        false_alarm_every=every,
    )
    held = None if reference is None else table_of(reference.predictions, split)
    if anchor is None or reference is None or held is None:
        return common
    return replace(
        common,
        broken=anchor.model.broken,
        fixed=anchor.model.fixed,
        reference=reference.run_id,
        yardstick=digest_of_outcomes(held),
        phi=phi,
    )


def remembered(
    new: RunEvidence, old: RunEvidence | None, judgement: Judgement, stake: Stake | None
) -> PastRun:
    """What later runs of the lineage must know of a judged one."""
    verdict = judgement.retrain
    run = PastRun.of(new, verdict.verdict, judgement.health)
    model, standing = verdict.model, verdict.stream.standing
    if old is not None and run.recipe is not None and run.recipe == recipe_digest(old):
        flips = None if model.broken is None else model.broken + (model.fixed or 0)
        run = replace(run, flips=None if flips is None else flips / model.n)
    if stake is not None and stake.test_set is not None:
        alone = stake.broken is None
        leads = standing is not None and standing.leads
        run = replace(
            run,
            test_set=stake.test_set,
            lead="better" if leads else "first" if alone else None,
        )
    return run


def digest_of_outcomes(predictions: Predictions) -> str:
    """Digest of which answers of a model were right, in the order in which they were logged."""
    return hashlib.sha256(np.packbits(predictions.correct).tobytes()).hexdigest()


def digest_of_examples(predictions: Predictions) -> str:
    """Digest of which examples a test set holds, in whatever order."""
    hashes = np.sort(pd.util.hash_array(predictions.ids, categorize=False))
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def creeping(new: PastRun, history: Sequence[PastRun], anchor: PastRun) -> Creeping | None:
    """The course of the error since a fixed anchor; None before the third retrain."""
    if new.error is None or not new.error.examples:
        return None
    place = new.error.place
    runs = sorted(
        {
            run.run_id: run
            for run in (*history, anchor, new)
            if run.error is not None
            and run.error.place == place
            and (anchor.started, anchor.run_id) <= (run.started, run.run_id)
            and (run.finished or run.run_id == new.run_id)
            and run.started <= new.started
        }.values(),
        key=lambda run: (run.started, run.run_id),
    )
    errors = [run.error.rate for run in runs if run.error is not None]
    if len(errors) < 3:
        return None
    found = detect_creep(errors)
    said = Creeping(anchor.name, len(errors), float(found.path[-1]), RUN_LENGTH)
    if found.alarm is None:
        return said
    change = date_change(errors[: found.alarm + 1])
    return replace(
        said,
        alarm=runs[found.alarm].name,
        since=runs[change].name,
        new=found.alarm == len(errors) - 1,
        rise=float(np.mean(errors[change:]) - np.mean(errors[:change])),
    )


def placed(
    verdict: RetrainVerdict,
    standing: Standing | None,
    anchor: Anchor | None,
    creep: Creeping | None,
) -> RetrainVerdict:
    """The verdict with its place among all retrains, in numbers and words."""
    life = None
    counted = standing is not None and standing.uses and verdict.measure == "error"
    if counted and verdict.margin and verdict.model.n:
        broken, fixed = verdict.model.broken or 0, verdict.model.fixed or 0
        flips = max(broken + fixed, 1) / verdict.model.n
        life = shelf_life(verdict.model.n, flips, verdict.margin).adaptive
    stream = Stream(standing, anchor, creep, life)
    return replace(verdict, stream=replace(stream, sentences=tuple(_words(stream, verdict))))


def _words(stream: Stream, verdict: RetrainVerdict) -> list[str]:
    """A sentence for each part that has something to say."""
    said = []
    standing = stream.standing
    if standing is not None:
        said.append(_discovery(standing))
        if standing.recipe is not None:
            said.append(_claim(standing.recipe))
    if stream.anchor is not None and stream.anchor.run_id != verdict.compared_to:
        said.append(_difference(stream.anchor))
    if standing is not None and standing.alarm_value is not None and standing.alarm_every:
        value, every = _number(standing.alarm_value), f"{standing.alarm_every:,.0f}"
        said.append(
            f"Alarm: the evidence that this lineage got worse has reached {value}, over its "
            f"threshold of {every}; without a regression that happens on average at most once "
            f"in {every} retrains."
            if standing.alarmed
            else f"No alarm: the evidence that this lineage got worse stands at {value} of "
            f"{every}."
        )
        if standing.leads:
            said.append(
                "The lineage has got better than its reference; later retrains are held "
                "against this one."
            )
    if stream.creep is not None:
        said.append(_creep(stream.creep, verdict.measure))
    if standing is not None and stream.shelf_life is not None and verdict.margin:
        said.append(_life(standing.uses, stream.shelf_life, verdict.margin))
    return said


def _discovery(standing: Standing) -> str:
    place = f"retrain {standing.number:,} of the ledger"
    found = standing.model.found
    if found is not None:
        return (
            f"A discovery under control: counted among all tests so far ({place}), this model "
            f"is {found}; at most 5 % of such discoveries are expected to be false "
            f"({standing.procedure.upper()})."
        )
    pvalue, level = standing.model.nearest
    return (
        f"No discovery under control of the false discovery rate ({place}; one-sided "
        f"p = {pvalue:.2g} against a level of {level:.2g}, {standing.procedure.upper()})."
    )


def _claim(claim: Claim) -> str:
    if claim.found is not None:
        return (
            f"Among all claims about recipes, this one is {claim.found} under control as well: "
            "at most 5 % of such claims are expected to be luck."
        )
    pvalue, level = claim.nearest
    return (
        f"No claim about the recipe holds among all such claims (one-sided p = {pvalue:.2g} "
        f"against a level of {level:.2g})."
    )


def _difference(anchor: Anchor) -> str:
    model = anchor.model
    low, high = model.interval or (0.0, 0.0)
    return (
        f"Against {anchor.why}, {anchor.name}: {100 * (model.effect or 0.0):+.2f} points "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f}; {model.fixed:,} fixed, "
        f"{model.broken:,} newly broken of {model.n:,})."
    )


def _creep(creep: Creeping, measure: Measure) -> str:
    if creep.alarm is None:
        return (
            f"No creep in {creep.retrains} retrains since {creep.anchor} (detector at "
            f"{_number(creep.value)} of {creep.threshold:,.0f})."
        )
    rise = size(creep.rise or 0.0, measure, 2 if measure == "error" else 4)
    return (
        f"The {LOSSES.get(measure, 'error')} has crept up since {creep.anchor}: by about "
        f"{rise} from {creep.since} on, found at {creep.alarm}. No single retrain need have "
        "shown it."
    )


def _life(uses: int, life: int, margin: float) -> str:
    times = "once" if uses == 1 else f"{uses:,} times"
    within = f"{100 * margin:.2f} points"
    if uses <= life:
        return f"This test set has decided {times}; its guarantee of {within} covers {life:,}."
    if not life:
        return (
            f"This test set has decided {times}; it is too small to guarantee differences to "
            f"within {within} when its answers shape the next model."
        )
    return (
        f"This test set wears thin: it has decided {times}, and if each answer shaped the next "
        f"model, its guarantee of {within} covers {life:,}. Draw fresh test examples."
    )


def _number(value: float) -> str:
    if value >= 1e6:
        return "over a million"
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
