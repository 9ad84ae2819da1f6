"""The zoo's figures as a page and as a table."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence

from statsmodels.stats.proportion import proportion_confint
from tests.zoo.cases import SEEDS
from tests.zoo.judging import Judged

Runs = Sequence[Judged]
Findings = Callable[[Judged], tuple[str, ...]]

HARM = 0.03

INTRODUCTION = """# The zoo

Small networks, healthy and faulty, trained with the SDK watching and judged by all checks;
written by `make zoo`. `tests/zoo/cases.py` says what lives here and how the halves were set.
Thresholds may be chosen on the development half; the held-out half shares with it no
architecture on the same data and no seed. Every run is listed in [zoo.csv](zoo.csv).

What was seen before: the development half, on which the checks were written. The held-out half
was reported on four times, on seeds 100 to 103, and the lists of what went wrong then were
known when the checks were changed: its evidence was hardly looked at, but the names of its hard
kinds were no secret, and kinds like them were added to the development half, in other networks
and on other data. Faults that did nothing (a root that was never taken of zero, a logarithm
that never got a negative number) and controls that did end badly (a rate too high in one cycle,
batches of two that were stopped early) were mended in both halves alike.

A faulty run should carry a finding, and an accepted label first (several are accepted where a
fault has several names). A silent fault looks well from outside and is counted apart. A fault
*did no harm* where, with the same seed, the run ended within three points of the test error
(0.03 of the variance, for numbers) of the same training without it: it learned all there was to
learn, and is left alone on purpose. A healthy run should carry no finding.

Intervals are Clopper and Pearson's at 95 %, as if runs were independent; seeds of one case are
not quite. *Losses and layers alone*: without errors, class counts, predictions and further
scalars.
"""


def page(found: Runs) -> str:
    lines = [INTRODUCTION]
    for half in SEEDS:
        some = [run for run in found if run.half == half]
        if some:
            lines += [f"## {half.capitalize()}", "", *_summary(some), *_confusion(some)]
            lines += _misses(some)
    return "\n".join(lines) + "\n"


def _summary(found: Runs) -> list[str]:
    lines = ["| | runs | any finding | accepted label first | among the first three |"]
    lines += ["|---|---|---|---|---|"]
    harmless = set(map(_key, did_no_harm(found)))
    kinds = {
        "faulty, harm done or silent": [
            r for r in found if r.labels and _key(r) not in harmless
        ],
        "faulty, not silent": [r for r in found if r.labels and not r.silent],
        "faulty, silent": [r for r in found if r.labels and r.silent],
        "faulty, all": [r for r in found if r.labels],
        "healthy": [r for r in found if not r.labels],
    }
    sources: dict[str, Findings] = {
        "": lambda run: run.full,
        ", losses and layers alone": lambda run: run.least,
    }
    for source, names in sources.items():
        for kind, runs in kinds.items():
            hits = [_share(sum(bool(names(r)) for r in runs), len(runs))]
            for most in (1, 3):
                right = sum(bool({*names(r)[:most]} & {*r.labels}) for r in runs)
                hits.append(_share(right, len(runs)) if kind != "healthy" else "")
            lines.append(f"| {kind}{source} | {len(runs)} | {' | '.join(hits)} |")
    return [*lines, ""]


def _key(run: Judged) -> tuple[str, int]:
    return run.name, run.seed


def did_no_harm(found: Runs) -> list[Judged]:
    """Faulty runs, not meant to be silent, that ended as well as their untouched twins."""
    twins = {
        (run.half, run.world, run.seed): run.outcome
        for run in found
        if run.what == "as-it-is" and run.outcome is not None
    }
    return [
        run
        for run in found
        if run.labels and not run.silent and run.what != "stalled" and run.outcome is not None
        if run.outcome < twins.get((run.half, run.world, run.seed), -1.0) + HARM
    ]


def _share(count: int, of: int) -> str:
    if not of:
        return ""
    low, high = proportion_confint(count, of, method="beta")
    return f"{count} = {count / of:.1%} ({low:.1%} to {high:.1%})"


def _confusion(found: Runs) -> list[str]:
    """What was found first, by the name of the fault."""
    lines = ["| planted | runs | found first |", "|---|---|---|"]
    planted = sorted({(run.labels or ("healthy",))[0] for run in found})
    for label in planted:
        runs = [run for run in found if (run.labels or ("healthy",))[0] == label]
        first = Counter(run.full[0] if run.full else "nothing" for run in runs)
        told = ", ".join(f"{name} {count}" for name, count in first.most_common())
        lines.append(f"| {label} | {len(runs)} | {told} |")
    return [*lines, ""]


def _misses(found: Runs) -> list[str]:
    lines = ["| not as it should be | seeds | accepted | found |", "|---|---|---|---|"]
    harmless = set(map(_key, did_no_harm(found)))
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for run in found:
        if not run.well:
            mark = " (did no harm)" if _key(run) in harmless else ""
            place = (f"{run.what}/{run.world}{mark}", run.labels, run.full)
            groups.setdefault(place, []).append(str(run.seed))
    for (name, labels, full), seeds in groups.items():
        cells = (name, ", ".join(seeds), ", ".join(labels), ", ".join(full))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def rows(found: Runs) -> str:
    """Every run, one a line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["case", "seed", "accepted", "silent", "found", "found from losses and layers alone"]
    )
    for run in found:
        lists = [" ".join(names) for names in (run.labels, run.full, run.least)]
        writer.writerow([run.name, run.seed, lists[0], run.silent, *lists[1:]])
    return text.getvalue()
