"""Is the run failing to learn? The gate that turns a symptom into a finding, or into a note.

Healthy networks are sparse, saturate, slow down and spike, so no symptom counts alone. How the
answer is come by is `weighing`'s to say.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from backslide_detector.checks.curve import Curve, running_median

FEW_STEPS: Final = 100
"""Losses of fewer steps cannot show that nothing is learned: warm-up may not be over."""
BAD_START: Final = 3.0
"""A first loss is far above a constant guess at so many times its cost."""
LOW: Final = 0.6
"""A loss below any of guessing classes: between two of them it costs ln 2."""
_POOR: Final = 0.75
_RELAPSED: Final = 0.7
_STUCK_HIGH: Final = _RELAPSED / 0.95


class State(StrEnum):
    """The gate's three answers."""

    FAILING = "failing"
    LEARNING = "learning"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Learning:
    """Whether a run learns, how well, and the numbers behind it.

    Attributes:
        sentence: the reason, with numbers.
        skill: share of what there was to learn that was learned, on training data where
            possible: 0 is a constant guess or the initial loss, 1 no error left; None when
            nothing says so.
        diverged: the loss is above where it began, or no longer finite.
        generalises: False when validation is at chance although training is not.
        initial_loss, final_loss: medians of the first steps and of the last tenth.
        guess_loss: cross-entropy in nats of always guessing the class shares.
        chance: error of always guessing the largest class.
        classes: number of classes.
        examples: size of the training data, when the run said so.
        first_loss: the very first training loss, when it was logged in the first steps.
        summed: the loss that was logged is the sum over each batch, not the mean.
        error_skill: `skill` from the error alone, training before validation.
        training_skill, validation_skill: `skill` on one kind of data alone; on training data
            from the loss where no error is known, for numbers R² on held-out data.
        validation_error: its newest value, else the error of the held-out predictions.
        follows: of numbers, whether held-out predictions go with their targets at all, beyond
            chance.
        explained: of numbers in the newest batches, share of the variance; None where numbers
            are predicted on held-out data.
        curve: the training loss summed up.
    """

    state: State
    sentence: str
    skill: float | None = None
    diverged: bool = False
    generalises: bool | None = None
    initial_loss: float | None = None
    final_loss: float | None = None
    guess_loss: float | None = None
    chance: float | None = None
    classes: int | None = None
    examples: int | None = None
    first_loss: float | None = None
    summed: bool = False
    error_skill: float | None = None
    training_skill: float | None = None
    validation_skill: float | None = None
    validation_error: float | None = None
    follows: bool | None = None
    explained: float | None = None
    curve: Curve | None = field(default=None, repr=False)

    @property
    def failing(self) -> bool:
        """The run is known to learn nothing."""
        return self.state is State.FAILING

    @property
    def bad_start(self) -> bool:
        """The first loss, before any step had an effect, was far above a constant guess."""
        if self.first_loss is None or not self.guess_loss or self.summed:
            return False
        # A class-weighted or untrained guess costs ln(classes), also where counts are uneven.
        return self.first_loss > BAD_START * max(self.guess_loss, math.log(self.classes or 2))

    @property
    def started_well(self) -> bool:
        """There is nothing but a loss, lower at once than classes cost by guessing.

        It may have begun with good weights, which leave little to lower.
        """
        low = self.initial_loss is not None and self.initial_loss < LOW
        return low and self.guess_loss is None and self.validation_skill is None

    @property
    def measured(self) -> bool:
        """Is there anything but the loss's own course to say how much there is to learn?"""
        known = (self.guess_loss, self.validation_skill, self.explained)
        return any(each is not None for each in known)

    @property
    def relapsed(self) -> bool:
        """The loss had come well below a constant guess and is back at it, or above.

        For longer than a window: batches without an example of a rare class cost little.
        """
        if self.curve is None or not self.guess_loss or self.final_loss is None:
            return False
        lowest = float(running_median(self.curve.levels)[1:-1].min(initial=np.inf))
        return lowest < _RELAPSED * self.guess_loss < _STUCK_HIGH * self.final_loss

    @property
    def poor(self) -> bool:
        """The run is failing, or has left more than a quarter of what there was to learn."""
        return self.failing or (self.skill is not None and self.skill < _POOR)

    def leaves(self, share: float) -> bool:
        """Such a share of what there was to learn is left, in training or on held-out data.

        Nothing is said where neither is known.
        """
        known = (self.skill, self.validation_skill)
        return self.failing or any(s is not None and s < 1.0 - share for s in known)

    @property
    def lags(self) -> bool:
        """The run learns poorly, or leaves a quarter to be learned on held-out data."""
        return self.leaves(1.0 - _POOR)
