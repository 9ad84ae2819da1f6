"""What is told of a running job, and when.

No end of the run tells a bad moment from a fault, so time has to. What no training comes back
from is told at once; other faults when two looks have seen them, one of which may be at the run
as it was a while ago. That something is not learned is said after a fair chance: a plateau may
end, and does more often than not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from backslide_detector.finding import Clear, Found, Result

AT_ONCE: Final = frozenset({"nan-or-inf"})
FAIR_CHANCE: Final[Mapping[str, int]] = MappingProxyType(
    {"loss-not-decreasing": 500, "label-noise": 500, "overfitting": 0, "oscillating-loss": 0}
)
"""Checks without a symptom of their own but that learning goes slowly or badly so far, and the
steps that a run must have made before one of them is believed."""
GROWTH: Final = 1.25
"""So many times as long as when it was first seen a run must be, and show it still."""


def sights(results: Iterable[Result], step: int, before: Mapping[str, int]) -> dict[str, int]:
    """The checks that see something, and the step since which each look has shown it.

    Args:
        results: of this look.
        step: the newest of the run.
        before: the same of the look before.
    """
    seen = (result.check for result in results if isinstance(result.outcome, Found))
    return {check: before.get(check, step) for check in seen}


def told(result: Result, step: int, before: Mapping[str, int]) -> Result:
    """A check's result as a running job carries it: a remark until it is time to tell it.

    Args:
        result: of this look.
        step: the newest of the run.
        before: what looks before, or at the run as it was, have seen, and since which step.
    """
    match result.outcome:
        case Found(sentence=sentence) as found if not _ripe(result.check, found, step, before):
            return replace(result, outcome=Clear(f"{sentence} (To be seen again first.)"))
        case _:
            return result


def _ripe(check: str, found: Found, step: int, before: Mapping[str, int]) -> bool:
    if check in AT_ONCE:
        return True
    since = before.get(check)
    if since is None:
        return False
    if found.stop or check not in FAIR_CHANCE:
        return True
    return step >= max(GROWTH * since, FAIR_CHANCE[check])
