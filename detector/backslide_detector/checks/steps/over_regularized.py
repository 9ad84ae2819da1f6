"""Weight decay, a penalty or dropout leaves the network nothing to learn with.

What it looks for:
    In a run that fails to learn or learns poorly, one of five. Weight matrices that shrank to
    less than a tenth of their first size. Weight decay that takes a hundredth or more of each
    weight in a step, so that what is learned is gone after some dozens of steps. Dropout that
    drops more than eight in ten of its inputs. In one that fails to learn: chance that, in
    training mode alone, moves answers by more than examples differ in evaluation mode, and
    costs more than it. A penalty that makes up more than six tenths of
    the loss (what was logged, less what the answers of the batch cost, as steady from batch to
    batch as only what depends on the weights alone can be), while the answers cost almost what
    they did at the start, or as answering their mean would, or a quarter is left to learn. Or,
    where nothing but the loss says what was learned: all weight matrices shrank to a fiftieth,
    and no norm makes up for it.

Why it matters:
    A network whose weights are nearly zero, or are forgotten as fast as they are learned,
    answers the same to every input.

What usually causes it:
    A weight decay or penalty taken over from another optimizer, or mistyped by powers of
    ten.

What to do:
    Divide the weight decay (or the factor of the L1 or L2 term in the loss) by ten or more;
    usual values are 0.0001 for SGD and 0.01 for AdamW. Leave biases and norms out of it.
    Dropout is usually between 0.1 and 0.5.

When it is wrong:
    Weights followed by batch or layer norm may shrink freely, because their scale does not
    matter; such runs learn and are not reported. Decay is read in the first step: a schedule
    that changes it later is not seen.

References:
    Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization, ICLR. Krogh & Hertz
    (1992), A Simple Weight Decay Can Improve Generalization. Srivastava et al. (2014), Dropout,
    JMLR.
"""

import numpy as np

from backslide_detector.checks.batches import EARLIEST, FEW
from backslide_detector.checks.layers import FEW_SNAPSHOTS, matrices
from backslide_detector.checks.learning import Learning
from backslide_detector.evidence import Batches, Floats, LayerHistory, RunEvidence, Series
from backslide_detector.finding import Clear, Found, Severity, Skipped
from backslide_detector.wording import count

_SHRUNK = 0.1
_CRUSHED = 0.02
_SEVERAL = 2
_FAST = 0.01
_MOST = 0.6
_STEADY = 0.03
_STILL = 0.7
_ONE_CLASS = 0.95
_TRIALS = 2
_COSTS = 1.05


def check(
    run: RunEvidence,
    learning: Learning,
    *,
    weights: LayerHistory | None = None,
    batches: Batches | None = None,
    loss: Series | None = None,
) -> Found | Clear | Skipped:
    """Compares weights with their start, then reads the penalty, decay and dropout."""
    kept, most = (None, None) if weights is None else _kept(weights)
    penalty = None if batches is None or loss is None else _penalty(batches, loss, learning)
    drowned = None if batches is None or not learning.failing else _drowned(batches)
    known = run.shrink or run.dropping or drowned
    if kept is None and penalty is None and not known:
        return Skipped("too few snapshots of weight matrices that were finite and not zero")
    if penalty is not None:
        text = f"A penalty makes up {penalty:.0%} of the training loss"
        advice = "Divide the factor of the penalty in the loss by ten."
    elif kept is not None and kept <= _SHRUNK:
        text = f"The weight matrices shrank to {kept:.2g} of their first size"
        advice = "Divide the weight decay, or the factor of the penalty in the loss, by ten."
    elif run.shrink >= _FAST:
        text = f"Weight decay takes {run.shrink:.1%} of each weight in a step"
        advice = "Divide the weight decay by ten until the loss comes down."
    elif run.dropping:
        text = (
            f"{count(len(run.dropping), 'place')} with dropout of more than 80% "
            f"({', '.join(run.dropping[:4])})"
        )
        advice = "Lower the share that is dropped: between 0.1 and 0.5 is usual."
    elif drowned is not None:
        distance, training, evaluation = drowned
        text = (
            f"What happens in training mode alone moves the answers by {distance:.2g} times "
            f"the spread between examples; the same examples cost {training:.3g} in training "
            f"mode and {evaluation:.3g} in evaluation mode"
        )
        advice = (
            "Lower the dropout, or the noise that is added in training: between 0.1 and 0.5 is "
            "a usual share to drop."
        )
    else:
        return Clear()
    # A falling loss may be the penalty's alone, where nothing else says what was learned.
    unknown = learning.guess_loss is None and learning.validation_skill is None
    crushed = unknown and most is not None and most <= _CRUSHED
    if not (learning.poor or penalty is not None or crushed):
        return Clear(f"{text}; the run learns.")
    return Found(
        Severity.FAILING if learning.failing else Severity.WARNING,
        f"{text}. {learning.sentence}",
        advice,
        since_step=0 if weights is None else int(weights.steps[0]),
        numbers={"shrink": run.shrink} | ({} if kept is None else {"kept": kept}),
    )


def _drowned(batches: Batches) -> tuple[float, float, float] | None:
    """(Distance, loss in training mode, in evaluation mode) where chance drowns the answers.

    Statistics of a batch, as batch norm takes them, lag behind in evaluation mode: there it is
    evaluation that costs more.
    """
    numbers = batches.numbers
    tried = np.isfinite(numbers["trial_eval_distance"]) & np.isfinite(numbers["trial_loss"])
    tried &= np.isfinite(numbers["trial_eval_loss"]) & (batches.steps >= EARLIEST)
    if tried.sum() < _TRIALS:
        return None
    distance = float(numbers["trial_eval_distance"][tried].min())
    training = float(numbers["trial_loss"][tried].mean())
    evaluation = float(numbers["trial_eval_loss"][tried].mean())
    costs = training > _COSTS * evaluation > 0.0
    return (distance, training, evaluation) if distance > 1.0 and costs else None


def _kept(weights: LayerHistory) -> tuple[float | None, float | None]:
    """Size of the weight matrices at the end, as a share of their first: typical and largest.

    None where it is not known; the largest also where norms make up for any size.
    """
    chosen = matrices(weights)
    if not chosen or len(weights.steps) < FEW_SNAPSHOTS:
        return None, None
    first, last = weights.rms[0, chosen], weights.rms[-1, chosen]
    known = np.isfinite(first) & np.isfinite(last) & (first > 0.0)
    if known.sum() < _SEVERAL:
        return None, None  # to a straight line zeros may be the best answer
    kept, norms = last[known] / first[known], any("Norm" in kind for kind in weights.kinds)
    return float(np.median(kept)), None if norms else float(kept.max())


def _penalty(batches: Batches, loss: Series, learning: Learning) -> float | None:
    """Share of the loss that answers do not explain, if they cost almost what they did first.

    Or if held-out data leave a quarter to learn.

    None where there is no such share, or what answers cost is not known.
    """
    _, at, rows = np.intersect1d(loss.steps, batches.steps, return_indices=True)
    cost, logged = batches.numbers["loss"][rows], loss.values[at]
    varies = np.array([_variance(batches, row) for row in rows])
    numbers = "classes" not in batches.answers
    known = np.full(len(rows), numbers)
    known |= batches.numbers["cross_entropy"][rows] >= _ONE_CLASS
    known &= np.isfinite(cost) & np.isfinite(logged) & (logged > 0.0)
    known &= np.array([batches.answers[row] != "dense" for row in rows])  # a few places' cost
    cost, logged, varies = cost[known], logged[known], varies[known]
    half = len(cost) // 2
    if half < FEW:
        return None
    rest = (logged - cost)[half:]
    share, fallen = float(np.median(rest / logged[half:])), float(np.median(cost[half:]))
    moves, wobble = _moves(rest), _moves(cost[half:])
    steady = moves <= _STEADY * np.median(rest)
    # Another loss read as squared errors does not follow them from batch to batch.
    if numbers and moves > wobble:
        return None
    # A mean far from zero is learned first, by the bias alone, and costs most.
    guess = np.fmin(np.median(cost[:FEW]), np.median(varies[half:]))
    short = fallen >= _STILL * guess or learning.lags
    return share if share >= _MOST and steady and short else None


def _moves(values: Floats) -> float:
    """How far values go from one batch to the next."""
    return float(np.median(np.abs(np.diff(values))))


def _variance(batches: Batches, row: int) -> float:
    """Of the numbers that a batch asks for: what answering their mean costs; NaN for others."""
    wanted = batches.targets[row] if batches.answers[row] == "values" else np.empty(0)
    return float(np.var(wanted)) if len(wanted) >= FEW else np.nan
