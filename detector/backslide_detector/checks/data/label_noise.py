"""Many training labels are wrong.

What it looks for:
    A network that finds the pattern in its training data, but not in the labels. One of: a
    training loss that stays far above the validation loss, while the validation loss is higher
    than its small error can explain (the network is right, and has learned not to be sure); a
    validation error that rises again while the training loss creeps down from a high level,
    much more slowly than it got there (labels are learned by heart); the same with validation
    at chance; where the training data was evaluated too, an error there that is far above the
    error on held-out data; or, in a network that answers alike in both modes and gets the same
    inputs again and again, an error on training batches that is above the one on validation
    data beyond chance, though it has seen them before. Of numbers: training targets that lie
    beyond all held-out ones, most of them three times as far out as the farthest of those and
    too many for chance (1 %), where held-out numbers are poorly answered (R² below one half).

Why it matters:
    Every wrong label pulls the network away from what the right ones teach it, the more so the
    longer it trains.

What usually causes it:
    Labels from a weak source (heuristics, hurried people, an older model), or a join that
    mixed them up.

What to do:
    Evaluate the training data (`run.evaluate("train", loader)`), sort by loss, and look at the
    hundred worst examples. Correct or drop what is wrong. Until then stop early, or use a loss
    that forgives (label smoothing, generalised cross-entropy).

When it is wrong:
    Strong augmentation and dropout raise the training loss too, but leave the network as sure
    as it is right. Mixed examples (mixup) and smoothed labels ask for doubt: where the gradient
    at the output shows them, the first sign is not read, nor where dropout leaves next to
    nothing of what it gets. Data on which nobody can be certain looks like noise, because it
    is. With noise in all splits and a network too small to learn it by heart there is nothing
    to see. Numbers are judged where the loss is a mean of squares and held-out ones were
    evaluated; what is mistyped on both sides alike, and what grows with time, looks honest or
    mistyped for that reason alone.

References:
    Zhang et al. (2017), Understanding deep learning requires rethinking generalization, ICLR.
    Arpit et al. (2017), A Closer Look at Memorization in Deep Networks, ICML: patterns are
    learned before labels. Largest loss that an error explains: Fano's inequality, h(e) + e ln(K
    - 1). Northcutt et al. (2021), Confident Learning, JAIR.
"""

import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import norm

from backslide_detector.checks.answers import held_out
from backslide_detector.checks.batches import known_targets, typical
from backslide_detector.checks.curve import Curve, latest, rise
from backslide_detector.checks.harder import harder
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, Ints, Predictions, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped

_HIGH = 0.25  # share of a constant guess's loss at which training counts as not learned
_ABOVE = 1.5
_UNSURE = 1.2
_FOUND_FIRST = 0.35
_SLOWLY = 2.0
_HELD_UP = 0.28
_MORE_ERRORS = 0.1
_KNEW = 0.9
_KNOWS = 0.3
_ONE_CLASS = 0.95
_FITS = 0.5
_FAR = 3.0
_BY_CHANCE = 0.01
_ADVICE = (
    'Evaluate the training data (run.evaluate("train", loader)), sort by loss and look at the '
    "hundred worst examples; until they are mended, stop early."
)
_TOGETHER = (
    "Check that inputs and labels are shuffled together; look at ten training examples with "
    "their labels."
)


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    validation_loss: Series | None = None,
    validation_error: Series | None = None,
    predictions: Mapping[str, Predictions] | None = None,
    batches: Batches | None = None,
    loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Of numbers, looks at those far out; else tries the five signs, the most direct first."""
    shape = learning.curve
    if learning.follows is not None and batches is not None:
        return _mistyped(learning, batches, loss, predictions or {}) or Clear()
    if learning.guess_loss is None or learning.classes is None:
        return Skipped("needs class counts (run.log_data, run.evaluate)")
    found = _contradicted(predictions or {})
    if found is None and shape is not None and not learning.failing:
        if not (_blended(batches) or run.dropping):
            found = _unsure(learning, shape, validation_loss)
            if found is not None and _unsure_by_dropout(batches, validation_loss):
                found = None
        found = found or _forgotten(learning, shape, validation_error)
        found = found or _by_heart(learning, shape)
        found = found or _harder(run, learning, validation_error, predictions or {}, batches)
    if found is not None:
        return found
    if shape is None or (validation_loss is None and validation_error is None):
        return Skipped("needs a training loss and a validation loss or error")
    return Clear()


def _contradicted(tables: Mapping[str, Predictions]) -> Found | None:
    """Evaluated alike, the training data has far more errors than held-out data."""
    chosen = held_out(tables)
    train = next((table for name, table in tables.items() if name.startswith("train")), None)
    if chosen is None or train is None or chosen[0].startswith("train"):
        return None
    name, table = chosen
    if not table.are_labels:
        return None
    more = train.error - table.error
    pooled = (train.error * len(train) + table.error * len(table)) / (len(train) + len(table))
    spread = math.sqrt(pooled * (1.0 - pooled) * (1 / len(train) + 1 / len(table)))
    if more < _MORE_ERRORS or more < norm.isf(1e-4) * spread:
        return None
    return Found(
        Severity.WARNING,
        f"The network contradicts {train.error:.1%} of {len(train):,} training labels, but "
        f"only {table.error:.1%} of those on {name}, which it has never seen.",
        "Sort the training examples by loss and look at the hundred worst.",
        since_step=0,
        numbers={"training_error": train.error, "held_out_error": table.error},
    )


def _mistyped(
    learning: Learning,
    batches: Batches,
    loss: Series | None,
    tables: Mapping[str, Predictions],
) -> Found | None:
    """Numbers far beyond all held-out ones, in a run that does badly on those."""
    chosen, fit = held_out(tables), learning.validation_skill
    if chosen is None or chosen[0].startswith("train") or fit is None or fit >= _FITS:
        return None
    name, table = chosen
    seen: dict[int, float] = {}
    for index, _ in known_targets(batches, loss):
        digests, targets = batches.digests[index], batches.targets[index]
        seen |= dict(zip(digests.tolist(), targets.tolist(), strict=False))
    told, held = np.array(list(seen.values())), table.targets.astype(np.float64)
    told, held = told[np.isfinite(told)], held[np.isfinite(held)]
    if not len(told) or not len(held):
        return None
    farthest = float(np.abs(held - np.median(held)).max())
    away = np.abs(told - np.median(held))
    far = away[away > farthest]
    # Were all drawn alike, each of the farthest would be held out as often as any other.
    by_chance = (len(told) / (len(told) + len(held))) ** len(far)
    if by_chance > _BY_CHANCE or np.median(far) < _FAR * farthest:
        return None
    return Found(
        Severity.WARNING,
        f"{len(far):,} of {len(told):,} training targets that were seen lie beyond all "
        f"{len(held):,} targets on {name}, typically {np.median(far) / farthest:.2g} times as "
        "far out as the farthest of those, as typing errors do. "
        f"{learning.sentence}",
        "Look at the training examples of the largest and smallest targets and mend them; "
        "until then use a loss that forgives (nn.HuberLoss).",
        since_step=0,
        numbers={"far": float(len(far)), "seen": float(len(told))},
    )


def _blended(batches: Batches | None) -> bool:
    """Are the targets mixed or smoothed, so that doubt is asked for? Other losses count too."""
    # Where targets are blended, many batches do not look like classes at all.
    fits = None if batches is None else typical(batches, "cross_entropy")
    return fits is not None and fits < _ONE_CLASS


def _unsure(learning: Learning, shape: Curve, validation_loss: Series | None) -> Found | None:
    """Right on held-out data, but without the confidence that its error allows."""
    error, guess, classes = learning.validation_error, learning.guess_loss, learning.classes
    held = latest(validation_loss)
    if held is None or error is None or guess is None or classes is None:
        return None
    explained = _entropy(error) + error * math.log(max(classes - 1, 1))
    # Doubt costs less than a constant guess; what costs more is another fault.
    high = _HIGH * guess < shape.final < guess and shape.final > _ABOVE * held
    if not high or held < _UNSURE * explained:
        return None
    return Found(
        Severity.WARNING,
        f"The training loss stays at {shape.final:.3g} while the validation loss is {held:.3g} "
        f"with an error of {error:.1%}; an error as small explains at most {explained:.3g}, so "
        "the network has learned to doubt labels that it predicts well.",
        _ADVICE,
        since_step=int(shape.steps[0]),
        numbers={"training_loss": shape.final, "validation_loss": held, "error": error},
    )


def _unsure_by_dropout(batches: Batches | None, validation_loss: Series | None) -> bool:
    """Do training examples, evaluated as held-out ones are, do as well as those?"""
    if batches is None or validation_loss is None:
        return False
    told = np.flatnonzero(np.isfinite(batches.numbers["trial_eval_loss"]))[-1:]
    alike = batches.numbers["trial_eval_loss"][told]
    before = batches.numbers["trial_loss"][told]
    then = validation_loss.at(batches.steps[told])
    return bool((alike <= _ABOVE * then).all() and (alike < before).all() and len(told))


def _forgotten(learning: Learning, shape: Curve, errors: Series | None) -> Found | None:
    """The validation error rises while labels are learned by heart, slowly."""
    guess = learning.guess_loss
    if errors is None or guess is None or learning.generalises is False:
        return None
    risen = rise(errors)
    if risen is None or shape.final >= guess:
        return None  # or nothing was learned, by heart or otherwise
    then = float(np.interp(risen.step, shape.steps, shape.levels))
    slow = _halving(shape.steps, shape.levels, risen.step, then) >= _SLOWLY * max(risen.step, 1)
    if then < _FOUND_FIRST * guess or not slow:
        return None
    knew = learning.chance is None or risen.lowest < _KNEW * learning.chance
    which = "do not follow the pattern it had found" if knew else "it cannot foretell"
    return Found(
        Severity.WARNING,
        f"The validation error rose from {risen.lowest:.1%} at step {risen.step} to "
        f"{risen.now:.1%} lately, while the training loss crept from {then:.3g} to "
        f"{shape.final:.3g}: the network is "
        f"learning labels by heart that {which}.",
        _ADVICE if knew else _TOGETHER,
        since_step=risen.step,
        numbers={"lowest_error": risen.lowest, "error": risen.now, "training_loss": then},
    )


def _by_heart(learning: Learning, shape: Curve) -> Found | None:
    """Nothing carries over, and the training loss came down late: there is no pattern."""
    fall = shape.initial - float(shape.levels.min())
    if learning.generalises is not False or fall <= 0.0 or learning.validation_error is None:
        return None
    held_up = float(shape.levels.mean() - shape.levels.min()) / fall
    if held_up < _HELD_UP:
        return None
    return Found(
        Severity.FAILING,
        f"The training loss came down slowly ({shape.initial:.3g} → {shape.final:.3g}) and "
        f"the held-out error of {learning.validation_error:.1%} is at chance: labels are "
        "learned by heart, as if they were drawn at random.",
        _TOGETHER,
        since_step=int(shape.steps[0]),
        numbers={"error": learning.validation_error, "held_up": held_up},
    )


def _harder(
    run: RunEvidence,
    learning: Learning,
    errors: Series | None,
    tables: Mapping[str, Predictions],
    batches: Batches | None,
) -> Found | None:
    """Training batches with more errors than validation data, in spite of having been seen."""
    known = learning.validation_skill is not None and learning.validation_skill >= _KNOWS
    if errors is None or batches is None or not known or run.dropping:
        return None
    table = next((each for name, each in tables.items() if name.startswith("val")), None)
    trained = next((run.data[n] for n in ("train", "training") if n in run.data), None)
    counts = {} if trained is None else trained.class_counts
    both = harder(batches, errors, counts, None if table is None else len(table))
    if both is None:
        return None
    return Found(
        Severity.WARNING,
        f"In training, {both.training:.1%} of the labels are contradicted, though the network "
        f"has seen these very examples before, and {both.held_out:.1%} on validation data, "
        "which it has not; it answers alike in both modes, and the inputs come unchanged.",
        'Evaluate the training data (run.evaluate("train", loader)) and look at the hundred '
        "examples with the largest loss: if their labels are right, the training data are "
        "harder than the validation data.",
        since_step=both.since,
        numbers={"training_error": both.training, "held_out_error": both.held_out},
    )


def _halving(steps: Ints, levels: Floats, since: int, level: float) -> float:
    """Steps after `since` until the loss has halved; infinite while it has not."""
    later = (steps > since) & (levels <= level / 2.0)
    return float(steps[int(later.argmax())] - since) if later.any() else math.inf


def _entropy(error: float) -> float:
    """Of a coin that comes up wrong with this probability, in nats."""
    return -sum(p * math.log(p) for p in (error, 1.0 - error) if p > 0.0)
