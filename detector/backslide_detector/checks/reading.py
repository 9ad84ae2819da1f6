"""Training and held-out errors read together: would more data, capacity or time help?

What a run shares out between its two errors says where to look next, whether or not anything is
wrong with it: an error on the training data itself is no lack of data, and what separates the
two errors is no lack of capacity. Dropout and augmentation make the training side look worse
than it is, so a gap is believed and a missing one taken with care.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from scipy.stats import theilslopes

from backslide_detector.checks.curve import Curve, latest
from backslide_detector.checks.subject import Subject
from backslide_detector.evidence import RunEvidence
from backslide_detector.keys import NO_MAPPING

# Shares of what there was to learn that are left.
_NOTHING: Final = 0.02
_LITTLE: Final = 0.1
_MUCH: Final = 0.25
_GAP: Final = 2.0
_AHEAD: Final = 0.1


class Limit(StrEnum):
    """What holds a run back, as far as its two errors tell."""

    NOTHING = "nothing"
    TIME = "time"
    FIT = "fit"
    """The training data are not learned, and will not be by going on."""
    DATA = "data"
    """They are learned, and held-out data are not."""
    BOTH = "both"
    """They are not learned, and held-out data far less."""
    CLOSE = "close"
    """Both are learned in good part, alike."""


_WORDS: Final[Mapping[Limit, tuple[str, str]]] = {
    Limit.NOTHING: (
        "Little is left to win",
        "Neither more data nor a larger network can bring much.",
    ),
    Limit.TIME: (
        "Training ended while it was still learning",
        "Train longer before judging the amount of data or the size of the network.",
    ),
    Limit.FIT: (
        "The training data themselves are not learned, and the loss has gone flat",
        "More data of the same kind will not help. A larger network, another learning rate or "
        "inputs that tell more may: train once with twice the units, all else the same; a "
        "lower training error says capacity, an equal one the optimizer or noise in the data.",
    ),
    Limit.DATA: (
        "Training data are learned much better than new data",
        "More data, augmentation or regularisation can close the gap; a larger network or more "
        "steps cannot.",
    ),
    Limit.BOTH: (
        "The training data are not learned, and new data far less",
        "Mend the fit first (learning rate, network, inputs), then the gap (more data, "
        "augmentation, regularisation).",
    ),
    Limit.CLOSE: (
        "Training and new data are learned alike",
        "There is no gap for more data to close. A larger network, more steps or better inputs "
        "may lower both errors; where the answers themselves are noisy, nothing will.",
    ),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What holds a run back, if that can be said.

    Attributes:
        seen: both sides with their numbers, a sentence.
        meaning: what would help then, as far as one run tells.
    """

    limit: Limit | None = None
    seen: str = ""
    meaning: str = ""


_UNSEEN: Final = Reading(
    seen="Only training data were looked at, and they are learned.",
    meaning="Log a validation loss (`run.log(val_loss=...)`) or `run.evaluate` held-out data: "
    "without either, nobody can see overfitting.",
)


def read_errors(run: RunEvidence, mapping: Mapping[str, str] = NO_MAPPING) -> Reading:
    """What holds a run back, with the numbers; where a side is missing, at most what to log.

    Args:
        run: a finished run.
        mapping: usual metric name -> the run's own key (see `names`).
    """
    subject = Subject(run, mapping)
    with np.errstate(all="ignore"):  # as for the checks: broken runs are read too
        found = _limit(subject)
    if found is None:
        return _UNSEEN if _on_training_alone(subject) else Reading()
    text, meaning = _WORDS[found]
    return Reading(found, f"{text} ({_numbers(subject)}).", meaning)


def _limit(subject: Subject) -> Limit | None:
    learning = subject.learning
    trained, held, gap = learning.training_skill, learning.validation_skill, _gap(subject)
    if trained is None or held is None or gap is None or learning.curve is None:
        return None
    if learning.failing:
        return None  # a finding says so, and nothing else matters before
    # Smoothed or mixed-up labels keep the loss up: new data are not known better than old.
    left = 1.0 - max(trained, held)
    if left > _LITTLE and _still_falling(learning.curve):
        return Limit.TIME
    if 1.0 - held <= _NOTHING:
        return Limit.NOTHING
    if gap > _GAP:
        return Limit.DATA if left <= _MUCH else Limit.BOTH
    return Limit.FIT if left > _MUCH else Limit.CLOSE


def _on_training_alone(subject: Subject) -> bool:
    """Is much learned, as far as the training loss tells, and nothing known of other data?"""
    learning = subject.learning
    held = (subject.validation_loss, subject.validation_error, learning.validation_skill)
    unseen = all(each is None for each in held) and not subject.run.predictions
    learned = (learning.training_skill or 0.0) >= 1.0 - _MUCH
    return unseen and learned and not learning.failing and subject.run.error is None


def _gap(subject: Subject) -> float | None:
    """How many times larger the held-out error is, else the held-out loss."""
    pairs = (
        (latest(subject.training_error), subject.learning.validation_error),
        (subject.learning.final_loss, latest(subject.validation_loss)),
    )
    for training, held in pairs:
        if training is not None and held is not None and min(training, held) >= 0.0:
            return held / training if training > 0.0 else float("inf") if held else 1.0
    return None


def _numbers(subject: Subject) -> str:
    learning, said = subject.learning, []
    error, loss = latest(subject.training_error), latest(subject.validation_loss)
    if error is not None:
        said.append(f"training error {error:.1%}")
    if learning.validation_error is not None:
        said.append(f"held-out error {learning.validation_error:.1%}")
    elif learning.validation_skill is not None:
        said.append(f"R² {learning.validation_skill:.2f} on held-out data")
    if learning.final_loss is not None:
        said.append(f"training loss {learning.final_loss:.2g}")
    if loss is not None:
        said.append(f"validation loss {loss:.2g}")
    return ", ".join(said)


def _still_falling(curve: Curve) -> bool:
    """Would as many steps again, at the slowest likely rate, bring a tenth of what was won?"""
    half = len(curve.levels) // 2
    if len(curve.levels) - half < 3:
        return False
    fit = theilslopes(curve.levels[half:], curve.steps[half:])
    ahead = -float(fit.high_slope) * float(curve.steps[-1] - curve.steps[0])
    return ahead > _AHEAD * max(curve.initial - curve.final, 0.0) > 0.0
