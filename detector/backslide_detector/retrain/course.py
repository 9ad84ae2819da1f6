"""The course of a lineage: what is expected of the next retrain, and when it changed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from backslide_detector.lineage import Course, Creeping, Dated, Expectation, Retrain
from backslide_detector.retrain.history import PastRun, on_one_course
from backslide_detector.retrain.noise import HISTORY
from backslide_detector.stats.change_point import date_change
from backslide_detector.stats.creep import RUN_LENGTH, detect_creep
from backslide_detector.stats.predictive import Spread, pooled_spread

SHOWN: Final = 200
"""Retrains that a course holds: the newest, which is what a picture can show."""


@dataclass(frozen=True, slots=True)
class Noise:
    """What is known of the noise between retrains besides the lineage itself.

    Attributes:
        sd: spread of one retrain expected beforehand.
        weight: observations that it counts for.
        measured: repeats in other lineages stand behind it.
    """

    sd: float
    weight: float
    measured: bool


def course(
    new: PastRun,
    history: Sequence[PastRun],
    creep: Creeping | None,
    noise: Noise | None,
    *,
    baseline: str | None = None,
    reference: str | None = None,
    anchor: PastRun | None = None,
) -> Course | None:
    """The lineage up to a retrain; None where its error or its lineage is not known.

    Args:
        new: the judged run, with its verdict.
        history: runs of the lineage, in any order.
        creep: what the creep detector made of them.
        noise: of retrains, as far as other lineages tell it; None where nothing does.
        baseline: run id of what it was compared with.
        reference: run id of what the alert channel measures from.
        anchor: what the creep detector measures from.
    """
    if new.error is None or new.lineage is None:
        return None
    others = {
        run.run_id: run
        for run in history
        if run.run_id != new.run_id and run.started <= new.started
    }
    if anchor is not None:
        others.setdefault(anchor.run_id, anchor)
    earlier = [run for run in others.values() if on_one_course(new, run)]
    before = sorted(earlier, key=lambda run: (run.started, run.run_id))
    runs = [*before, new]
    intervals = _intervals(runs)
    detector = {} if creep is None else dict(creep.path)
    retrains = tuple(
        Retrain(
            run.run_id,
            run.name,
            run.started,
            run.error.rate,
            interval,
            accepted=run.accepted,
            verdict=run.verdict,
            signal=_signal(run),
            creep=detector.get(run.run_id),
        )
        for run, interval in zip(runs, intervals, strict=True)
        if run.error is not None
    )
    found = Course(
        retrains[-SHOWN:],
        baseline=baseline,
        reference=reference,
        anchor=None if anchor is None else anchor.run_id,
        expected=expected(before, noise),
        next=expected(runs, noise),
        elsewhere=len(others) - len(earlier),
        earlier=max(len(retrains) - SHOWN, 0),
    )
    return replace(found, changes=dated(found.retrains, creep))


def expected(runs: Sequence[PastRun], noise: Noise | None) -> Expectation | None:
    """Where the retrain after these should fall; None while only the prior would say so.

    With repeats of one recipe: about the mean of the last accepted one's recipe, with their
    spread. Without: about the mean of the lately accepted retrains, with theirs, which holds
    real changes too and so is cautious. With neither, other lineages' repeats must do.

    Args:
        runs: of one lineage and test set, in order of time.
        noise: expected beforehand.
    """
    accepted = [run for run in runs if run.accepted and run.error is not None]
    if not accepted or noise is None:
        return None
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.recipe is not None and run.error is not None:
            groups[run.recipe].append(run.error.rate)
    repeats = [rates for rates in groups.values() if len(rates) > 1]
    last = accepted[-1]
    lately = [run.error.rate for run in accepted[-HISTORY:] if run.error is not None]
    if repeats:
        spread = pooled_spread(repeats, noise.sd, noise.weight)
        around = groups.get(last.recipe or "", lately[-1:])
        source = f"{sum(map(len, repeats))} seed repeats"
    elif len(lately) > 1:
        spread, around = pooled_spread([lately], noise.sd, noise.weight), lately
        source = f"{len(lately)} accepted retrains"
    elif noise.measured:
        spread, around = Spread(noise.sd, noise.weight), lately
        source = "repeats in other lineages"
    else:
        return None
    middle, half = float(np.mean(around)), spread.half_width(1 + 1 / len(around))
    return Expectation((max(middle - half, 0.0), middle + half), spread.sd, source)


def creeping(new: PastRun, history: Sequence[PastRun], anchor: PastRun) -> Creeping | None:
    """The course of the error since a fixed anchor; None before the third retrain.

    Runs that were refused are left out: a regression that was seen is no creep, and one step of
    it would set the detector off for good. On another test set than the anchor's, the first
    run that was tested on it stands in.
    """
    if new.error is None or not new.error.examples:
        return None
    known = {
        run.run_id: run
        for run in (*history, anchor, new)
        if on_one_course(new, run)
        and (run.accepted or run.run_id == anchor.run_id)
        and (anchor.started, anchor.run_id) <= (run.started, run.run_id)
        and run.started <= new.started
    }
    runs = sorted(known.values(), key=lambda run: (run.started, run.run_id))
    errors = [run.error.rate for run in runs if run.error is not None]
    if len(errors) < 3:
        return None
    found = detect_creep(errors)
    values = found.path.tolist()
    said = Creeping(
        runs[0].name,
        len(errors),
        values[-1],
        RUN_LENGTH,
        path=tuple(zip((run.run_id for run in runs[2:]), values, strict=True)),
    )
    if found.alarm is None:
        return said
    change = date_change(errors[: found.alarm + 1])
    return replace(
        said,
        alarm=runs[found.alarm].name,
        since=runs[change].name,
        change=runs[change].run_id,
        new=runs[found.alarm].run_id == new.run_id,
        rise=float(np.mean(errors[change:]) - np.mean(errors[:change])),
    )


def dated(retrains: Sequence[Retrain], creep: Creeping | None) -> tuple[Dated, ...]:
    """When the lineage changed, for each change that a detector has shown.

    The best single change of mean since the last one dates a signal; a date by itself shows
    nothing, because the best of many splits always looks like a change. An alarm that is raised
    again says that the lineage is still worse, and is not dated again.
    """
    found: list[Dated] = []
    start, before = 0, None
    for place, retrain in enumerate(retrains):
        if retrain.signal is None or retrain.signal == before:
            continue
        before = retrain.signal
        # A change the other way comes first where one bad retrain was followed by good ones.
        while start < place:
            errors = [each.error for each in retrains[start : place + 1]]
            change = date_change(errors)
            shift = float(np.mean(errors[change:]) - np.mean(errors[:change]))
            start += change
            if (shift > 0) == (retrain.signal == "worse"):
                first = retrains[start]
                found.append(Dated(first.run_id, first.name, "alarm", shift))
                break
    known = {change.run_id for change in found}
    if creep is not None and creep.change and creep.since and creep.change not in known:
        found.append(Dated(creep.change, creep.since, "creep", creep.rise or 0.0))
    order = {retrain.run_id: place for place, retrain in enumerate(retrains)}
    return tuple(sorted(found, key=lambda change: order.get(change.run_id, -1)))


def _signal(run: PastRun) -> Literal["worse", "better"] | None:
    """What the alert channel showed with a run."""
    if run.alarmed:
        return "worse"
    return "better" if run.lead == "better" else None


def _intervals(runs: Sequence[PastRun]) -> list[tuple[float, float] | None]:
    """Wilson's interval of each error; None of mean losses, whose spread nobody kept."""
    error = runs[-1].error
    if error is None or error.measure != "error" or not error.examples:
        return [None] * len(runs)
    rates = np.array([run.error.rate for run in runs if run.error is not None])
    wrong = np.round(rates * error.examples)
    low, high = proportion_confint(wrong, error.examples, 0.05, method="wilson")
    return [*zip(low.tolist(), high.tolist(), strict=True)]
