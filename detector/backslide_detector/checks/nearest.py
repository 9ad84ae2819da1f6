"""The network beside what an example's nearest neighbours in the training data tell."""

from dataclasses import dataclass
from typing import Final

from backslide_detector.checks.learning import Learning
from backslide_detector.checks.stated import regression_fit
from backslide_detector.evidence import RunEvidence

_POOR: Final = 0.6
_HALF: Final = 0.5
_LUCK: Final = 1.5  # three standard deviations of a share, times the root of its examples


@dataclass(frozen=True, slots=True)
class Beside:
    """What is learned, and what can be.

    Attributes:
        skill: of the network, the better one of training and held-out data: 0 is a constant
            guess, 1 no error.
        possible: the same of the neighbours' vote, each example told by others; a network that
            is large enough gets at least there.
        luck: how far `possible` may be off.
        sentence: both, in words.
    """

    skill: float
    possible: float
    luck: float
    sentence: str

    def outdone(self, gain: float = 0.0) -> bool:
        """Does the network leave two fifths or more, and is it behind?

        Args:
            gain: in skill, what is likely to be learned still.
        """
        return self.skill < _POOR and self.behind(gain)

    def behind(self, gain: float = 0.0) -> bool:
        """Do the neighbours leave at most half of what the network leaves?"""
        known = self.possible - self.skill > self.luck
        return known and 1.0 - self.possible <= _HALF * (1.0 - self.skill - gain)


def beside_neighbours(run: RunEvidence, learning: Learning) -> Beside | None:
    """Both on one scale; None where either is not known."""
    near = next((run.data[n].nearest for n in ("train", "training") if n in run.data), None)
    held, fit, chance = learning.validation_skill, regression_fit(run), learning.chance
    if near is None or held is None:
        return None
    luck = _LUCK / near.examples**0.5
    if near.r_squared is not None and fit is not None:
        # What is right but for its scale is answered on another one.
        skill, possible = max(fit.r_squared, fit.related), near.r_squared
        text = f"explains {skill:.0%} of the variance, the five nearest training examples"
        return Beside(skill, possible, luck, f"the network {text} {possible:.0%}")
    if near.error is None or fit is not None or not chance:
        return None
    # A loss that fell far was weighted otherwise than errors are counted.
    skill = max(held, learning.training_skill or 0.0, learning.skill or 0.0)
    possible = 1.0 - near.error / chance
    text = f"errs on {learning.validation_error:.1%}, the five nearest training examples on"
    return Beside(skill, possible, luck / chance, f"the network {text} {near.error:.1%}")
