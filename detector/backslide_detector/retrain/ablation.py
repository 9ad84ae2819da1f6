"""The cause of one retrain, from extra runs that mix its recipe with its baseline's."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backslide.contract import Cause, Tag
from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Change
from backslide_detector.retrain.attribution import (
    MOST_FACTORS,
    ExtraRun,
    missing_runs,
    named,
)
from backslide_detector.retrain.cause import changed_kinds
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.noise import prior_sd
from backslide_detector.stats.predictive import pooled_spread
from backslide_detector.stats.shapley import Contribution

Mix = frozenset[Cause]


@dataclass(frozen=True, slots=True)
class Settled:
    """What the extra runs say so far.

    Attributes:
        missing: runs that are still needed; empty when `contributions` are there.
        contributions: of each kind, then of each pair, in fractions of error.
        guilty: kinds shown to matter.
        sentences: the same in words.
    """

    missing: tuple[ExtraRun, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    guilty: tuple[Cause, ...] = ()
    sentences: tuple[str, ...] = ()


def belongs_to(tags: Mapping[str, str]) -> tuple[str, Mix] | None:
    """The run that an extra run was made for, and the kinds it takes from that one's recipe."""
    try:
        said = json.loads(tags[Tag.ATTRIBUTION])
        return str(said["of"]), frozenset(Cause(kind) for kind in said["new"])
    except (KeyError, TypeError, ValueError):
        return None


def settle(
    new: PastRun,
    old: PastRun,
    changed: Sequence[Change],
    extra: Sequence[tuple[Mix, PastRun]],
    *,
    discordant: float | None = None,
    prior: float | None = None,
) -> Settled | None:
    """Plan what is missing, or say what each kind contributed; None where nothing changed.

    With more kinds than a factorial takes, both halves are tried first, and the caller asks
    again for the half that made the difference.

    Args:
        new: the judged run; its error is the cell of the new recipe.
        old: its baseline, likewise.
        changed: what differs between them.
        extra: runs that mix them, by the kinds taken from the new one.
        discordant: share of common examples on which the two models disagree.
        prior: spread of one retrain expected beforehand, where flips do not tell it.
    """
    kinds = changed_kinds(changed)
    if not kinds or new.error is None or old.error is None:
        return None
    place = new.error.place
    rates: defaultdict[Mix, list[float]] = defaultdict(list)
    rates[frozenset(kinds)].append(new.error.rate)
    rates[frozenset()].append(old.error.rate)
    for mix, run in extra:
        # Never the alerting run twice, and only what was measured on the same test set.
        if run.error is not None and run.error.place == place:
            rates[mix].append(run.error.rate)
    missing = missing_runs(kinds, [mix for mix in rates if mix <= set(kinds)])
    if missing or len(kinds) > MOST_FACTORS:
        return Settled(missing=missing)
    means = {mix: sum(found) / len(found) for mix, found in rates.items() if mix <= set(kinds)}
    if prior is None:
        prior = prior_sd(new.error.examples or 1, old.error.rate, discordant)
    spread = pooled_spread(list(rates.values()), prior)
    repeats = min(len(rates[mix]) for mix in means)
    found, guilty = named(means, seed_sd=spread.sd, seed_df=spread.df, repeats=repeats)
    return Settled((), found, guilty, tuple(map(_words, found)))


def plan(
    run: RunEvidence,
    baseline: RunEvidence,
    missing: Sequence[ExtraRun],
    changed: Sequence[Change],
) -> str:
    """The missing runs as shell commands, each with what it must be given."""
    lines = []
    for number, extra in enumerate(missing, 1):
        lines.append(f"# {number}. {extra.why}")
        for kind in changed_kinds(changed):
            source = run if kind in extra.new else baseline
            needed = _ingredients(kind, source, changed, new=kind in extra.new)
            lines += [f"#    {text}" for text in needed]
        code = run if Cause.CODE in extra.new else baseline
        if code.provenance.git_commit and Cause.CODE in changed_kinds(changed):
            lines.append(f"git checkout {code.provenance.git_commit}")
        tag = json.dumps({"of": run.run_id, "new": sorted(kind.value for kind in extra.new)})
        script = run.provenance.source or "train.py"
        lines.append(f"BACKSLIDE_ATTRIBUTION='{tag}' BACKSLIDE_SEED=$RANDOM python {script}")
    return "\n".join(lines)


def _ingredients(
    kind: Cause, source: RunEvidence, changed: Sequence[Change], *, new: bool
) -> list[str]:
    """What a run must be given of one kind, from the recipe that it takes it from."""
    side = "new" if new else "old"
    return [
        f"{side} {kind.value}: {change.what} = {change.new if new else change.old}"
        for change in changed
        if change.kind is kind
    ][:6] or [f"{side} {kind.value}, as in {source.name}"]


def _words(found: Contribution) -> str:
    who = " and ".join(found.factors)
    joint = len(found.factors) > 1
    subject = f"The interaction of {who}" if joint else f"The change of {who}"
    text = f"{subject} added {100 * found.effect:+.2f} points"
    if found.interval is not None and all(map(math.isfinite, found.interval)):
        low, high = (100 * bound for bound in found.interval)
        text += f" (95 % interval {low:+.2f} to {high:+.2f})"
    return f"{text}{', contained in the two' if joint else ''}."
