"""Which extra runs would settle the cause, and what each kind of change contributed to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import mean
from typing import Final

from backslide.contract import Cause
from backslide_detector.judgement import Share
from backslide_detector.retrain.cause import KINDS
from backslide_detector.stats.predictive import Spread
from backslide_detector.stats.shapley import Cell, attribute, cells

MOST_FACTORS: Final = 3
"""Factors of a full factorial; of more kinds the last are grouped, and the group is taken apart
once it is guilty."""
SEEDS: Final = 3
"""Fresh runs of each recipe before anything else, and of each recipe that takes a group apart:
fewer leave the retrain noise too uncertain to name a cause (`benchmarks/calibrate`)."""
ALPHA: Final = 0.05
LOOKS: Final = (0.8, 0.1, 0.1)
"""Parts of `ALPHA` that the first look at the answer spends, and each that follows."""

Mix = frozenset[Cause]
"""Kinds taken from the new recipe; the others come from the old one."""
OLD: Final = Mix()


@dataclass(frozen=True, slots=True)
class ExtraRun:
    """A run that is still missing.

    Attributes:
        new: kinds taken from the new recipe; the others from the old one.
        why: what it is for.
        times: with so many seeds.
    """

    new: Mix
    why: str
    times: int = 1


def blocks(kinds: Sequence[Cause]) -> tuple[Mix, ...]:
    """The kinds as factors of one design: each alone, or the last ones together.

    Code and environment go together: they most often change in one commit.

    Raises:
        ValueError: kinds that nobody can change, such as noise.
    """
    unknown = [kind.value for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no run can change {', '.join(unknown)}")
    ordered = [kind for kind in KINDS if kind in kinds]
    if len(ordered) <= MOST_FACTORS:
        return tuple(Mix([kind]) for kind in ordered)
    alone = ordered[: MOST_FACTORS - 1]
    return (*(Mix([kind]) for kind in alone), Mix(ordered[MOST_FACTORS - 1 :]))


def design(factors: Sequence[Mix]) -> tuple[Mix, ...]:
    """All combinations of factors, from none to all."""
    return tuple(_union(cell) for cell in cells(tuple(map(_label, factors))))


def reruns(kinds: Sequence[Cause], done: Mapping[Mix, int]) -> tuple[ExtraRun, ...]:
    """What to run first of all: if the gap goes with fresh seeds, it was luck."""
    recipes = ((OLD, "the old recipe again"), (Mix(kinds), "the new recipe again"))
    return tuple(
        ExtraRun(mix, f"{why}, with fresh seeds", SEEDS - done.get(mix, 0))
        for mix, why in recipes
        if done.get(mix, 0) < SEEDS
    )


def missing_runs(kinds: Sequence[Cause], done: Sequence[Mix] = ()) -> tuple[ExtraRun, ...]:
    """The smallest set of runs that separates the kinds that changed, or groups of them.

    Args:
        kinds: that differ between the two recipes; seeds do not count.
        done: combinations that were run already, by their new kinds.

    Raises:
        ValueError: kinds that nobody can change, such as noise.
    """
    there = {OLD, Mix(kinds), *done}
    return tuple(
        ExtraRun(mix, _purpose(mix, kinds)) for mix in design(blocks(kinds)) if mix not in there
    )


def taking_apart(group: Mix, done: Mapping[Mix, int]) -> tuple[ExtraRun, ...]:
    """The runs that take a guilty group apart: its kinds one at a time, all else being old."""
    return tuple(
        ExtraRun(mix, _purpose(mix, tuple(group)), SEEDS - done.get(mix, 0))
        for mix in design(tuple(Mix([kind]) for kind in KINDS if kind in group))
        if done.get(mix, 0) < SEEDS
    )


def once_more(kinds: Sequence[Cause], done: Mapping[Mix, int]) -> tuple[ExtraRun, ...]:
    """One more seed of what separates the kinds, while nothing is shown and looks are left."""
    if look(kinds, done) >= len(LOOKS):
        return ()
    return tuple(
        ExtraRun(mix, f"{_purpose(mix, kinds)}, once more") for mix in _decisive(kinds)
    )


def look(kinds: Sequence[Cause], done: Mapping[Mix, int]) -> int:
    """Which look at the answer this is, from 1: runs are added until something is shown."""
    fewest = min(done.get(mix, 0) for mix in _decisive(kinds))
    return max(fewest - (SEEDS - 1 if len(kinds) == 1 else 0), 1)


def _decisive(kinds: Sequence[Cause]) -> list[Mix]:
    """The mixtures; of a single kind there are none, so both recipes."""
    recipes = {OLD, Mix(kinds)}
    return [mix for mix in design(blocks(kinds)) if mix not in recipes] or [OLD, Mix(kinds)]


def contributions(
    errors: Mapping[Mix, Sequence[float]], factors: Sequence[Mix], noise: Spread
) -> tuple[Share, ...]:
    """What each factor added to the error, then what each pair did together.

    Args:
        errors: error rates of the runs of each combination of factors.
        factors: kinds of change, or groups of them.
        noise: spread of the error of one retrain.

    Raises:
        ValueError: a combination without runs.
    """
    found = {cell: errors.get(_union(cell), ()) for cell in cells(tuple(map(_label, factors)))}
    if not all(found.values()):
        raise ValueError("a combination was never run")
    split = attribute(
        {cell: mean(rates) for cell, rates in found.items()},
        seed_sd=noise.sd,
        seed_df=noise.df,
        repeats={cell: len(rates) for cell, rates in found.items()},
    )
    return tuple(
        Share(
            kinds=tuple(chain.from_iterable(label.split("+") for label in part.factors)),
            effect=part.effect,
            interval=part.interval,
            pvalue=part.pvalue,
            interaction=len(part.factors) > 1,
        )
        for part in split
    )


def guilty(
    shares: Sequence[Share], kinds: int, gap: float | None, *, number: int = 1
) -> tuple[Mix, ...]:
    """The factors shown to have made the gap, largest effect first.

    Args:
        shares: of one design.
        number: of the look.
        gap: what is to be explained; what made it smaller is no cause of it. None: its sign
            is open.
        kinds: that changed in all. A factor of several kinds gets the level of as many, and its
            parts are asked only once it is guilty: over the whole tree, anything is named
            falsely at most `ALPHA` of the time (Meinshausen 2008, Biometrika 95:265-278).
    """
    level = ALPHA * LOOKS[min(number, len(LOOKS)) - 1] / kinds
    return tuple(
        Mix(map(Cause, share.kinds))
        for share in shares
        if not share.interaction
        and (gap is None or share.effect * gap > 0)
        and share.pvalue is not None
        and share.pvalue < level * len(share.kinds)
    )


def _label(factor: Mix) -> str:
    return "+".join(sorted(factor))


def _union(cell: Cell) -> Mix:
    return Mix(Cause(kind) for label in cell for kind in label.split("+"))


def _purpose(mix: Mix, kinds: Sequence[Cause]) -> str:
    """What one combination is for."""
    sides = (
        ("new", [kind.value for kind in KINDS if kind in mix]),
        ("old", [kind.value for kind in KINDS if kind in set(kinds) - mix]),
    )
    return ", ".join(f"{side} {' and '.join(names)}" for side, names in sides if names)
