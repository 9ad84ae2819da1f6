"""Weighs what a run has learned against what needs no learning.

That is always guessing the class shares (its loss is the entropy of the class counts, its error
one minus the largest share), or the loss that the run began with. Windows of many steps are
compared, never single batches.
"""

import math
from dataclasses import dataclass
from typing import Final

from backslide_detector.checks.batches import Spread
from backslide_detector.checks.curve import Curve
from backslide_detector.checks.learning import FEW_STEPS, LOW, Learning, State
from backslide_detector.checks.stated import Fit
from backslide_detector.wording import figure

_STUCK_LOSS: Final = 0.03
_STUCK_BLINDLY: Final = 0.01  # when nothing but the loss's own start is known
_STUCK_ERROR: Final = 0.10
_STUCK_SAMPLE: Final = 0.20  # the same of a few hundred answers
_LEARNED: Final = 0.30
_DIVERGED: Final = 1.3
_DIVERGED_BLINDLY: Final = 10.0  # adversarial and critic losses rise several times over
_BLOWN_UP: Final = 2.0
_BLOWN_UP_WINDOWS: Final = 3
_CLEARLY: Final = 3.0  # standard errors
_MEDIAN: Final = 1.2533  # standard error of a median over that of a mean
_UNBALANCED: Final = 0.3  # chance error below which error says little about learning


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run, to be weighed."""

    shape: Curve | None
    guess: float | None
    chance: float | None
    training_error: float | None
    sampled_error: float | None
    validation_error: float | None
    classes: int | None
    examples: int | None
    first_loss: float | None
    summed: bool
    averaged: bool
    """The loss is known to be a mean over the batch."""
    regression: Fit | None
    gaining: bool
    """The validation loss fell all the while."""
    squares: bool | None
    """The loss is a mean of squares; None where that is not known."""
    spread: Spread | None
    """Of targets of several numbers; of single ones, where none are predicted held out."""
    places: float | None = None
    """How far the loss is below a constant guess where there is a class at each place."""

    @property
    def blind(self) -> bool:
        """Is there nothing but the loss to go by?"""
        return not self._checked() and self._explained() is None

    def weigh(self) -> Learning:
        """One clear sign of learning is enough; failing takes all signs together."""
        from_errors = self._trained()
        from_loss = self.loss_skill()
        on_validation = (
            self._skill(self.validation_error)
            if self.regression is None
            else self._fitted(self.regression)
        )
        heard = [s for s in (from_errors, from_loss, on_validation) if s is not None]
        if not heard:
            nothing = "Neither a loss nor an error says what was learned."
            return self.answer(State.UNKNOWN, self.told() or nothing)
        if max(heard) >= _LEARNED:
            return self.answer(State.LEARNING, self.told(), skill=self._best(heard))
        if self.diverged():
            return self.answer(State.FAILING, self.told(), skill=0.0)
        sampled = self.training_error is None
        stuck = [
            skill < limit
            for skill, limit in (
                (from_errors, _STUCK_SAMPLE if sampled else _STUCK_ERROR),
                (on_validation, _STUCK_ERROR),
                (from_loss, _STUCK_BLINDLY if self._unscaled() else _STUCK_LOSS),
            )
            if skill is not None
        ]
        failing = all(stuck) and self._long_enough() and not self._perhaps_done()
        # Where noise drowns the answer, little can be learned, and it shows only on the mean.
        failing &= not (self.gaining and self.guess is None and not self.one_answer)
        failing &= not self._follows()
        state = State.FAILING if failing else State.UNKNOWN
        return self.answer(state, self.told(), skill=max(0.0, *heard))

    def _best(self, heard: list[float]) -> float:
        """Training error speaks for skill where there is one; the loss only in its place."""
        for error in (self.training_error, self.validation_error, self.sampled_error):
            skill = self._skill(error)
            if skill is not None and skill >= _LEARNED:
                return skill
        return max(heard)

    def _skill(self, error: float | None) -> float | None:
        """How far the error is below chance, as a share of chance; None if that says little."""
        if error is None or self.chance is None or self.chance < _UNBALANCED:
            return None
        return 1.0 - error / self.chance

    def _trained(self) -> float | None:
        """The skill on training data from errors: as logged, else in sampled batches."""
        logged = self._skill(self.training_error)
        return self._skill(self.sampled_error) if logged is None else logged

    def loss_skill(self) -> float | None:
        """How far the loss is below the constant guess, or below its start."""
        if self.shape is None or self.shape.n < 2 * FEW_STEPS / 5 or self.places is not None:
            return self.places
        start, end = self.shape.initial, self.shape.final
        if self.guess and start > self.guess / 1.5:
            # A cross-entropy in nats, unless it starts far above; then a blown-up start and a
            # sum over the batch look alike until the loss is below the guess.
            if start < self.guess * 1.5 or end < 0.9 * self.guess or self.averaged:
                return 1.0 - end / self.guess
            if self._has_errors():
                return None  # without, its own start is all that it can be held against
        if start <= 0.0 or self.shape.levels.min() < 0.0:
            # No cross-entropy says nothing of classes. A likelihood has no natural zero: a fall
            # well beyond the noise is learning, how much of it nobody knows.
            known = not self.guess and self._fell()
            return (
                min(1.0, max(_LEARNED, (start - end) / max(abs(start), 1e-12)))
                if known
                else None
            )
        # Squared errors fall to the targets' variance by learning no more than their mean.
        explained, most = self._explained(), 1.0
        if explained is not None and (explained < _STUCK_ERROR or self._single()):
            most = explained
        elif self.regression is not None and self._fitted(self.regression) < _STUCK_ERROR:
            most = 1.0 - end / self.regression.variance
        return min(1.0 - end / start, most)

    def _fell(self) -> bool:
        """Did a loss come down beyond what the noise of the batches explains?"""
        shape = self.shape
        if self.gaining or shape is None:
            return self.gaining
        recent = max(5.0, shape.n / 10)
        error = _MEDIAN * shape.noise * math.sqrt(1 / 5 + 1 / recent)
        return shape.initial - shape.final > _CLEARLY * error

    def _fitted(self, fit: Fit) -> float:
        """Share of the targets' variance that predictions explain.

        Those of a Poisson likelihood are logarithms, others lack a scale: where such a loss
        fell, it is enough that predictions go with the targets.
        """
        if self.squares is False and fit.follows and self._fell():
            return max(fit.r_squared, fit.related)
        return fit.r_squared

    def _explained(self) -> float | None:
        """The same of several numbers, in the newest batches."""
        return None if self.spread is None else self.spread.explained

    def _single(self) -> bool:
        """Is that of one number an example?"""
        return self.spread is not None and self.spread.follows is not None

    def _follows(self) -> bool:
        """Do answers of one number go with the targets, however little of them they explain?"""
        explained = self._explained()
        if explained is None or self.spread is None:
            return False
        return explained >= 0.0 and bool(self.spread.follows)

    @property
    def one_answer(self) -> bool:
        """Do all examples get the same numbers, though their targets differ?"""
        explained = self._explained()
        return explained is not None and self.spread is not None and self.spread.constant

    def _unscaled(self) -> bool:
        """Is there nothing that the loss could be held against but its own start?"""
        return not self.guess and self._explained() is None

    def _is_cross_entropy(self) -> bool:
        """Does the loss begin where a cross-entropy in nats of these classes begins?"""
        if self.shape is None or not self.guess:
            return False
        return self.guess / 1.5 <= self.shape.initial <= self.guess * 1.5

    def diverged(self) -> bool:
        """Is the loss clearly above its start?"""
        shape = self.shape
        if shape is None or shape.n < FEW_STEPS / 5 or shape.initial <= 0.0:
            return False
        limit = _DIVERGED if self._checked() else _DIVERGED_BLINDLY
        return shape.final > limit * shape.initial + 3.0 * shape.noise / math.sqrt(5)

    def blown_up(self) -> bool:
        """Is the loss so far above a guess that what was learned before is lost?

        Errors come once an epoch, and may still tell of better days.
        """
        shape = self.shape
        if shape is None or self.guess is None or not self._is_cross_entropy():
            return False
        recent = shape.levels[-max(_BLOWN_UP_WINDOWS, len(shape.levels) // 10) :]
        limit = max(_BLOWN_UP * self.guess, _DIVERGED * shape.initial)
        return shape.n >= FEW_STEPS / 5 and bool(recent.min() > limit)

    def _checked(self) -> bool:
        """Is there more than the loss to go by?"""
        errors = (self.training_error, self.validation_error, self.regression)
        return self.guess is not None or any(error is not None for error in errors)

    def _has_errors(self) -> bool:
        """Is anything known of right and wrong answers?"""
        errors = (self.training_error, self.validation_error, self.sampled_error)
        return any(error is not None for error in errors)

    def _long_enough(self) -> bool:
        """Are there enough steps to speak of failure? Errors alone come once an epoch."""
        return self.shape is None or self.shape.n >= FEW_STEPS

    def _perhaps_done(self) -> bool:
        """Is there nothing but a loss, lower from the start than classes cost by guessing?

        It may have begun with good weights, which leave little to lower.
        """
        return self.blind and self.shape is not None and self.shape.initial < LOW

    def told(self) -> str:
        """The evidence in a sentence."""
        parts = []
        if self.shape is not None:
            summed = " (a sum over the batch)" if self.summed else ""
            start, end = figure(self.shape.initial), figure(self.shape.final)
            parts.append(f"training loss{summed} {start} → {end}")
        if self._is_cross_entropy():
            parts.append(f"always guessing the class shares gives {self.guess:.3g}")
        elif self.spread is not None and self.spread.variance is not None:
            parts.append(f"always answering the mean gives {self.spread.variance:.3g}")
        for name, error in (
            ("training", self.training_error),
            ("validation", self.validation_error),
        ):
            if error is not None:
                parts.append(f"{name} error lately {error:.1%}")
        if self.chance is not None and len(parts) > bool(self.shape):
            parts.append(f"always guessing the largest class errs on {self.chance:.1%}")
        text = ", ".join(parts)
        return f"{text[:1].upper()}{text[1:]}." if parts else ""

    def answer(
        self, state: State, sentence: str, *, skill: float | None = None, lost: bool = False
    ) -> Learning:
        """The result with all numbers attached."""
        validation = self._skill(self.validation_error)
        learned = self._trained()
        learned = self.loss_skill() if learned is None else learned
        learned = 0.0 if lost else learned
        generalises = None
        fit = self.regression
        if learned is not None and learned >= _LEARNED:
            if fit is not None:
                generalises = fit.follows or self._fitted(fit) >= _STUCK_ERROR
            elif validation is not None:
                generalises = validation >= _STUCK_ERROR
        return Learning(
            state,
            sentence,
            skill=skill,
            diverged=lost or (state is State.FAILING and (self.diverged() or self.blown_up())),
            generalises=generalises,
            initial_loss=self.shape.initial if self.shape else None,
            final_loss=self.shape.final if self.shape else None,
            guess_loss=self.guess,
            chance=self.chance,
            classes=self.classes,
            examples=self.examples,
            first_loss=self.first_loss,
            summed=self.summed,
            error_skill=self._skill(self.training_error) or validation,
            training_skill=learned,
            validation_skill=self._fitted(fit) if fit else validation,
            follows=fit.follows if fit else None,
            explained=self._explained() if fit is None else None,
            validation_error=self.validation_error,
            curve=self.shape,
        )
