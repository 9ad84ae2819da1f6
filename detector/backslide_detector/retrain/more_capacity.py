"""Would a larger network help? What the last retrain of another size says."""

from collections.abc import Sequence
from typing import Final

from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.alike import differing, is_parameter
from backslide_detector.retrain.history import PARAMETER, PastRun, measured_alike
from backslide_detector.retrain.sentence import decimals, interval_words, rate
from backslide_detector.stats.unpaired import unpaired_difference

LARGER: Final = 1.5
"""Times as many weights from which a network counts as larger."""


def more_capacity(new: PastRun, history: Sequence[PastRun]) -> str | None:
    """What the size of the network did to the error, in a sentence.

    Compared is the newest retrain that differs in one parameter alone and has far more or far
    fewer weights. The test takes the examples for different ones, which is on the safe side.

    Args:
        new: the judged retrain.
        history: runs of the lineage, in any order.
    """
    for run in sorted(history, key=lambda run: run.started, reverse=True):
        changed = _only_size(new, run)
        if changed is not None and new.error is not None and run.error is not None:
            return _sentence(new, new.error, run, run.error, changed)
    return None


def _only_size(new: PastRun, run: PastRun) -> str | None:
    """The one parameter that makes two networks of different size; None otherwise."""
    sizes = sorted((new.weights or 0, run.weights or 0))
    if run.run_id == new.run_id or not sizes[0] or sizes[1] < LARGER * sizes[0]:
        return None
    if (
        not run.finished
        or not measured_alike(new, run)
        or new.error is None
        or new.error.measure != "error"
    ):
        return None
    found = differing(new, run)
    if found is None or len(found) != 1 or not new.error.examples:
        return None
    (said,) = found
    return said[1].removeprefix(PARAMETER) if is_parameter(said) else None


def _sentence(
    new: PastRun, error: ErrorRate, run: PastRun, other: ErrorRate, parameter: str
) -> str:
    both = ((new.weights or 0, error), (run.weights or 0, other))
    (few, smaller), (many, larger) = sorted(both, key=lambda each: each[0])
    examples = error.examples or 1
    found = unpaired_difference(
        round(larger.rate * examples), examples, round(smaller.rate * examples), examples
    )
    low, high = found.interval
    places = decimals(high - low)
    numbers = (
        f"with {many:,} weights in place of {few:,} ({parameter}, nothing else) the error was "
        f"{rate(larger.rate, places=places)} instead of {rate(smaller.rate, places=places)} "
        f"(95 % interval {interval_words(found.interval, places)} points)"
    )
    if high < 0.0:
        return f"A larger network helped: {numbers}."
    if low > 0.0:
        return f"A larger network made it worse: {numbers}."
    return f"That a larger network helps is not shown: {numbers}."
