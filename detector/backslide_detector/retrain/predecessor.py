"""Which run a retrain is measured against."""

from collections.abc import Sequence
from dataclasses import dataclass

from backslide.contract import Health, Verdict
from backslide_detector.retrain.history import PastRun


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The chosen baseline, or None, and the reason in words."""

    run: PastRun | None
    why: str


def choose_predecessor(
    new: PastRun, candidates: Sequence[PastRun], *, pinned: str | None = None
) -> Predecessor:
    """Choose the baseline of a run.

    A pinned run wins, of whatever lineage. Otherwise it is the latest earlier finished run of
    the lineage that stated an error, did not regress, was not rejected and is not failing:
    measured against a regressed one, the next equally bad retrain would look equivalent.

    Args:
        new: the run to be judged.
        candidates: runs that may serve, in any order; `new` itself is ignored.
        pinned: run id of the tag `backslide.baseline`.
    """
    others = [run for run in candidates if run.run_id != new.run_id]
    if pinned is not None:
        for run in others:
            if run.run_id == pinned:
                return Predecessor(run, "pinned as the baseline")
        return Predecessor(None, f"the pinned baseline {pinned} was not found")
    if new.lineage is None:
        return Predecessor(None, "the run names no lineage")

    earlier = [
        run
        for run in others
        if run.lineage == new.lineage
        and run.finished
        and (run.started, run.run_id) < (new.started, new.run_id)
    ]
    if not earlier:
        return Predecessor(None, f"first run of the lineage {new.lineage!r}")
    passed_over: list[str] = []
    for run in sorted(earlier, key=lambda run: (run.started, run.run_id), reverse=True):
        if run.accepted and run.error is not None:
            why = "the last accepted run of the lineage"
            if passed_over:
                why += f"; passed over {len(passed_over)}: {', '.join(passed_over[:3])}"
            return Predecessor(run, why)
        passed_over.append(f"{run.name} ({_blemish(run)})")
    return Predecessor(
        None, f"no earlier run of the lineage can serve: {', '.join(passed_over[:3])}"
    )


def _blemish(run: PastRun) -> str:
    """Why an earlier run is no baseline."""
    if run.decision == "rejected":
        return "rejected"
    if run.error is None:
        return "states no error"
    if run.verdict is Verdict.REGRESSED:
        return "regressed"
    return "failing" if run.health is Health.FAILING else "not accepted"
