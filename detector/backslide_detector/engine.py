"""Judges evidence. Pure, so it can run in any process: see `executors`."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from backslide.contract import Cause, Health, Metric, Verdict
from backslide_detector.checks.reading import Limit, read_errors
from backslide_detector.checks.registry import backed, run_checks, said_once
from backslide_detector.earlier import until
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Clear, Crashed, Result, Severity
from backslide_detector.inside.pair import Pair
from backslide_detector.judgement import Judgement, RetrainVerdict
from backslide_detector.lineage import Stake
from backslide_detector.patience import GROWTH, sights, told
from backslide_detector.probe import Inside
from backslide_detector.report import words
from backslide_detector.retrain.ablation import Settled, settle, spread_of_losses
from backslide_detector.retrain.association import look_back
from backslide_detector.retrain.attribution import Mix
from backslide_detector.retrain.course import Noise, course, creeping
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.more_capacity import more_capacity
from backslide_detector.retrain.more_data import LONGER, UNKNOWN, more_data, said
from backslide_detector.retrain.noise import prior_sd, repeats_of
from backslide_detector.retrain.stream import against, placed, stake
from backslide_detector.retrain.verdict import judge_retrain
from backslide_detector.stats.dispersion import (
    NO_REPEATS,
    Dispersion,
    expected_phi,
    lineage_phi,
)
from backslide_detector.wording import count

_ILL = (Health.WARNING, Health.FAILING)


@dataclass(frozen=True)
class Case:
    """One run with all that is needed to judge it.

    Attributes:
        old: its baseline.
        history: earlier runs of the lineage.
        fleet: what repeats in other lineages have shown of the noise between retrains.
        reference: the run that the alert channel holds it against.
        reference_why: what makes that run the reference.
        anchor: the run that creep is measured from.
        frozen: the baseline is one that many retrains are held against.
        extra: runs that mix its recipe with the baseline's, by what they take from it.
        healthy: what is inside earlier runs of the lineage that did well, oldest first.
        parent: what is inside the run whose weights it started from, where that is not its
            baseline.
        live: the run goes on, so the question of the retrain must wait.
        seen: of a live run, the checks that saw something when it was last judged, each with
            the step since which every look did.
        margin, mapping, false_alarm_every: as in the settings.
    """

    new: RunEvidence
    old: RunEvidence | None = None
    history: tuple[PastRun, ...] = ()
    fleet: Dispersion = NO_REPEATS
    reference: RunEvidence | None = None
    reference_why: str = ""
    anchor: PastRun | None = None
    frozen: bool = False
    extra: tuple[tuple[Mix, PastRun], ...] = ()
    healthy: tuple[Inside, ...] = ()
    parent: Inside | None = None
    live: bool = False
    seen: Mapping[str, int] = field(default_factory=dict)
    margin: float | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    false_alarm_every: float = 1_000.0

    @property
    def pair(self) -> Pair | None:
        """The run beside its baseline, for what changed inside; None without one."""
        if self.old is None:
            return None
        return Pair(self.new.inside, self.old.inside, self.healthy, self.parent)


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgement, and what the ledger keeps beside it.

    Attributes:
        traceback: where the analysis crashed, if it did.
        stake: what the run puts into the stream.
        seen: of a live run, the checks that saw something, whether it was said or not, each
            with the step since which every look did.
    """

    judgement: Judgement
    traceback: str | None = None
    stake: Stake | None = None
    seen: Mapping[str, int] = field(default_factory=dict)


def judge(case: Case) -> Judged:
    """The judgement of one run; a crash inside becomes one, with a reason."""
    try:
        return _judged(case)
    except Exception as error:  # noqa: BLE001  # one run's crash must not cost the others
        return crashed(case.new, error, traceback.format_exc())


def crashed(run: RunEvidence, error: BaseException, trace: str) -> Judged:
    """What is said about a run whose analysis failed."""
    reason = f"{type(error).__name__}: {error}".strip()[:500]
    sentence = f"The analysis crashed, so nothing can be said about this run ({reason})."
    verdict = RetrainVerdict(Verdict.NONE, sentence, advice="Please report the traceback.")
    judgement = Judgement(
        run_id=run.run_id,
        run_name=run.name,
        lineage=run.lineage,
        retrain=verdict,
        health=Health.UNKNOWN,
        results=(),
        summary=sentence[:250],
        problems=(*run.problems, reason),
    )
    return Judged(judgement, trace)


def _judged(case: Case) -> Judged:
    new = case.new
    results = run_checks(new, mapping=case.mapping, pair=case.pair)
    seen: Mapping[str, int] = {}
    if case.live:
        step = _newest_step(new)
        before = _seen_before(case, results, step)
        seen = sights(results, step, before)
        results = tuple(told(result, step, before) for result in results)
    retrain = (
        RetrainVerdict(Verdict.NONE, "The run is still training.")
        if case.live
        else judge_retrain(
            new, case.old, history=case.history, margin=case.margin, fleet=case.fleet
        )
    )
    retrain, stakes = _streamed(case, _attributed(case, _looked_back(case, retrain)))
    if retrain.verdict is Verdict.REGRESSED or health(results) in _ILL:
        results = backed(results)
    results = said_once(results, new, case.mapping)
    judgement = Judgement(
        run_id=new.run_id,
        run_name=new.name,
        lineage=new.lineage,
        retrain=retrain,
        health=health(results),
        results=results,
        summary="",
        problems=(*new.problems, *_crashes(results)),
        settings={} if case.margin is None else {"margin": case.margin},
        outlook=_outlook(case, results),
    )
    said = replace(judgement, summary=words.summary(judgement))
    return Judged(said, stake=stakes, seen=seen)


def _seen_before(case: Case, results: Sequence[Result], step: int) -> Mapping[str, int]:
    """Since when each check sees something: by the looks before, else by the run as it was."""
    fresh = sights(results, step, {}).keys() - case.seen.keys()
    earlier = until(case.new, step / GROWTH)
    if not fresh or not _newest_step(earlier):
        return case.seen
    then = run_checks(earlier, mapping=case.mapping, pair=case.pair)
    known = sights(then, _newest_step(earlier), {})
    return {check: known[check] for check in fresh & known.keys()} | dict(case.seen)


def _newest_step(run: RunEvidence) -> int:
    """The step that the run has come to; heartbeats count none."""
    steps = [s.steps[-1] for key, s in run.series.items() if key != Metric.LAST_SEEN and len(s)]
    return int(max(steps, default=0))


def _outlook(case: Case, results: Sequence[Result]) -> tuple[str, ...]:
    """What would help: more data, capacity or time; nothing before a failing run is mended."""
    if case.live or health(results) is Health.FAILING:
        return ()
    new, read = PastRun.with_test_set(case.new), read_errors(case.new, case.mapping)
    capacity = more_capacity(new, case.history)
    told = [] if capacity is None else [capacity]
    seen, meaning = read.seen, read.meaning
    curve = more_data(new, case.history)
    if curve is not None and new.error is not None:
        data = said(curve, new.error.measure)
        if curve.interval[0] > 0.0 and read.limit in {Limit.CLOSE, Limit.FIT, Limit.NOTHING}:
            data, meaning = f"{data} {LONGER}", ""  # retrains know more than one of them
        told.insert(0, data)
    elif read.limit in {Limit.DATA, Limit.BOTH}:
        told.insert(0, UNKNOWN)
    return (*([f"{seen} {meaning}".strip()] if seen else []), *told)


def _looked_back(case: Case, retrain: RetrainVerdict) -> RetrainVerdict:
    """With what went with the error before: a lead, which changes neither verdict nor cause."""
    if case.old is None or retrain.compared_to is None:
        return retrain
    hindsight = look_back(
        PastRun.with_test_set(case.new),
        PastRun.of(case.old),
        case.history,
    )
    leads = (*retrain.leads, *hindsight.sentences)
    return replace(retrain, hindsight=hindsight, leads=leads)


def _attributed(case: Case, retrain: RetrainVerdict) -> RetrainVerdict:
    """The cause as extra runs have settled it; without a complete set, as it was."""
    if case.old is None or not case.extra:
        return retrain
    new, old = PastRun.with_test_set(case.new), PastRun.of(case.old)
    settled = settle(
        new,
        old,
        retrain.changed,
        case.extra,
        discordant=retrain.model.discordant,
        prior=spread_of_losses(retrain),
        history=case.history,
    )
    if settled is None or not settled.sentences:
        return retrain
    luck = settled.guilty == (Cause.NOISE,)  # what the first look made likely no longer holds
    now = " ".join((settled.sentences[0], *_still_open(case.new, settled)))
    return replace(
        retrain,
        sentence=f"{retrain.sentence} {now}" if luck else retrain.sentence,
        cause=settled.guilty or (Cause.UNKNOWN,),
        advice=None if luck else now,
        leads=(*settled.sentences, *retrain.leads),
        shares=settled.shares,
    )


def _still_open(new: RunEvidence, settled: Settled) -> list[str]:
    runs = sum(extra.times for extra in settled.missing)
    if not runs:
        return []
    return [
        f"`backslide attribute {new.run_id}` prints {count(runs, 'run')} to tell them apart."
    ]


def _streamed(case: Case, retrain: RetrainVerdict) -> tuple[RetrainVerdict, Stake | None]:
    """The verdict among all retrains, as far as this run alone can say, and what it stakes."""
    new = PastRun.with_test_set(case.new, retrain.verdict)
    anchor = creep = None
    if retrain.compared_to is not None and case.reference is not None:
        anchor = against(case.new, case.reference, case.reference_why, retrain)
    if retrain.compared_to is not None and case.anchor is not None:
        creep = creeping(new, case.history, case.anchor)
    seen = course(
        new,
        case.history,
        creep,
        _noise(new, retrain, case.fleet),
        baseline=retrain.compared_to,
        reference=None if case.reference is None else case.reference.run_id,
        anchor=case.anchor,
    )
    placed_alone = placed(retrain, None, anchor, creep, None if case.live else seen)
    if retrain.compared_to is None:
        return placed_alone, None
    stakes = stake(
        case.new,
        retrain,
        anchor,
        reference=case.reference,
        frozen=case.frozen,
        phi=lineage_phi(repeats_of(case.history), case.fleet),
        every=case.false_alarm_every,
    )
    return placed_alone, stakes


def _noise(new: PastRun, retrain: RetrainVerdict, fleet: Dispersion) -> Noise | None:
    """What is known of retrain noise before any retrain of this lineage was repeated."""
    phi, weight = expected_phi(fleet)
    spread = spread_of_losses(retrain)
    if new.error is not None and new.error.measure == "error" and new.error.examples:
        flips = retrain.model.discordant or None  # two equal runs say nothing of the noise
        spread = prior_sd(new.error.examples, new.error.rate, flips, phi)
    return None if not spread else Noise(spread, weight, fleet.df > 0)


def health(results: Sequence[Result]) -> Health:
    """The worst finding's severity; unknown when no check could tell anything."""
    outcomes = [result.outcome for result in results]
    severities = {getattr(outcome, "severity", None) for outcome in outcomes}
    if Severity.FAILING in severities:
        return Health.FAILING
    if Severity.WARNING in severities:
        return Health.WARNING
    told = Severity.NOTE in severities or any(isinstance(o, Clear) for o in outcomes)
    return Health.HEALTHY if told else Health.UNKNOWN


def _crashes(results: Sequence[Result]) -> list[str]:
    return [
        f"the check {result.check} crashed: {result.outcome.error}"
        for result in results
        if isinstance(result.outcome, Crashed)
    ]
