"""A stream of tests without an end: how much evidence the next one needs.

The procedures come from the library online-fdr; this module fixes their settings and gives them
one interface that a ledger can store.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from online_fdr.p_values import Addis, Lond, LordPlusPlus

from backslide_detector.stats.comparison import require_share

ALPHA: Final = 0.05


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
    """

    number: int
    level: float
    rejected: bool


class OnlineTest:
    """Online control of the false discovery rate over a stream of one-sided p-values.

    ADDIS: Tian and Ramdas 2019 (NeurIPS), lambda 0.25, tau 0.5. LORD++: Ramdas et al. 2017
    (NeurIPS), initial wealth alpha / 10. LOND: Javanmard and Montanari 2015 (arXiv 1502.06197).
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
        self._method = _new_method(procedure, alpha)
        if state is not None:
            try:
                self._method = type(self._method).from_snapshot(json.loads(state))
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError("this is no state of an online test") from error

    def spend(self, pvalue: float) -> Spent:
        """Test the next p-value; this uses up evidence, whatever the outcome.

        Raises:
            ValueError: a p-value outside [0, 1].
        """
        if not 0 <= pvalue <= 1:
            raise ValueError(f"a p-value lies between 0 and 1, not at {pvalue}")
        rejected = bool(self._method.test_one(float(pvalue)))
        return Spent(
            number=int(self._method.num_hypotheses),
            level=float(self._method.last_test_level),
            rejected=rejected,
        )

    def spend_all(self, pvalues: Iterable[float]) -> list[Spent]:
        """Test several in their order: also the way to rebuild a stream from its p-values."""
        return [self.spend(pvalue) for pvalue in pvalues]

    def dump(self) -> str:
        """The state as JSON, for the ledger."""
        return json.dumps(self._method.snapshot())


def _new_method(procedure: Procedure, alpha: float) -> Any:  # noqa: ANN401 -- an untyped library
    """A fresh procedure with the settings of its paper."""
    match procedure:
        case Procedure.ADDIS:
            return Addis(alpha=alpha, wealth=alpha / 2, lambda_=0.25, tau=0.5)
        case Procedure.LORD:
            return LordPlusPlus(alpha=alpha, wealth=alpha / 10)
        case Procedure.LOND:
            return Lond(alpha=alpha)
