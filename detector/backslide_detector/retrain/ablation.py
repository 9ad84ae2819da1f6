"""The cause of one retrain, from extra runs that mix its recipe with its baseline's."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean

from backslide.contract import Cause, Measure, Tag
from backslide_detector.judgement import Change, RetrainVerdict, Share
from backslide_detector.retrain.attribution import (
    OLD,
    ExtraRun,
    Mix,
    blocks,
    contributions,
    guilty,
    look,
    missing_runs,
    once_more,
    reruns,
    taking_apart,
)
from backslide_detector.retrain.cause import changed_kinds
from backslide_detector.retrain.history import PastRun, measured_alike
from backslide_detector.retrain.noise import prior_sd
from backslide_detector.retrain.values import spread_beforehand
from backslide_detector.stats.predictive import Spread, pooled_spread


@dataclass(frozen=True, slots=True)
class Settled:
    """What the extra runs say so far.

    Attributes:
        first: fresh runs of the two recipes that should come before all else.
        missing: other runs that are still needed.
        shares: what each kind, or group of kinds, added to the error; empty until a whole
            design is there.
        guilty: kinds shown to matter, or noise where the gap went with fresh seeds.
        sentences: the same in words.
    """

    first: tuple[ExtraRun, ...] = ()
    missing: tuple[ExtraRun, ...] = ()
    shares: tuple[Share, ...] = ()
    guilty: tuple[Cause, ...] = ()
    sentences: tuple[str, ...] = ()


def belongs_to(tags: Mapping[str, str]) -> tuple[str, Mix] | None:
    """The run that an extra run was made for, and the kinds it takes from that one's recipe."""
    try:
        said = json.loads(tags[Tag.ATTRIBUTION])
        return str(said["of"]), frozenset(Cause(kind) for kind in said["new"])
    except (KeyError, TypeError, ValueError):
        return None


def spread_of_losses(verdict: RetrainVerdict) -> float | None:
    """Spread of one retrain expected beforehand, where there are no errors to flip."""
    interval = verdict.model.interval
    return (
        None if verdict.measure == "error" or interval is None else spread_beforehand(interval)
    )


def settle(
    new: PastRun,
    old: PastRun,
    changed: Sequence[Change],
    extra: Sequence[tuple[Mix, PastRun]],
    *,
    discordant: float | None = None,
    prior: float | None = None,
    history: Sequence[PastRun] = (),
) -> Settled | None:
    """Plan what is missing, or say what each kind contributed; None where nothing changed.

    The judged run was chosen for its error, so once its recipe was run afresh it is no evidence
    any more (the winner's curse); nor is its baseline.

    Args:
        new: the judged run.
        old: its baseline.
        changed: what differs between them.
        extra: runs that mix them, by the kinds taken from the new one.
        discordant: share of common examples on which the two models disagree.
        prior: spread of one retrain expected beforehand, where flips do not tell it.
        history: earlier runs of the lineage; repeats of one recipe tell the noise.
    """
    kinds = changed_kinds(changed)
    if not kinds or new.error is None or old.error is None:
        return None
    everything = Mix(kinds)
    fresh = _fresh(new, extra, everything)
    first = reruns(kinds, {mix: len(rates) for mix, rates in fresh.items()})
    rates = {OLD: [old.error.rate], everything: [new.error.rate]} | fresh
    if prior is None:
        prior = prior_sd(new.error.examples or 1, old.error.rate, discordant)
    noise = _noise(new, old, rates, history, prior)
    if len(kinds) == 1 and not (fresh.keys() >= {OLD, everything}):
        return Settled(first)
    luck = _luck(new, old, fresh, everything, noise)
    if luck is not None:
        return Settled(guilty=(Cause.NOISE,), sentences=(luck,))
    missing = missing_runs(kinds, list(rates))
    if missing:
        return Settled(first, missing)

    factors = blocks(kinds)
    shares = contributions(rates, factors, noise)
    gap = _shown_gap(rates, everything, noise)
    done = {mix: len(found) for mix, found in rates.items()}
    number = look(kinds, done)
    named: list[Cause] = []
    for factor in guilty(shares, len(kinds), gap, number=number):
        parts, unsettled = _taken_apart(factor, rates, fresh, noise)
        missing += unsettled
        shares += parts
        shown = guilty(parts, len(kinds), gap, number=number)
        named += chain.from_iterable(shown) if shown else sorted(factor)
    if not named:
        missing = once_more(kinds, done)
    said = [_words(share, new.error.measure) for share in shares]
    if not fresh.keys() >= {OLD, everything}:
        said.append(
            "The run that raised the question counts here itself, which makes the gap look "
            "larger than it is; fresh runs of both recipes mend that."
        )
    return Settled(first, missing, shares, tuple(named), tuple(said))


def _shown_gap(
    rates: Mapping[Mix, Sequence[float]], everything: Mix, noise: Spread
) -> float | None:
    """The difference between the two recipes; None while its sign is open."""
    ours, theirs = rates[everything], rates[OLD]
    gap = mean(ours) - mean(theirs)
    shown = abs(gap) > noise.half_width(1 / len(ours) + 1 / len(theirs))
    return gap if shown else None


def _taken_apart(
    factor: Mix,
    rates: Mapping[Mix, Sequence[float]],
    fresh: Mapping[Mix, Sequence[float]],
    noise: Spread,
) -> tuple[tuple[Share, ...], tuple[ExtraRun, ...]]:
    """The parts of a guilty group as far as they were run, and the runs that are missing."""
    if len(factor) == 1:
        return (), ()
    missing = taking_apart(factor, {mix: len(found) for mix, found in fresh.items()})
    parts = tuple(Mix([kind]) for kind in sorted(factor))
    if any(part not in rates for part in parts):
        return (), missing
    return contributions(rates, parts, noise), missing


def _fresh(
    new: PastRun, extra: Sequence[tuple[Mix, PastRun]], everything: Mix
) -> dict[Mix, list[float]]:
    """Error rates of the extra runs that were measured as the judged run was."""
    rates: defaultdict[Mix, list[float]] = defaultdict(list)
    for mix, run in extra:
        if mix <= everything and run.error is not None and measured_alike(run, new):
            rates[mix].append(run.error.rate)
    return dict(rates)


def _noise(
    new: PastRun,
    old: PastRun,
    rates: Mapping[Mix, Sequence[float]],
    history: Sequence[PastRun],
    prior: float,
) -> Spread:
    """Spread of one retrain: from repeats of one recipe, else from the lineage, and a prior."""
    repeats: defaultdict[str, list[float]] = defaultdict(list)
    lately: list[float] = []
    for run in history:
        if run.error is None or run.run_id in {new.run_id, old.run_id}:
            continue
        if measured_alike(run, new) and run.accepted:
            lately.append(run.error.rate)
            if run.recipe is not None:
                repeats[run.recipe].append(run.error.rate)
    groups = [*rates.values(), *repeats.values()]
    if not any(len(group) > 1 for group in groups):
        groups = [lately]  # real changes are in it too, which makes the answer cautious
    return pooled_spread(groups, prior)


def _luck(
    new: PastRun,
    old: PastRun,
    fresh: Mapping[Mix, Sequence[float]],
    everything: Mix,
    noise: Spread,
) -> str | None:
    """That the gap went with fresh seeds, once they show it."""
    ours, theirs = fresh.get(everything, ()), fresh.get(OLD, ())
    if min(len(ours), len(theirs)) < 2 or new.error is None or old.error is None:
        return None
    gap, before = mean(ours) - mean(theirs), new.error.rate - old.error.rate
    inverse_n = 1 / len(ours) + 1 / len(theirs)
    half = noise.half_width(inverse_n)
    # An open answer only costs the next runs; this one ends the search, so it must be clear.
    if abs(gap) > noise.sd * math.sqrt(inverse_n) or abs(before - gap) < half:
        return None
    said, low, high, first = (
        _signed(value, new.error.measure) for value in (gap, gap - half, gap + half, before)
    )
    return (
        f"With fresh seeds the gap is {said} (95 % interval {low} to {high}) instead of "
        f"{first}: it was luck, and there is nothing left to explain."
    )


def _signed(value: float, measure: Measure) -> str:
    return f"{100 * value:+.2f} points" if measure == "error" else f"{value:+.4g}"


def _words(share: Share, measure: Measure) -> str:
    who = " and ".join(share.kinds)
    if share.interaction:
        subject = f"The interaction of {who}"
    elif len(share.kinds) > 1:
        subject = f"The changes of {who} together"
    else:
        subject = f"The change of {who}"
    text = f"{subject} added {_signed(share.effect, measure)}"
    if share.interval is not None and all(map(math.isfinite, share.interval)):
        low, high = (_signed(bound, measure) for bound in share.interval)
        text += f" (95 % interval {low.removesuffix(' points')} to {high})"
    return f"{text}{', contained in the two' if share.interaction else ''}."
