"""The retrain verdict: evidence of two runs in, judgement out. Nothing here reads or writes."""

import math
from collections.abc import Sequence
from dataclasses import replace

from backslide.contract import Measure, Tag, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import ErrorRate, RunEvidence
from backslide_detector.judgement import RetrainVerdict
from backslide_detector.names import loss_of, table_of
from backslide_detector.retrain.cause import (
    advice_on_causes,
    causes,
    changed_kinds,
    changes,
    look_first,
    provenance_known,
)
from backslide_detector.retrain.data_shift import data_shifts
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.logged import NO_INTERVAL, logged_rows
from backslide_detector.retrain.measure import measure
from backslide_detector.retrain.measured import ALPHA, Measured
from backslide_detector.retrain.metrics import gate
from backslide_detector.retrain.noise import compare_recipes
from backslide_detector.retrain.sentence import LOSSES, rate, versus
from backslide_detector.retrain.wording import model_words, noise_words, open_advice
from backslide_detector.stats.dispersion import NO_REPEATS, Dispersion
from backslide_detector.stats.equivalence import inside
from backslide_detector.wording import count


def judge_retrain(
    new: RunEvidence,
    old: RunEvidence | None,
    *,
    history: Sequence[PastRun] = (),
    margin: float | None = None,
    fleet: Dispersion = NO_REPEATS,
) -> RetrainVerdict:
    """Say whether a retrain is better than its baseline, and whether its recipe is.

    Args:
        new: the run to be judged.
        old: its baseline; None when it has no predecessor.
        history: earlier runs of the lineage, for the noise between retrains.
        margin: half-width of the equivalence region as a fraction; default 0.005 or a tenth of
            the old error, whichever is larger. Of a mean loss: a share of the old one, default
            a tenth.
        fleet: what repeats in other lineages have shown of the noise between retrains.

    Raises:
        ValueError: a margin that is not positive.
    """
    if margin is not None and not margin > 0:
        raise ValueError(f"the margin must be positive, not {margin}")
    split = _split(new, old)
    error = stated_error(new, split) if split else None
    if old is None and new.lineage is None:
        return _silent(
            Verdict.NONE,
            "This run names no lineage, so there is nothing to compare it with.",
            'Name it: backslide.start("my-model") or the tag backslide.lineage.',
        )
    if error is None:
        return _silent(
            Verdict.NONE,
            "This run states no error rate, so it cannot be compared.",
            'Log it: run.evaluate("test", loader), or the metric test/error with '
            "test_examples.",
        )
    if old is None:
        stated = f"{rate(error.rate)} errors"
        if error.measure != "error":
            stated = f"a {LOSSES[error.measure]} of {error.rate:.4g}"
        of = f" of {count(error.examples, 'example')}" if error.examples else ""
        return RetrainVerdict(
            Verdict.FIRST,
            f"{_why_alone(new, history)}: {stated}{of}; the next retrain will be compared with "
            "it.",
            split=error.split,
            new_error=error.rate,
            measure=error.measure,
        )
    before = stated_error(old, error.split)
    if before is None or before.measure != error.measure:
        noun = LOSSES.get(error.measure, "error")
        return _silent(
            Verdict.NONE,
            f"{old.name} states no {noun} on {error.split!r}, so this run "
            "cannot be compared with it.",
            f"Log the {error.split} {noun} of both runs.",
            old=old,
        )
    return _compare(new, old, error, before, history=history, margin=margin, fleet=fleet)


def _why_alone(new: RunEvidence, history: Sequence[PastRun]) -> str:
    """Why there is no baseline."""
    pinned = new.tags.get(Tag.BASELINE)
    if pinned is not None:
        return f"The pinned baseline {pinned[:64]!r} was not found"
    if any(run.lineage == new.lineage for run in history):
        return f"No earlier run of the lineage {new.lineage!r} can serve as the baseline"
    return f"First run of the lineage {new.lineage!r}"


def stated_error(run: RunEvidence, split: str) -> ErrorRate | None:
    """The error of a run on one split, from its predictions where there are any."""
    predictions = table_of(run.predictions, split)
    if predictions is not None and predictions.are_labels:
        return ErrorRate(split, predictions.error, len(predictions), "predictions")
    if run.error is None or run.error.split != split or not run.error.possible:
        return None if predictions is None else loss_of(predictions, split)
    if run.error.examples is not None and run.error.examples < 1:
        return replace(run.error, examples=None)
    return run.error


def _compare(
    new: RunEvidence,
    old: RunEvidence,
    error: ErrorRate,
    before: ErrorRate,
    *,
    history: Sequence[PastRun],
    margin: float | None,
    fleet: Dispersion,
) -> RetrainVerdict:
    """The verdict when both runs state an error on the same split."""
    quantity = error.measure
    shifts, leads = data_shifts(new.data, old.data)
    changed = (*shifts, *changes(new, old))
    measured, behaviour = measure(new, old, error, before)
    if measured is None:
        silent = new if not error.examples else old
        row = gate(quantity, Estimand(reason=NO_INTERVAL), error.rate, before.rate)
        row = replace(row, effect=error.rate - before.rate)
        return RetrainVerdict(
            Verdict.INCONCLUSIVE,
            f"Not enough evidence: {versus(error.rate, before.rate, quantity)}, but "
            f"{_missing(silent, quantity)}.",
            compared_to=old.run_id,
            compared_name=old.name,
            split=error.split,
            old_error=before.rate,
            new_error=error.rate,
            model=Estimand(
                effect=error.rate - before.rate,
                reason=_no_interval(quantity),
            ),
            recipe=Estimand(
                effect=error.rate - before.rate,
                reason=_no_interval(quantity),
            ),
            measure=quantity,
            behaviour=behaviour,
            metrics=(row, *logged_rows(new.series, old.series, [row])),
            changed=changed,
            leads=leads,
            cause=causes(
                Verdict.INCONCLUSIVE,
                changed,
                Estimand(),
                beyond_noise=None,
                striking=False,
                provenance_known=provenance_known(new) and provenance_known(old),
            ),
            advice="Log the number of test examples (metric or parameter test_examples), or "
            'better every prediction: run.evaluate("test", loader).'
            if quantity == "error"
            else 'Log every prediction: run.evaluate("test", loader).',
        )
    margin = _margin(margin, measured)
    verdict = _decide(measured, margin)
    test = measured.test
    model = Estimand(
        effect=test.effect,
        interval=test.interval,
        pvalue=test.pvalue,
        n=test.n,
        method=test.method,
        fixed=measured.fixed,
        broken=measured.broken,
    )
    recipe = compare_recipes(
        PastRun.with_test_set(new),
        PastRun.of(old),
        history,
        discordant=measured.discordant,
        fleet=fleet,
        prior=measured.prior,
        other_examples=measured.other_examples,
    )
    rows = (
        gate(quantity, model, measured.new_error, measured.old_error),
        *measured.metrics,
    )
    cause = causes(
        verdict,
        changed,
        model,
        beyond_noise=recipe.beyond_noise,
        striking=recipe.striking,
        provenance_known=provenance_known(new) and provenance_known(old),
    )
    return RetrainVerdict(
        verdict,
        model_words(verdict, measured, model, margin)
        + noise_words(
            recipe,
            verdict,
            quantity,
            effect=measured.test.effect,
            explained=bool(changed_kinds(changed)),
        ),
        compared_to=old.run_id,
        compared_name=old.name,
        split=error.split,
        old_error=measured.old_error,
        new_error=measured.new_error,
        model=model,
        recipe=recipe.estimand,
        mde=measured.mde,
        margin=margin,
        measure=quantity,
        cause=cause,
        changed=changed,
        leads=leads,
        behaviour=behaviour,
        groups=measured.groups,
        metrics=(*rows, *logged_rows(new.series, old.series, rows)),
        advice=open_advice(verdict, measured, margin)
        or advice_on_causes(cause, changed, beyond_noise=recipe.beyond_noise, run_id=new.run_id)
        or (look_first(cause, changed) if verdict is Verdict.REGRESSED else None),
    )


def _decide(measured: Measured, margin: float) -> Verdict:
    """Equivalence first, so that a detectable but negligible change raises no alarm."""
    low, high = measured.test.interval
    if inside(measured.narrow, margin):
        return Verdict.EQUIVALENT
    if measured.test.pvalue < ALPHA and not low <= 0 <= high:
        return Verdict.REGRESSED if measured.test.effect > 0 else Verdict.IMPROVED
    return Verdict.INCONCLUSIVE


def _margin(given: float | None, measured: Measured) -> float:
    """Half-width of the equivalence region, in the unit of the measure."""
    if measured.measure == "error":
        return max(0.005, measured.old_error / 10) if given is None else given
    share = 0.1 if given is None else given
    return share * measured.old_error or math.ulp(0.0)  # a loss of zero leaves no room


def _split(new: RunEvidence, old: RunEvidence | None) -> str | None:
    """The split to compare on: the stated one, unless only another one is common to both."""
    stated = new.error.split if new.error is not None else None
    candidates = [s for s in (stated, "test", "val", *sorted(new.predictions)) if s is not None]
    usable = [s for s in candidates if stated_error(new, s) is not None]
    if old is not None:
        common = [s for s in usable if stated_error(old, s) is not None]
        usable = common or usable
    return usable[0] if usable else None


def _silent(
    verdict: Verdict, sentence: str, advice: str, *, old: RunEvidence | None = None
) -> RetrainVerdict:
    """A verdict without a comparison."""
    return RetrainVerdict(
        verdict,
        sentence,
        compared_to=None if old is None else old.run_id,
        compared_name=None if old is None else old.name,
        advice=advice,
    )


def _missing(silent: RunEvidence, measure: Measure) -> str:
    """What a comparison lacks."""
    if measure == "error":
        return f"{silent.name} does not say on how many test examples"
    return f"{silent.name} logged only the value, and no prediction of each example"


def _no_interval(measure: Measure) -> str:
    """Why a difference has no interval."""
    if measure == "error":
        return "the number of test examples is unknown"
    return "only the value was logged"
