"""Why two runs cannot be compared inside: shared by the checks that do it."""

from backslide_detector.finding import Skipped
from backslide_detector.inside.pair import Pair
from backslide_detector.inside.spread import ENOUGH


def incomparable(pair: Pair) -> Skipped | None:
    """The reason as an outcome; None when the two probes compare."""
    reason = pair.incomparable
    return None if reason is None else Skipped(reason)


def too_few(pair: Pair) -> Skipped:
    """For what only the spread between healthy runs can tell."""
    known = len(pair.references)
    return Skipped(
        f"{known} healthy run{'' if known == 1 else 's'} of this network on these probe "
        f"examples; from {ENOUGH} on their spread says what is usual. The report shows the "
        "numbers"
    )
