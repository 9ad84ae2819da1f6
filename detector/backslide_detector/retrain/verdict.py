"""The retrain verdict: evidence of two runs in, judgement out. Nothing here reads or writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backslide.contract import Verdict
from backslide_detector.evidence import ErrorRate, RunEvidence
from backslide_detector.judgement import Estimand, RetrainVerdict
from backslide_detector.retrain.behaviour import (
    behaviour_sentences,
    compare_behaviour,
    data_sentences,
    mix_sentence,
)
from backslide_detector.retrain.cause import (
    advice_on_causes,
    causes,
    changes,
    provenance_known,
)
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.noise import RecipeAnswer, compare_recipes
from backslide_detector.retrain.pairing import Pairing, pair
from backslide_detector.retrain.sentence import count, decimals, difference
from backslide_detector.stats.comparison import Comparison
from backslide_detector.stats.equivalence import equivalence_level, inside
from backslide_detector.stats.mcnemar import mcnemar
from backslide_detector.stats.power import mde_paired, mde_unpaired
from backslide_detector.stats.tango import tango_interval
from backslide_detector.stats.unpaired import newcombe_interval, unpaired_difference

ALPHA: Final = 0.05
PAIRED_SHARE: Final = 0.5
"""Share of the smaller test set that must be common to both runs for a paired comparison."""


@dataclass(frozen=True, slots=True)
class _Measured:
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


def judge_retrain(
    new: RunEvidence,
    old: RunEvidence | None,
    *,
    history: Sequence[PastRun] = (),
    margin: float | None = None,
) -> RetrainVerdict:
    """Say whether a retrain is better than its baseline, and whether its recipe is.

    Args:
        new: the run to be judged.
        old: its baseline; None when it has no predecessor.
        history: earlier runs of the lineage, for the noise between retrains.
        margin: half-width of the equivalence region as a fraction; default 0.005 or a tenth of
            the old error, whichever is larger.

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
        rate = f"{100 * error.rate:.2f} % errors"
        of = f" of {count(error.examples, 'example')}" if error.examples else ""
        return RetrainVerdict(
            Verdict.FIRST,
            f"First run of the lineage {new.lineage!r}: {rate}{of}; the next retrain will be "
            "compared with it.",
            split=error.split,
            new_error=error.rate,
        )
    before = stated_error(old, error.split)
    if before is None:
        return _silent(
            Verdict.NONE,
            f"{old.name} states no error on {error.split!r}, so this run "
            "cannot be compared with it.",
            f"Log the {error.split} error of both runs.",
            old=old,
        )
    return _compare(new, old, error, before, history=history, margin=margin)


def stated_error(run: RunEvidence, split: str) -> ErrorRate | None:
    """The error of a run on one split, from its predictions where there are any."""
    predictions = run.predictions.get(split)
    if predictions is not None and len(predictions) > 0:
        return ErrorRate(split, predictions.error, len(predictions), "predictions")
    if run.error is None or run.error.split != split or not 0 <= run.error.rate <= 1:
        return None
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
) -> RetrainVerdict:
    """The verdict when both runs state an error on the same split."""
    changed = changes(new, old)
    measured, behaviour = _measure(new, old, error, before)
    behaviour += data_sentences(new.data, old.data)
    if measured is None:
        silent = new if not error.examples else old
        return RetrainVerdict(
            Verdict.INCONCLUSIVE,
            f"Not enough evidence: {100 * error.rate:.2f} % errors instead of "
            f"{100 * before.rate:.2f} %, but {silent.name} does not say on how many test "
            "examples.",
            compared_to=old.run_id,
            compared_name=old.name,
            split=error.split,
            old_error=before.rate,
            new_error=error.rate,
            model=Estimand(
                effect=error.rate - before.rate,
                reason="the number of test examples is unknown",
            ),
            recipe=Estimand(
                effect=error.rate - before.rate,
                reason="the number of test examples is unknown",
            ),
            behaviour=behaviour,
            changed=changed,
            cause=causes(
                Verdict.INCONCLUSIVE,
                changed,
                Estimand(),
                beyond_noise=None,
                provenance_known=provenance_known(new) and provenance_known(old),
            ),
            advice="Log the number of test examples (metric or parameter test_examples), or "
            'better every prediction: run.evaluate("test", loader).',
        )
    margin = max(0.005, measured.old_error / 10) if margin is None else margin
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
        PastRun.of(new), PastRun.of(old), history, discordant=measured.discordant
    )
    cause = causes(
        verdict,
        changed,
        model,
        beyond_noise=recipe.beyond_noise,
        provenance_known=provenance_known(new) and provenance_known(old),
    )
    return RetrainVerdict(
        verdict,
        _sentence(verdict, measured, model, margin, recipe),
        compared_to=old.run_id,
        compared_name=old.name,
        split=error.split,
        old_error=measured.old_error,
        new_error=measured.new_error,
        model=model,
        recipe=recipe.estimand,
        mde=measured.mde,
        margin=margin,
        cause=cause,
        changed=changed,
        behaviour=behaviour,
        advice=_advice(verdict, measured, margin)
        or advice_on_causes(cause, changed, beyond_noise=recipe.beyond_noise),
    )


def _decide(measured: _Measured, margin: float) -> Verdict:
    """Equivalence first, so that a detectable but negligible change raises no alarm."""
    low, high = measured.test.interval
    if inside(measured.narrow, margin):
        return Verdict.EQUIVALENT
    if measured.test.pvalue < ALPHA and not low <= 0 <= high:
        return Verdict.REGRESSED if measured.test.effect > 0 else Verdict.IMPROVED
    return Verdict.INCONCLUSIVE


def _measure(
    new: RunEvidence, old: RunEvidence, error: ErrorRate, before: ErrorRate
) -> tuple[_Measured | None, tuple[str, ...]]:
    """A paired comparison where enough examples are common, else an unpaired one.

    Returns:
        What was measured, or None without the number of examples, and sentences on behaviour.
    """
    ours, theirs = new.predictions.get(error.split), old.predictions.get(error.split)
    advice: str | None = None
    said: tuple[str, ...] = ()
    if ours is not None and theirs is not None and len(ours) and len(theirs):
        pairing = pair(ours, theirs)
        if len(pairing) >= max(PAIRED_SHARE * min(len(ours), len(theirs)), 1):
            behaviour = compare_behaviour(ours, theirs, pairing)
            said = behaviour_sentences(behaviour) if behaviour is not None else ()
            return _paired(pairing, of=min(len(ours), len(theirs))), said
        mix = mix_sentence(ours, theirs)
        said = () if mix is None else (mix,)
        advice = (
            f"Only {count(len(pairing), 'test example')} of {len(theirs):,} are in both runs: "
            "evaluate the old model on the new test set as well, then the two can be paired."
        )
    if not error.examples or not before.examples:
        return None, said
    return _unpaired(error, before, advice), said


def _paired(pairing: Pairing, *, of: int) -> _Measured:
    """Both models on the same examples."""
    n, broken, fixed = len(pairing), pairing.broken, pairing.fixed
    discordant = (broken + fixed) / n
    sizes = f"{fixed:,} fixed, {broken:,} newly broken of {n:,}"
    if n < of:
        sizes += f" examples in both test sets, {of - n:,} others left out"
    return _Measured(
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


def _unpaired(error: ErrorRate, before: ErrorRate, advice: str | None) -> _Measured:
    """Two error rates alone."""
    n_new, n_old = error.examples or 0, before.examples or 0
    wrong_new, wrong_old = round(error.rate * n_new), round(before.rate * n_old)
    sizes = f"{n_new:,} examples" if n_new == n_old else f"{n_new:,} and {n_old:,} examples"
    return _Measured(
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


def _sentence(
    verdict: Verdict, measured: _Measured, model: Estimand, margin: float, recipe: RecipeAnswer
) -> str:
    """The verdict in words."""
    body = difference(model, measured.new_error, measured.old_error, sizes=measured.sizes)
    mde = f"{100 * measured.mde:.{decimals(measured.mde)}f}"
    inner = f"{100 * margin:.2f} points"
    match verdict:
        case Verdict.EQUIVALENT if measured.test.pvalue < ALPHA:
            worse = "worse" if measured.test.effect > 0 else "better"
            text = f"Equivalent: detectably {worse}, but below the margin of {inner}; {body}"
        case Verdict.EQUIVALENT:
            text = f"Equivalent within {inner}: {body}"
        case Verdict.INCONCLUSIVE:
            text = (
                f"Not enough evidence: {body}; the smallest difference that this test set "
                f"could have shown with 80 % power is {mde} points"
            )
        case _:
            text = body[0].upper() + body[1:]
    return f"{text}.{_noise_words(recipe, verdict)}"


def _noise_words(recipe: RecipeAnswer, verdict: Verdict) -> str:
    """What the noise between retrains says, where it is known and a difference was shown."""
    if recipe.spread is None or verdict not in (Verdict.REGRESSED, Verdict.IMPROVED):
        return ""
    noise = (
        f" Retrains of one recipe vary by about {100 * recipe.spread.sd:.2f} points "
        "(standard deviation), so "
    )
    if recipe.beyond_noise:
        return f"{noise}the change, not luck, is the likely reason."
    return f"{noise}luck alone may be the reason."


def _advice(verdict: Verdict, measured: _Measured, margin: float) -> str | None:
    """What would settle an open verdict."""
    if verdict is not Verdict.INCONCLUSIVE:
        return None
    if measured.advice is not None:
        return measured.advice
    factor = (measured.mde / margin) ** 2
    if factor <= 1:
        return "Rerun with another seed, or test on more examples."
    needed = f"{100 * math.ceil(measured.test.n * factor / 100):,}"
    return f"About {needed} test examples would show a difference of {100 * margin:.2f} points."


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
