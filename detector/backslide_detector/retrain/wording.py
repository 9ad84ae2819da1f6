"""The verdict in words: this model against that model, then this recipe against that recipe."""

import math

from backslide.contract import Measure, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.retrain.measured import ALPHA, Measured
from backslide_detector.retrain.noise import RecipeAnswer
from backslide_detector.retrain.sentence import decimals, difference, size


def model_words(verdict: Verdict, measured: Measured, model: Estimand, margin: float) -> str:
    """This model against that model, in words."""
    of = measured.measure
    body = difference(
        model, measured.new_error, measured.old_error, sizes=measured.sizes, measure=of
    )
    mde = size(measured.mde, of, decimals(measured.mde, of))
    inner = size(margin, of, 2 if of == "error" else decimals(margin, of))
    match verdict:
        case Verdict.EQUIVALENT if measured.test.pvalue < ALPHA:
            worse = "worse" if measured.test.effect > 0 else "better"
            text = f"Equivalent: detectably {worse}, but below the margin of {inner}; {body}"
        case Verdict.EQUIVALENT:
            text = f"Equivalent within {inner}: {body}"
        case Verdict.INCONCLUSIVE:
            text = (
                f"Not enough evidence: {body}; the smallest difference that this test set "
                f"could have shown with 80 % power is {mde}"
            )
        case _:
            text = body[0].upper() + body[1:]
    return f"{text}."


def noise_words(
    recipe: RecipeAnswer,
    verdict: Verdict,
    measure: Measure,
    *,
    effect: float | None,
    explained: bool,
) -> str:
    """This recipe against that recipe, in words that follow the verdict.

    Args:
        recipe: the answer.
        verdict: of the retrain.
        measure: what the spread is of.
        effect: this model against that model, as was just said.
        explained: something is known to have changed besides the seed.
    """
    if recipe.spread is None:
        open_ = " How much retrains of one recipe differ is not known yet"
        shown = verdict in (Verdict.REGRESSED, Verdict.IMPROVED)
        return f"{open_}, so luck cannot be ruled out." if shown else f"{open_}."
    spread = recipe.spread.sd
    about = size(spread, measure, 2 if measure == "error" else decimals(spread, measure))
    noise = (
        f" Retrains of one recipe differ by about {about} (standard deviation, from "
        f"{recipe.source})"
    )
    if not recipe.beyond_noise:
        return f"{noise}, so luck alone may be the reason."
    noise += f"{_against_all(recipe.estimand.effect, effect, spread, measure)}, so "
    if explained:
        return f"{noise}the change, not luck, is the likely reason."
    return f"{noise}luck is not the likely reason, though nothing is known to have changed."


def _against_all(recipe: float | None, model: float | None, sd: float, measure: Measure) -> str:
    """The difference that luck was held against, where it is far from the one just said."""
    if recipe is None or model is None or abs(recipe - model) <= max(abs(recipe) / 2, sd):
        return ""
    places = 2 if measure == "error" else decimals(recipe, measure)
    more = "more" if recipe > 0 else "less"
    return f"; held against all of them it is {size(abs(recipe), measure, places)} {more}"


def open_advice(verdict: Verdict, measured: Measured, margin: float) -> str | None:
    """What would settle an open verdict."""
    if verdict is not Verdict.INCONCLUSIVE:
        return None
    if measured.advice is not None:
        return measured.advice
    factor = (measured.mde / margin) ** 2
    if factor <= 1:
        return "Rerun with another seed, or test on more examples."
    needed = f"{100 * math.ceil(measured.test.n * factor / 100):,}"
    of = measured.measure
    shown = size(margin, of, 2 if of == "error" else decimals(margin, of))
    return f"About {needed} test examples would show a difference of {shown}."
