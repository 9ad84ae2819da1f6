"""Which run the alert channel and the creep detector hold a retrain against."""

from collections.abc import Sequence

from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.predecessor import Predecessor


def choose_reference(
    new: PastRun, candidates: Sequence[PastRun], fixed: str | None = None
) -> Predecessor:
    """The model that alarms are raised against.

    It moves when a person says so, and when the alert channel has shown that the lineage got
    better than it. A verdict does not move it: a run called equivalent may be worse by less
    than the margin, and one called improved may be better than a bad predecessor only; were
    they the measure of the next, their regression would never add up.

    Args:
        new: the run to be judged.
        candidates: runs that may serve, in any order.
        fixed: run id behind the alias `champion`, or of the tag `backslide.baseline`.
    """
    for run in candidates:
        if run.run_id == fixed:
            return Predecessor(run, "the release")
    usable = _usable(new, candidates)
    for run in reversed(usable):
        if run.decision == "accepted":
            return Predecessor(run, "the last run accepted by a person")
        if run.lead == "better":
            return Predecessor(run, "the last run with which the lineage got better")
        if run.lead == "first" and run.test_set == new.test_set is not None:
            return Predecessor(run, "the first run on this test set")
    if usable:
        return Predecessor(usable[0], "the first run of the lineage")
    return Predecessor(None, "no earlier run of the lineage can serve")


def choose_anchor(
    new: PastRun, candidates: Sequence[PastRun], fixed: str | None = None
) -> Predecessor:
    """The model that creep is measured from; it moves only when somebody says so.

    A creep of little steps passes every comparison with its neighbours, and would carry a
    reference along with it.
    """
    for run in candidates:
        if run.run_id == fixed:
            return Predecessor(run, "the release")
    usable = _usable(new, candidates)
    for run in reversed(usable):
        if run.decision == "accepted":
            return Predecessor(run, "the last run accepted by a person")
    if usable:
        return Predecessor(usable[0], "the first accepted run of the lineage")
    return Predecessor(None, "no earlier run of the lineage can serve")


def _usable(new: PastRun, candidates: Sequence[PastRun]) -> list[PastRun]:
    """Earlier accepted runs of the lineage that stated an error, oldest first."""
    earlier = [
        run
        for run in candidates
        if run.lineage == new.lineage
        and run.finished
        and run.accepted
        and run.error is not None
        and (run.started, run.run_id) < (new.started, new.run_id)
    ]
    return sorted(earlier, key=lambda run: (run.started, run.run_id))
