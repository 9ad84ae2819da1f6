"""`verdict.json`: the judgement for programs."""

import math

from backslide.contract import SCHEMA
from backslide_detector.estimand import Estimand
from backslide_detector.finding import Found
from backslide_detector.judgement import (
    Associated,
    Change,
    Groups,
    Hindsight,
    Judgement,
    MetricChange,
    Share,
    Shift,
)
from backslide_detector.lineage import Claim, Course, Expectation, Standing, Stream


def document(judgement: Judgement) -> dict[str, object]:
    """The judgement as plain JSON values; what is not a finite number becomes None.

    Effects, intervals, errors, `mde` and `margin` are fractions; deltas are new minus old.
    """
    retrain = judgement.retrain
    return {
        "schema": SCHEMA,
        "run": judgement.run_id,
        "compared_to": retrain.compared_to,
        "verdict": retrain.verdict.value,
        "summary": judgement.summary,
        "sentence": retrain.sentence,
        "advice": retrain.advice,
        "split": retrain.split,
        "old_error": _finite(retrain.old_error),
        "new_error": _finite(retrain.new_error),
        "estimands": {"model": _estimand(retrain.model), "recipe": _estimand(retrain.recipe)},
        "measure": retrain.measure,
        "mde": _finite(retrain.mde),
        "margin": _finite(retrain.margin),
        "metrics": [_metric(change) for change in retrain.metrics],
        "behaviour": list(retrain.behaviour),
        "groups": None if retrain.groups is None else _groups(retrain.groups),
        "stream": _stream(retrain.stream),
        "cause": [cause.value for cause in retrain.cause],
        "shares": [_share(share) for share in retrain.shares],
        "changed": [_change(change) for change in retrain.changed],
        "leads": list(retrain.leads),
        "association": None if retrain.hindsight is None else _hindsight(retrain.hindsight),
        "health": judgement.health.value,
        "findings": [_finding(check, found) for check, found in judgement.findings],
        "outlook": list(judgement.outlook),
        "problems": list(judgement.problems),
    }


def _estimand(estimand: Estimand) -> dict[str, object]:
    interval = estimand.interval
    return {
        "effect": _finite(estimand.effect),
        "interval": None if interval is None else [_finite(bound) for bound in interval],
        "pvalue": _finite(estimand.pvalue),
        "n": int(estimand.n),
        "method": estimand.method,
        "reason": estimand.reason,
        "fixed": _count(estimand.fixed),
        "broken": _count(estimand.broken),
    }


def _stream(stream: Stream) -> dict[str, object]:
    """The retrain among all others; parts that say nothing are None."""
    standing, anchor, creep = stream.standing, stream.anchor, stream.creep
    return {
        "discovery": None if standing is None else _discovery(standing),
        "recipe": None
        if standing is None or standing.recipe is None
        else _claim(standing.recipe),
        "groups": None
        if standing is None or standing.groups is None
        else _claim(standing.groups),
        "alarm": None
        if standing is None or standing.alarm_value is None
        else {
            "value": _finite(standing.alarm_value),
            "threshold": _finite(standing.alarm_every),
            "alarmed": standing.alarmed,
        },
        "leads": standing is not None and standing.leads,
        "reference": None
        if anchor is None
        else {
            "run": anchor.run_id,
            "name": anchor.name,
            "why": anchor.why,
            "model": _estimand(anchor.model),
        },
        "creep": None
        if creep is None
        else {
            "anchor": creep.anchor,
            "retrains": creep.retrains,
            "value": _finite(creep.value),
            "threshold": _finite(creep.threshold),
            "alarm": creep.alarm,
            "since": creep.since,
            "rise": _finite(creep.rise),
        },
        "course": None if stream.course is None else _course(stream.course),
        "test_set": None
        if standing is None or not standing.uses
        else {"uses": standing.uses, "shelf_life": _count(stream.shelf_life)},
        "sentences": list(stream.sentences),
    }


def _course(course: Course) -> dict[str, object]:
    """The lineage, without the errors themselves: those lie on the runs."""
    return {
        "retrains": course.earlier + len(course.retrains),
        "expected": _expectation(course.expected),
        "next": _expectation(course.next),
        "changes": [
            {
                "run": change.run_id,
                "name": change.name,
                "shown_by": change.shown_by,
                "shift": _finite(change.shift),
            }
            for change in course.changes
        ],
    }


def _expectation(expected: Expectation | None) -> dict[str, object] | None:
    """Where a retrain should fall by its history; None without one."""
    if expected is None:
        return None
    return {
        "interval": [_finite(bound) for bound in expected.interval],
        "sd": _finite(expected.sd),
        "source": expected.source,
    }


def _discovery(standing: Standing) -> dict[str, object]:
    place = {"number": standing.number, "procedure": standing.procedure}
    return place | _claim(standing.model)


def _claim(claim: Claim) -> dict[str, object]:
    """What came of a claim among all of its kind."""
    return {
        "found": claim.found,
        "pvalue": {"worse": _finite(claim.worse), "better": _finite(claim.better)},
        "level": {
            "worse": _finite(claim.level_worse),
            "better": _finite(claim.level_better),
        },
    }


def _metric(change: MetricChange) -> dict[str, object]:
    interval = change.interval
    return {
        "name": change.name,
        "better": change.better,
        "role": change.role,
        "method": change.method,
        "n": int(change.n),
        "old": _finite(change.old),
        "new": _finite(change.new),
        "effect": _finite(change.effect),
        "interval": None if interval is None else [_finite(bound) for bound in interval],
        "pvalue": _finite(change.pvalue),
    }


def _groups(groups: Groups) -> dict[str, object]:
    """Classes and slices as one test; p-values are adjusted for their number."""
    return {
        "count": groups.count,
        "pvalue": {"worse": _finite(groups.worse), "better": _finite(groups.better)},
        "suspects": [
            {
                "name": group.name,
                "n": group.n,
                "effect": _finite(group.effect),
                "interval": [_finite(bound) for bound in group.interval],
                "pvalue": _finite(group.pvalue),
            }
            for group in groups.suspects
        ],
    }


def _share(share: Share) -> dict[str, object]:
    interval = share.interval
    return {
        "kinds": list(share.kinds),
        "effect": _finite(share.effect),
        "interval": None if interval is None else [_finite(bound) for bound in interval],
        "pvalue": _finite(share.pvalue),
        "interaction": share.interaction,
    }


def _hindsight(hindsight: Hindsight) -> dict[str, object]:
    return {
        "retrains": hindsight.retrains,
        "reason": hindsight.reason,
        "factors": [_associated(row) for row in hindsight.associated],
        "untold": list(hindsight.untold),
        "sentences": list(hindsight.sentences),
    }


def _associated(row: Associated) -> dict[str, object]:
    return {
        "what": list(row.what),
        "kinds": [kind.value for kind in row.kinds],
        "old": row.old,
        "new": row.new,
        "effect": _finite(row.effect),
        "interval": [_finite(bound) for bound in row.interval],
        "pvalue": _finite(row.pvalue),
        "changed": int(row.changed),
        "here": row.here,
    }


def _change(change: Change) -> dict[str, object]:
    measured = {} if change.shift is None else {"shift": _shift(change.shift)}
    return measured | {
        "kind": change.kind.value,
        "what": change.what,
        "old": change.old,
        "new": change.new,
    }


def _shift(shift: Shift) -> dict[str, object]:
    return {
        "statistic": _finite(shift.statistic),
        "pvalue": _finite(shift.pvalue),
        "n": int(shift.n),
        "method": shift.method,
    }


def _finding(check: str, found: Found) -> dict[str, object]:
    return {
        "name": check,
        "severity": found.severity.value,
        "layer": found.layer,
        "since_step": _count(found.since_step),
        "numbers": {name: _finite(value) for name, value in found.numbers.items()},
        "sentence": found.sentence,
        "advice": _advice(found),
    }


def _advice(found: Found) -> str:
    """The first thing to try, and what usually is to blame."""
    if not found.usual_cause:
        return found.advice
    return f"{found.advice} Usual cause: {found.usual_cause}"


def _finite(value: float | None) -> float | None:
    # float() also unwraps NumPy scalars, which json refuses.
    return float(value) if value is not None and math.isfinite(value) else None


def _count(value: int | None) -> int | None:
    return None if value is None else int(value)
