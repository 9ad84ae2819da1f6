"""What went with the error over the earlier retrains of a lineage: a hint, never a cause."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backslide.contract import Cause, Measure
from backslide_detector.evidence import Floats
from backslide_detector.judgement import Associated, Hindsight
from backslide_detector.retrain.cause import KINDS
from backslide_detector.retrain.history import PARAMETER, PastRun, measured_alike
from backslide_detector.retrain.sentence import LOSSES, decimals, interval_words, size
from backslide_detector.stats.history_regression import (
    LARGEST,
    Coefficient,
    fewest_retrains,
    history_regression,
)
from backslide_detector.stats.multiplicity import holm
from backslide_detector.wording import count

ALPHA: Final = 0.05
LATELY: Final = 200
"""Retrains that are looked back on."""
FEW_VALUES: Final = 4
"""Values up to which each gets a factor of its own; of more, each change counts alike."""
WIDE: Final = 10.0
"""Numbers that differ by this factor are compared by their logarithms."""
NAMED: Final = 3
"""Associations that get a sentence."""

_Move = tuple[str | None, str | None]
"""The old value and the new one; None where there was none."""


@dataclass(frozen=True, slots=True)
class _Factor:
    """One thing that changed, as a column of numbers.

    Attributes:
        what, kind: its name, and what kind of change it is.
        values: in each retrain, shape (n,).
        old, new: what `step` leads from and to; None where every change counts alike.
        step: from old to new, in units of `values`.
        here: it changed in the judged retrain too.
    """

    what: str
    kind: Cause
    values: Floats
    old: str | None
    new: str | None
    step: float
    here: bool

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Whether it changed, from each retrain to the next."""
        return np.asarray(np.diff(self.values) != 0, dtype=np.bool_)

    @property
    def counts_alike(self) -> bool:
        """True where all that is known is that it changed."""
        return self.old is self.new is None


def look_back(new: PastRun, old: PastRun, history: Sequence[PastRun]) -> Hindsight:
    """Regress the error of the earlier retrains of a lineage on what changed between them.

    The judged retrain is left out: a run that raised a question is no evidence of the answer.

    Args:
        new: the judged retrain.
        old: its baseline.
        history: runs of the lineage, in any order.
    """
    runs = _comparable(new, history)
    factors = [
        factor
        for kind in KINDS
        for factor in _of_kind(kind, runs, (new, old))
        if _varies(factor)
    ]
    merged = _merged(factors)
    most = len(runs) - fewest_retrains(0)
    if len(merged) > most:  # what did not change now explains nothing now
        merged = [group for group in merged if any(factor.here for factor in group)]
    if not merged:
        return Hindsight(len(runs), reason="nothing that the runs stated changed before")
    if len(merged) > most:
        return Hindsight(len(runs), reason=_too_few(len(runs), len(merged)))
    errors = [run.error.rate for run in runs if run.error is not None]
    found = history_regression(errors, np.column_stack([group[0].values for group in merged]))
    told = [(group, one) for group, one in zip(merged, found, strict=True) if one is not None]
    adjusted = holm([one.pvalue for _, one in told]).tolist()
    rows = [_row(group, one, p) for (group, one), p in zip(told, adjusted, strict=True)]
    hindsight = Hindsight(
        len(runs),
        associated=tuple(sorted(rows, key=lambda row: (row.pvalue, not row.here, row.what))),
        untold=tuple(
            factor.what
            for group, one in zip(merged, found, strict=True)
            if one is None
            for factor in group
        ),
    )
    measure = "error" if new.error is None else new.error.measure
    return replace(hindsight, sentences=tuple(_sentences(hindsight, measure)))


def _comparable(new: PastRun, history: Sequence[PastRun]) -> list[PastRun]:
    """Earlier runs whose error was measured as this one's, oldest first."""
    if new.error is None:
        return []
    earlier = {
        run.run_id: run
        for run in history
        if run.error is not None
        and measured_alike(run, new)
        and run.error.rate <= LARGEST
        and run.finished
        and (run.started, run.run_id) < (new.started, new.run_id)
    }
    return sorted(earlier.values(), key=lambda run: (run.started, run.run_id))[-LATELY:]


def _too_few(retrains: int, factors: int) -> str:
    among = "" if factors == 1 else f" among {factors} things that changed"
    return (
        f"too few retrains: {count(retrains, 'earlier one')} cannot tell what goes with the "
        f"error{among}; it takes {fewest_retrains(factors)}"
    )


def _of_kind(
    kind: Cause, runs: Sequence[PastRun], pair: tuple[PastRun, PastRun]
) -> Iterator[_Factor]:
    """Everything of one kind as factors.

    A run that said nothing of the kind is taken to have changed nothing of it.
    """
    silent = [kind not in run.made_from for run in runs]
    if all(silent):
        return
    new, old = (run.made_from.get(kind) for run in pair)
    for what in sorted({name for run in runs for name in run.made_from.get(kind, {})}):
        values: list[str | None] = []
        first = next(run.made_from[kind].get(what) for run in runs if kind in run.made_from)
        for run, nothing in zip(runs, silent, strict=True):
            last = values[-1] if values else first
            values.append(last if nothing else run.made_from[kind].get(what))
        here = None if new is None or old is None else (old.get(what), new.get(what))
        moved = here if here is not None and here[0] != here[1] else None
        yield from _columns(what, kind, values, moved)


def _columns(
    what: str, kind: Cause, values: Sequence[str | None], moved: _Move | None
) -> Iterator[_Factor]:
    """One factor for a number, one for each value but the first of a few, else one for all.

    What is compared runs in the direction of the present change, where it is known from before.
    """
    distinct = list(dict.fromkeys(values))
    here = moved is not None
    numbers = _numbers(distinct)
    if numbers is not None and len(distinct) > 2:
        old, new = (
            min(distinct, key=numbers.__getitem__),
            max(distinct, key=numbers.__getitem__),
        )
        if moved is not None and numbers.keys() >= set(moved):
            old, new = moved
        column = np.array([numbers[value] for value in values])
        yield _Factor(what, kind, column, old, new, numbers[new] - numbers[old], here)
    elif len(distinct) <= FEW_VALUES:
        first = distinct[0]
        for value in distinct[1:]:
            column = np.array([float(other == value) for other in values])
            if moved == (value, first):
                yield _Factor(what, kind, column, value, first, -1.0, here)
            else:
                here_too = moved is not None and value in moved
                yield _Factor(what, kind, column, first, value, 1.0, here_too)
    else:
        steps = [float(before != after) for before, after in pairwise(values)]
        yield _Factor(what, kind, np.cumsum([0.0, *steps]), None, None, 1.0, here)


def _numbers(values: Sequence[str | None]) -> dict[str | None, float] | None:
    """The values as finite numbers, by logarithm where they span much; None if any is none."""
    try:
        numbers = {value: float(value or "") for value in values}
    except ValueError:
        return None
    if not all(abs(number) <= LARGEST for number in numbers.values()):  # False for NaN as well
        return None
    low, high = min(numbers.values()), max(numbers.values())
    if low > 0 and high / low >= WIDE:
        return {value: math.log10(number) for value, number in numbers.items()}
    return numbers


def _varies(factor: _Factor) -> bool:
    return bool(np.ptp(factor.values) > 0)


def _merged(factors: Sequence[_Factor]) -> list[list[_Factor]]:
    """Factors that no history can tell apart, together.

    Their columns say the same, or one says only that something changed, and in the very
    retrains in which another did.
    """
    groups: defaultdict[bytes, list[_Factor]] = defaultdict(list)
    for factor in sorted(factors, key=lambda factor: factor.counts_alike):
        column = (factor.values - factor.values[0]) / np.ptp(factor.values)
        first = column[np.flatnonzero(column)[0]]
        groups[np.round(np.sign(first) * column, 9).tobytes()].append(factor)
    merged = [group for group in groups.values() if not group[0].counts_alike]
    for group in groups.values():
        if group[0].counts_alike:
            when = group[0].changed
            same = [other for other in merged if np.array_equal(other[0].changed, when)]
            if same:
                same[0].extend(group)
            else:
                merged.append(group)
    return merged


def _row(group: Sequence[_Factor], found: Coefficient, pvalue: float) -> Associated:
    """A coefficient as the change of the error from the old value to the new one."""
    lead = group[0]
    ends = sorted(lead.step * end for end in found.interval)
    return Associated(
        what=tuple(factor.what for factor in group),
        kinds=tuple(dict.fromkeys(factor.kind for factor in group)),
        old=lead.old,
        new=lead.new,
        effect=lead.step * found.effect,
        interval=(ends[0], ends[1]),
        pvalue=pvalue,
        changed=int(np.count_nonzero(lead.changed)),
        here=any(factor.here for factor in group),
    )


def _sentences(hindsight: Hindsight, measure: Measure) -> Iterator[str]:
    """The associations that were shown, and that none of them is a cause."""
    shown = [row for row in hindsight.associated if row.pvalue < ALPHA]
    if not shown:
        return
    for row in shown[:NAMED]:
        yield (
            f"Over {hindsight.retrains} earlier retrains, {_names(row)} went with "
            f"{_by(row, measure)}; p = {row.pvalue:.2g}, adjusted for "
            f"{len(hindsight.associated)})."
        )
    yield (
        "That is an association, which is no proof of a cause: whatever else changed in the "
        "same retrains goes with it too. `backslide attribute` prints the runs that settle it."
    )


def _names(row: Associated) -> str:
    if len(row.what) == 1:
        return row.what[0]
    names = [name.removeprefix(PARAMETER) for name in row.what]
    return f"{', '.join(names[:-1])} and {names[-1]}, which always changed together,"


def _by(row: Associated, measure: Measure) -> str:
    """`0.31 points more errors at 0.2 than at 0.1 (95 % interval 0.12 to 0.50 more`."""
    places = decimals(row.interval[1] - row.interval[0], measure)
    by = size(row.effect, measure, places)
    if measure == "error":
        said = f"{by} {'fewer' if row.effect < 0 else 'more'} errors"
    else:
        said = f"a {LOSSES[measure]} {by} {'lower' if row.effect < 0 else 'higher'}"
    where = "with each change"
    if row.old != row.new:
        where = f"at {_value(row.new)} than at {_value(row.old)}"
    words = interval_words(row.interval, places, measure)
    return f"{said} {where} (95 % interval {words}"


def _value(value: str | None) -> str:
    return "none" if value is None else value[:40]
