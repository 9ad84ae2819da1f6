"""One retrain among all others: what it stakes in the stream, and what came of it."""

import hashlib
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from backslide_detector.estimand import Estimand
from backslide_detector.evidence import Predictions, RunEvidence
from backslide_detector.judgement import Judgement, RetrainVerdict
from backslide_detector.lineage import Anchor, Course, Creeping, Stake, Standing, Stream
from backslide_detector.names import table_of
from backslide_detector.retrain.course import dated
from backslide_detector.retrain.history import PastRun, examples_digest, recipe_digest
from backslide_detector.retrain.measure import PAIRED_SHARE
from backslide_detector.retrain.pairing import pair
from backslide_detector.retrain.place import place_words
from backslide_detector.retrain.spending import one_sided
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
    recipes, groups = one_sided(verdict.recipe), verdict.groups
    common = Stake(
        worse=pvalues.worse,
        better=pvalues.better,
        frozen=frozen,
        recipe=None if recipes is None else (recipes.worse, recipes.better),
        groups=None if groups is None else (groups.worse, groups.better),
        began=new.started,
        ended=new.ended,
        test_set=examples_digest(new),
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
    run = PastRun.with_test_set(new, verdict.verdict, judgement.health)
    model, standing = verdict.model, verdict.stream.standing
    if old is not None and run.recipe is not None and run.recipe == recipe_digest(old):
        flips = None if model.broken is None else model.broken + (model.fixed or 0)
        run = replace(run, flips=None if flips is None else flips / model.n)
    if stake is not None and stake.test_set is not None:
        alone = stake.broken is None
        leads = standing is not None and standing.leads
        run = replace(
            run,
            lead="better" if leads else "first" if alone else None,
            alarmed=standing is not None and standing.alarmed,
        )
    return run


def digest_of_outcomes(predictions: Predictions) -> str:
    """Digest of which answers of a model were right, in the order in which they were logged."""
    return hashlib.sha256(np.packbits(predictions.correct).tobytes()).hexdigest()


def placed(
    verdict: RetrainVerdict,
    standing: Standing | None,
    anchor: Anchor | None = None,
    creep: Creeping | None = None,
    course: Course | None = None,
) -> RetrainVerdict:
    """The verdict with its place among all retrains, in numbers and words."""
    life = None
    counted = standing is not None and standing.uses and verdict.measure == "error"
    if counted and verdict.margin and verdict.model.n:
        broken, fixed = verdict.model.broken or 0, verdict.model.fixed or 0
        flips = max(broken + fixed, 1) / verdict.model.n
        life = shelf_life(verdict.model.n, flips, verdict.margin).adaptive
    if course is not None and standing is not None:
        course = _signalled(course, standing, creep)
    stream = Stream(standing, anchor, creep, course, life)
    return replace(
        verdict, stream=replace(stream, sentences=tuple(place_words(stream, verdict)))
    )


def _signalled(course: Course, standing: Standing, creep: Creeping | None) -> Course:
    """The course with what the alert channel made of the judged run."""
    signal: Literal["worse", "better"] | None = None
    if standing.alarmed or standing.leads:
        signal = "worse" if standing.alarmed else "better"
    *earlier, last = course.retrains
    retrains = (*earlier, replace(last, signal=signal))
    return replace(course, retrains=retrains, changes=dated(retrains, creep))
