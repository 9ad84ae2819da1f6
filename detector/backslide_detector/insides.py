"""What is inside the runs that a retrain is compared with, read when it is needed."""

from collections.abc import Mapping, Sequence
from typing import Final

from backslide.contract import Health, Tag
from backslide_detector.errors import RunGoneError
from backslide_detector.evidence import RunHead
from backslide_detector.probe import Inside
from backslide_detector.retrain.history import PastRun
from backslide_detector.store import Store

HEALTHY_RUNS: Final = 16
"""Of about a megabyte each; from eight on their spread says what is usual inside."""


def insides(
    store: Store,
    head: RunHead,
    baseline: RunHead,
    known: tuple[Mapping[str, RunHead], Sequence[PastRun]],
) -> tuple[tuple[Inside, ...], Inside | None]:
    """The newest healthy runs of the lineage beside the baseline, and the run's parent.

    Args:
        store: where they are read from.
        head: the judged run.
        baseline: the run it is compared with.
        known: runs by id, and what is remembered of those before the judged one.

    Returns:
        The healthy ones, oldest first; the parent only where it is not the baseline.
    """
    heads, history = known
    well = [
        heads[run.run_id]
        for run in sorted(history, key=lambda run: (run.started, run.run_id))
        if run.run_id in heads
        and run.run_id != baseline.run_id
        and run.lineage == head.lineage
        and run.accepted
        and run.health is Health.HEALTHY
    ]
    healthy = [_inside(store, each) for each in well[-HEALTHY_RUNS:]]
    named = head.tags.get(Tag.PARENT)
    parent = None
    if named is not None and named != baseline.run_id:
        found = [heads[named]] if named in heads else store.heads([named])
        parent = _inside(store, found[0]) if found else None
    return tuple(each for each in healthy if each is not None), parent


def _inside(store: Store, head: RunHead) -> Inside | None:
    """None for a run that was deleted meanwhile."""
    try:
        return store.inside(head)
    except RunGoneError:
        return None
