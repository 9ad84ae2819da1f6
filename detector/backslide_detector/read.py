"""Everything that is needed to judge one run: its evidence, its baseline, its history."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from backslide.contract import Health, Metric, Tag, Verdict
from backslide_detector.detector import Detector
from backslide_detector.engine import Case
from backslide_detector.errors import RunGoneError
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.insides import insides
from backslide_detector.ledger import Lease, Stage
from backslide_detector.past import from_head, from_memory, of_late, recalled
from backslide_detector.retrain.ablation import belongs_to
from backslide_detector.retrain.attribution import Mix
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.predecessor import choose_predecessor
from backslide_detector.retrain.reference import choose_anchor, choose_reference


@dataclass(frozen=True)
class Read:
    """One run with all that judging and acting need."""

    head: RunHead
    case: Case
    baseline: RunHead | None = None


def read(
    detector: Detector, lease: Lease, head: RunHead, before: RunEvidence | None = None
) -> Read:
    """Everything that is needed to judge one run.

    Args:
        detector: the store and the ledger.
        lease: of the run.
        head: the run as it stands now.
        before: evidence that is at hand already, perhaps of the baseline.
    """
    new = detector.store.read(head)
    if lease.stage is Stage.DEAD:
        new = _ended(new, head)
    case = Case(new, margin=detector.margin, mapping=detector.mapping)
    if lease.stage is Stage.LIVE:
        return Read(head, replace(case, live=True, seen=detector.ledger.seen(head.run_id)))

    heads, runs, extra = _candidates(detector, head)
    history = of_late(run for run in runs if run.finished and run.started < new.started)
    case = replace(
        case,
        history=history,
        fleet=detector.ledger.fleet(head.lineage),
        extra=extra,
        false_alarm_every=detector.false_alarm_every,
    )
    this = PastRun.with_test_set(new)
    release = _release(detector, head, heads, runs)
    chosen = _baseline(detector, this, heads, runs, release=release, before=before)
    if chosen is None:
        return Read(head, case)
    baseline, old = chosen
    case = replace(case, old=old, frozen=release is not None)
    if new.probe is not None and old.probe is not None:
        healthy, parent = insides(detector.store, head, baseline, (heads, history))
        case = replace(case, healthy=healthy, parent=parent)
    fixed = head.tags.get(Tag.BASELINE, release)
    reference = choose_reference(this, runs, fixed)
    if reference.run is not None:
        same = reference.run.run_id == baseline.run_id
        case = replace(
            case,
            reference=old if same else _still_there(detector, heads[reference.run.run_id]),
            reference_why=reference.why,
            anchor=choose_anchor(this, runs, fixed).run,
        )
    return Read(head, case, baseline)


def _baseline(
    detector: Detector,
    this: PastRun,
    heads: Mapping[str, RunHead],
    runs: list[PastRun],
    *,
    release: str | None,
    before: RunEvidence | None,
) -> tuple[RunHead, RunEvidence] | None:
    """The predecessor, read; one that was deleted meanwhile is struck off the candidates."""
    while True:
        choice = choose_predecessor(this, runs, pinned=release)
        if choice.run is None:
            return None
        head = heads[choice.run.run_id]
        at_hand = before is not None and before.run_id == head.run_id
        old = before if at_hand else _still_there(detector, head)
        if old is not None:
            return head, old
        runs.remove(choice.run)


def _release(
    detector: Detector, head: RunHead, heads: dict[str, RunHead], runs: list[PastRun]
) -> str | None:
    """The run that somebody chose as the measure: the pinned baseline, else the champion."""
    pinned = head.tags.get(Tag.BASELINE)
    if pinned is not None or head.lineage is None:
        return pinned
    champion = detector.store.champion(head.lineage, list(heads))
    if champion is None or champion == head.run_id:
        return None
    if champion not in heads:
        found = detector.store.heads([champion])
        heads |= {h.run_id: h for h in found}
        runs += [from_head(h, detector.mapping) for h in found]
    earlier = {run.run_id for run in runs if run.started < head.started}
    return champion if champion in earlier else None


def _still_there(detector: Detector, head: RunHead) -> RunEvidence | None:
    try:
        return detector.store.read(head)
    except RunGoneError:
        return None


def _candidates(
    detector: Detector, head: RunHead
) -> tuple[dict[str, RunHead], list[PastRun], tuple[tuple[Mix, PastRun], ...]]:
    """Other runs of the lineage and the pinned one, and those made to find this one's cause.

    What the ledger remembers counts more than what a listing shows.
    """
    heads: dict[str, RunHead] = {}
    remembered: dict[str, PastRun] = {}
    if head.lineage is not None:
        heads = {h.run_id: h for h in detector.store.lineage(head.lineage)}
        remembered = {
            run.run_id: run for run in from_memory(detector.ledger.past(head.lineage))
        }
    pinned = head.tags.get(Tag.BASELINE)
    if pinned is not None and pinned not in heads:
        heads |= {h.run_id: h for h in detector.store.heads([pinned])}
    heads.pop(head.run_id, None)
    extra = tuple(
        (part[1], from_head(h, detector.mapping))
        for h in heads.values()
        if (part := belongs_to(h.tags)) and part[0] == head.run_id and h.status == "FINISHED"
    )
    heads = {k: h for k, h in heads.items() if Tag.ATTRIBUTION not in h.tags or k == pinned}
    decided = detector.ledger.decisions(heads)
    listed = [
        replace(
            recalled(remembered[h.run_id], h)
            if h.run_id in remembered
            else from_head(h, detector.mapping),
            decision=_decision(h.tags.get(Tag.DECISION)) or _decision(decided.get(h.run_id)),
        )
        for h in heads.values()
    ]
    usable = [
        run
        for run in listed
        if run.run_id in remembered or run.decision or not _unjudgeable(run)
    ]
    return heads, usable, extra


def _decision(said: str | None) -> Literal["accepted", "rejected"] | None:
    """What a person decided; the tag on the run is the same word as in the ledger."""
    match said:
        case "accepted" | "rejected":
            return said
        case _:
            return None


def _unjudgeable(run: PastRun) -> bool:
    """True for a run whose analysis crashed: a retrain measured against it says nothing."""
    return run.verdict is Verdict.NONE and run.health is Health.UNKNOWN


def _ended(run: RunEvidence, head: RunHead) -> RunEvidence:
    """A job that died says nothing more, whatever MLflow's status says."""
    last = head.metrics.get(Metric.LAST_SEEN)
    when = "" if last is None else time.strftime(" at %Y-%m-%d %H:%M UTC", time.gmtime(last))
    problem = f"the job died without saying so: its last heartbeat came{when}"
    return replace(run, status="KILLED", ended=last, problems=(*run.problems, problem))


def bare_evidence(head: RunHead) -> RunEvidence:
    """A run of which nothing but the listing is known."""
    return RunEvidence(
        run_id=head.run_id,
        name=head.name,
        experiment_id=head.experiment_id,
        status=head.status,
        started=head.started,
        ended=head.ended,
        lineage=head.lineage,
        params=head.params,
        tags=head.tags,
    )
