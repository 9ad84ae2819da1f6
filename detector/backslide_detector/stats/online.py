"""A stream of tests without an end: how much evidence the next one needs.

The settings and the sequences of weights come from the library online-fdr, whose own procedures
take one test after the other; retrains overlap. So the levels are computed here, with the tests
that a new one could not know of left out, and are the library's where none is left out.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from online_fdr.core.utils.sequence import (
    DefaultLordGammaSequence,
    DefaultSaffronGammaSequence,
)

from backslide_detector.stats.comparison import require_share

ALPHA: Final = 0.05
CANDIDATE: Final = 0.25
"""Lambda of ADDIS: smaller p-values are no estimate of how many tests are of nothing."""
DISCARDED: Final = 0.5
"""Tau of ADDIS: larger p-values cost nothing."""

_POWER_LAW: Final = DefaultSaffronGammaSequence(gamma_exp=1.6, c=0.4374901658)
_LOGARITHMIC: Final = DefaultLordGammaSequence(c=0.07720838)


class Procedure(StrEnum):
    """How the evidence is spent.

    ADDIS has the most power where most retrains are harmless and p-values conservative. LORD++
    keeps its promise when many retrains are held against one frozen reference, where the
    p-values hang together. LOND is the most cautious.
    """

    ADDIS = "addis"
    LORD = "lord++"
    LOND = "lond"


@dataclass(frozen=True, slots=True)
class Spent:
    """One test of the stream, spent for good.

    Attributes:
        number: position in the stream, from 1.
        level: what the p-value was held against.
        rejected: whether it was a discovery.
        pvalue: what was tested.
    """

    number: int
    level: float
    rejected: bool
    pvalue: float


class OnlineTest:
    """Online control of the false discovery rate over a stream of one-sided p-values.

    ADDIS: Tian and Ramdas 2019 (NeurIPS), lambda 0.25, tau 0.5. LORD++: Ramdas et al. 2017
    (NeurIPS), initial wealth alpha / 10. LOND: Javanmard and Montanari 2015 (arXiv 1502.06197).

    Tests may overlap (Zrnic, Ramdas and Jordan 2021, Asynchronous Online Testing of Multiple
    Hypotheses, JMLR 22:33): a test is fair only if its level owes nothing to results that were
    open when it began, because those may hang together with its own. Such a result brings no
    reward, and counts as one that was neither discarded nor a candidate, which is the worst
    that it can be. What then holds is a bound on the marginal false discovery rate.
    """

    def __init__(
        self,
        procedure: Procedure = Procedure.ADDIS,
        *,
        alpha: float = ALPHA,
        state: str | None = None,
    ) -> None:
        """Begin a stream, or continue one.

        Args:
            procedure: how the evidence is spent.
            alpha: the false discovery rate that is kept.
            state: what `dump` wrote, to continue; its own `alpha` goes on to hold.

        Raises:
            ValueError: `alpha` outside (0, 1), or a state that `dump` of the same procedure did
                not write.
        """
        require_share(alpha=alpha)
        self._procedure = procedure
        self._alpha = alpha
        self._tested = 0
        self._counted = 0
        # The number of each discovery, and how many tests had counted when it was made.
        self._discoveries: list[tuple[int, int]] = []
        if state is not None:
            self._continue(state)

    def spend(self, pvalue: float, unfinished: Sequence[Spent] = ()) -> Spent:
        """Test the next p-value; this uses up evidence, whatever the outcome.

        Args:
            pvalue: of the test.
            unfinished: earlier tests of this stream that were open when this one began.

        Raises:
            ValueError: a p-value outside [0, 1].
        """
        if not 0 <= pvalue <= 1:
            raise ValueError(f"a p-value lies between 0 and 1, not at {pvalue}")
        level = self._level(unfinished)
        rejected = pvalue <= level
        self._tested += 1
        self._counted += self._counts(pvalue)
        if rejected:
            self._discoveries.append((self._tested, self._counted))
        return Spent(self._tested, level, rejected, float(pvalue))

    def spend_all(self, pvalues: Iterable[float]) -> list[Spent]:
        """Test several in their order: also the way to rebuild a stream from its p-values."""
        return [self.spend(pvalue) for pvalue in pvalues]

    def dump(self) -> str:
        """The state as JSON, for the ledger; it grows with the discoveries alone."""
        return json.dumps(
            {
                "procedure": self._procedure.value,
                "alpha": self._alpha,
                "tested": self._tested,
                "counted": self._counted,
                "discoveries": self._discoveries,
            }
        )

    def _continue(self, state: str) -> None:
        try:
            kept = json.loads(state)
            if kept["procedure"] != self._procedure.value:
                raise ValueError(f"this is a state of {kept['procedure']}")
            self._alpha = float(kept["alpha"])
            self._tested, self._counted = int(kept["tested"]), int(kept["counted"])
            self._discoveries = [(int(n), int(c)) for n, c in kept["discoveries"]]
        except (KeyError, TypeError) as error:
            raise ValueError("this is no state of an online test") from error

    def _level(self, unfinished: Sequence[Spent]) -> float:
        """The level of the next test, without what was open when it began."""
        open_numbers = {test.number for test in unfinished}
        # Those that cost nothing by their result cost one as long as it is open.
        raised = [test.number for test in unfinished if not self._counts(test.pvalue)]
        now = self._counted + len(raised)
        since = [
            now - counted - sum(raise_ < number for raise_ in raised)
            for number, counted in self._discoveries
            if number not in open_numbers
        ]
        alpha = self._alpha
        match self._procedure:
            case Procedure.ADDIS:
                share = DISCARDED - CANDIDATE
                level = share * _invested(_POWER_LAW, alpha, alpha / 2, now, since)
                return min(CANDIDATE, level)
            case Procedure.LORD:
                return _invested(_LOGARITHMIC, alpha, alpha / 10, now, since)
            case Procedure.LOND:
                return alpha * float(_LOGARITHMIC.calc_gamma(now + 1)) * (len(since) + 1)

    def _counts(self, pvalue: float) -> bool:
        """Whether a result makes the tests after it dearer."""
        return self._procedure is not Procedure.ADDIS or CANDIDATE < pvalue <= DISCARDED


def _invested(
    weights: DefaultSaffronGammaSequence | DefaultLordGammaSequence,
    alpha: float,
    wealth: float,
    now: int,
    since: Sequence[int],
) -> float:
    """The initial wealth and the reward of each discovery, by how many tests counted since."""
    level = wealth * float(weights.calc_gamma(now + 1))
    rewards = [alpha - wealth, *[alpha] * (len(since) - 1)]
    for reward, steps in zip(rewards, since, strict=False):
        level += reward * float(weights.calc_gamma(steps + 1))
    return level
