"""One pass: find, read, judge, record, act.

Killed between any two of these and run again, a pass ends in the same state: judging is pure,
the ledger keeps a judgement and its alerts in one transaction, writing back is idempotent and
marks the run last, and only then is the work done in the ledger.
"""

import json
import logging
import math
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from backslide.contract import Tag
from backslide_detector.act import alerts, writeback
from backslide_detector.act.addresses import links
from backslide_detector.act.view import STATE
from backslide_detector.detector import Detector
from backslide_detector.engine import Case, Judged, crashed, judge
from backslide_detector.errors import (
    LeaseLostError,
    RunGoneError,
    TrackerAwayError,
    TrackerRefusedError,
)
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.judgement import Judgement
from backslide_detector.ledger import Alert, Lease, Record, Stage
from backslide_detector.lineage import Standing
from backslide_detector.past import to_memory
from backslide_detector.read import Read, bare_evidence, read
from backslide_detector.report.document import document
from backslide_detector.report.links import Links
from backslide_detector.retrain.ablation import belongs_to
from backslide_detector.retrain.noise import repeats_of
from backslide_detector.retrain.stream import placed, remembered
from backslide_detector.stats.dispersion import NO_REPEATS
from backslide_detector.store import Writes

log = logging.getLogger(__name__)

BATCH: Final = 32
READERS: Final = 4
"""Lineages in hand at a time: reading waits for the tracker, not for the processor."""
ATTEMPTS: Final = 4
"""A run that the tracker could not hand out so often is recorded as unreadable."""
RETRY_SECONDS: Final = 15.0
DEAD_RUN_SECONDS: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One judged run."""

    judgement: Judgement
    head: RunHead
    stage: Stage
    url: str | None


def scan(detector: Detector, seconds: float = math.inf) -> Iterator[Outcome]:
    """Judges all that is due, running jobs first, and yields each run when it is done.

    What changes meanwhile is for the next pass: a running job always has news.

    Args:
        detector: what to work with.
        seconds: after so many, what is left is for the next pass too, so that a backlog keeps
            no running job waiting.

    Raises:
        TrackerAwayError: the tracker does not answer; what is left stays due.
    """
    with ThreadPoolExecutor(READERS, "lineage") as threads:
        end = time.monotonic() + seconds
        find(detector)
        while not detector.stop.is_set() and (leases := detector.ledger.claim(BATCH)):
            work = [(detector, group) for group in _by_lineage(detector, leases)]
            for outcomes in threads.map(lambda args: _lineage(*args), work):
                yield from outcomes
            if time.monotonic() > end:
                return


def find(detector: Detector) -> None:
    """Notes in the ledger which runs have news."""
    now = time.time()
    since = min(detector.ledger.last_active() or now, now)
    heads = {head.run_id: head for head in detector.store.changed(since)}
    dead = [run for run in detector.ledger.dead_runs(DEAD_RUN_SECONDS) if run not in heads]
    for start in range(0, len(dead), 100):
        heads |= {h.run_id: h for h in detector.store.heads(dead[start : start + 100])}
    detector.ledger.enqueue(heads.values())


def _by_lineage(detector: Detector, leases: list[Lease]) -> list[list[tuple[Lease, RunHead]]]:
    """The claimed runs as they stand now, the runs of a lineage together and in order."""
    try:
        heads = {h.run_id: h for h in detector.store.heads([x.run_id for x in leases])}
    except TrackerAwayError:
        for lease in leases:
            detector.ledger.postpone(lease, RETRY_SECONDS, blameless=True)
        raise
    found = []
    for lease in leases:
        if lease.run_id in heads:
            found.append((lease, heads[lease.run_id]))
        else:
            log.info("run %s was deleted", lease.run_id)
            detector.ledger.forget(lease)

    def lineage(pair: tuple[Lease, RunHead]) -> str:
        head = pair[1]
        return f"lineage {head.lineage}" if head.lineage is not None else f"run {head.run_id}"

    in_order = sorted(found, key=lambda pair: (pair[1].started, pair[1].run_id))
    return [list(group) for _, group in groupby(sorted(in_order, key=lineage), lineage)]


def _lineage(detector: Detector, group: Iterable[tuple[Lease, RunHead]]) -> list[Outcome]:
    """Judges the runs of one lineage, each after its predecessor."""
    outcomes = []
    before: RunEvidence | None = None
    for lease, head in group:
        try:
            if detector.stop.is_set():
                detector.ledger.postpone(lease, 0.0, blameless=True)
                continue
            found, judged = _answer(detector, lease, head, before)
            before = found.case.new
            judged, left = _recorded(detector, lease, found, judged)
            act(detector, lease, head, left)
            if (part := belongs_to(head.tags)) and lease.stage is Stage.OVER:
                detector.ledger.again(part[0])
            pause = detector.live_pause if lease.stage is Stage.LIVE else 0.0
            detector.ledger.done(lease, _revision(lease, head), pause)
        except LeaseLostError as error:
            log.info("%s", error)
        except RunGoneError:
            log.info("run %s was deleted meanwhile", head.run_id)
            detector.ledger.forget(lease)
        except (TrackerAwayError, TrackerRefusedError) as error:
            wait = min(RETRY_SECONDS * 2.0**lease.attempts, 3_600.0)
            log.warning("run %s: %s; next try in %.0f s", head.run_id, error, wait)
            detector.ledger.postpone(lease, wait)
        else:
            url = links(detector.uri, head).run
            outcomes.append(Outcome(judged.judgement, head, lease.stage, url))
    return outcomes


def _answer(
    detector: Detector, lease: Lease, head: RunHead, before: RunEvidence | None
) -> tuple[Read, Judged]:
    """Reads and judges one run; a crash is an answer too."""
    try:
        found = read(detector, lease, head, before)
        return found, detector.executor.submit(judge, found.case).result()
    except RunGoneError:
        raise
    except TrackerAwayError as error:
        if lease.attempts < ATTEMPTS:
            raise
        return _crashed(head, error)
    except Exception as error:  # noqa: BLE001  # a worker's death, or a bug: not the others' fault
        return _crashed(head, error)


def _crashed(head: RunHead, error: BaseException) -> tuple[Read, Judged]:
    found = Read(head, Case(bare_evidence(head)))
    return found, crashed(found.case.new, error, traceback.format_exc())


def _recorded(
    detector: Detector, lease: Lease, found: Read, judged: Judged
) -> tuple[Judged, Writes | None]:
    """Records the answer and composes what is to be written of it.

    What is written says what the evidence bought in the stream, so it comes after.
    """
    judged = record(detector, lease, found, judged)
    if judged.traceback is None:
        try:
            return judged, compose(detector, lease, found, judged.judgement)
        except Exception as error:  # noqa: BLE001  # a report that cannot be drawn
            found, judged = _crashed(found.head, error)
            judged = record(detector, lease, found, judged)
    live = lease.stage is Stage.LIVE
    return judged, writeback.bare_writes(judged.judgement, found.head, _now(), live=live)


def record(detector: Detector, lease: Lease, found: Read, judged: Judged) -> Judged:
    """Keeps the judgement, the evidence it spends and the alerts it causes, all or nothing.

    Returns:
        The judgement with its place among all retrains.
    """
    if judged.traceback is not None:
        log.error("the analysis of run %s crashed:\n%s", lease.run_id, judged.traceback)
    said = detector.ledger.outbox.told(lease.run_id)
    # It was made to see luck; bad luck is no news.
    mute = frozenset({alerts.REGRESSED} if Tag.REPEAT in found.head.tags else ())
    where = _links(detector, found)

    def told(standing: Standing | None) -> tuple[Record, Sequence[Alert]]:
        nonlocal judged
        judged = _stood(judged, standing)
        due = alerts.alerts(judged.judgement, where, said, detector.channels, mute)
        return _record(lease, found, judged), due

    # A job that died may come back; one that was ended has shown all that it will, whoever
    # ended it: if a killed job spent nothing, killing what looks bad would cost nothing.
    if lease.stage is Stage.OVER and judged.stake is not None and _is_retrain(found.head):
        detector.ledger.spend(lease, found.head.lineage, judged.stake, told)
    else:
        detector.ledger.record(lease, *told(None))
    return judged


def _is_retrain(head: RunHead) -> bool:
    """False for runs made to find a cause or to measure luck."""
    return Tag.ATTRIBUTION not in head.tags and Tag.REPEAT not in head.tags


def _stood(judged: Judged, standing: Standing | None) -> Judged:
    retrain = judged.judgement.retrain
    if standing is None:
        return judged
    stream = retrain.stream
    retrain = placed(retrain, standing, stream.anchor, stream.creep, stream.course)
    return replace(judged, judgement=replace(judged.judgement, retrain=retrain))


def _record(lease: Lease, found: Read, judged: Judged) -> Record:
    judgement = judged.judgement
    past, repeats = None, NO_REPEATS
    if lease.stage is not Stage.LIVE and judged.traceback is None:
        case = found.case
        run = remembered(case.new, case.old, judgement, judged.stake)
        past, repeats = to_memory(run), repeats_of((*case.history, run))
    return Record(
        revision=_revision(lease, found.head),
        lineage=found.head.lineage,
        verdict=judgement.retrain.verdict.value,
        health=judgement.health.value,
        summary=judgement.summary,
        document=json.dumps(document(judgement) | {"seen": dict(judged.seen)}),
        past=past,
        traceback=judged.traceback,
        repeats=repeats,
    )


def compose(
    detector: Detector, lease: Lease, found: Read, judgement: Judgement
) -> Writes | None:
    """What is left to write onto the run."""
    head, case = found.head, found.case
    if lease.stage is Stage.LIVE:
        where = _links(detector, found)
        return writeback.live_writes(judgement, head, _now(), new=case.new, links=where)
    if not head.metrics and head.lineage is None:
        return writeback.bare_writes(judgement, head, _now())
    where = _links(detector, found)
    return writeback.writes(
        judgement, head, _now(), new=case.new, old=case.old, links=where, pair=case.pair
    )


def act(detector: Detector, lease: Lease, head: RunHead, left: Writes | None) -> None:
    """Writes it, if the run is still ours to write to."""
    if left is None:
        return
    detector.ledger.check(lease)
    detector.store.write(head.run_id, left)
    if left.artifacts:
        detector.store.publish_view(head.experiment_id, STATE)


def _links(detector: Detector, found: Read) -> Links:
    baseline = found.baseline
    place = None if baseline is None else (baseline.experiment_id, baseline.run_id)
    return links(detector.uri, found.head, place)


def _revision(lease: Lease, head: RunHead) -> str:
    return f"{lease.stage.value}:{head.revision}"


def _now() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1_000)
