"""Findings on running jobs: the zoo's runs, cut short and judged as if they went on.

    python -m tests.zoo --keep FOLDER --record
    python -m benchmarks.live FOLDER

Each kept run is looked at fifty times on its way, each look judged by the engine as the service
does it: with what the look before has seen, and nothing of what comes later. Prints what
`live.md` holds.
"""

import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from tests.zoo.cases import CASES

from backslide_detector.earlier import until
from backslide_detector.engine import Case, judge
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Severity

LOOKS = tuple(range(2, 101, 2))
"""When a run is looked at, in percent of its steps."""


@dataclass(frozen=True)
class Look:
    """What one look at a running job brought.

    Attributes:
        percent: of its steps.
        step: the newest.
        seen: the checks that saw something.
        told: those of them that are on the run.
        stop: `backslide.stop` is on the run.
    """

    percent: int
    step: int
    seen: tuple[str, ...]
    told: tuple[str, ...]
    stop: bool


def looks(run: RunEvidence) -> Iterator[Look]:
    first, last = _span(run)
    seen: Mapping[str, int] = {}
    for percent in LOOKS:
        step = int(first + (last - first) * percent / 100)
        judged = judge(Case(until(run, step), live=True, seen=seen))
        assert judged.traceback is None, judged.traceback
        seen = judged.seen
        told = tuple(
            name
            for name, found in judged.judgement.findings
            if found.severity is not Severity.NOTE
        )
        yield Look(percent, step, tuple(judged.seen), told, judged.judgement.stop is not None)


def _span(run: RunEvidence) -> tuple[int, int]:
    steps = [s.steps for s in run.series.values() if len(s)]
    return min(int(s[0]) for s in steps), max(int(s[-1]) for s in steps)


@dataclass(frozen=True)
class Watched:
    """A kept run and all looks at it.

    Attributes:
        labels: the checks that would name its fault; empty for a healthy one.
    """

    name: str
    labels: tuple[str, ...]
    looks: tuple[Look, ...]


def watch(file: Path) -> Watched | None:
    """The looks at a run that `tests.zoo --keep` has kept; None if it left the zoo."""
    name, _ = file.stem.rsplit("+", 1)
    case = {case.name: case for case in CASES}.get(name.replace("+", "/"))
    if case is None:
        return None
    run = pickle.loads(file.read_bytes())
    return Watched(case.name, case.labels, tuple(looks(run)))


def table(watched: list[Watched]) -> Iterator[str]:
    """Rows of what runs carried, by kind."""
    healthy = [w for w in watched if not w.labels]
    faulty = [w for w in watched if w.labels]
    for kind, some in (("healthy", healthy), ("faulty", faulty)):
        seen = sum(any(look.seen for look in w.looks) for w in some)
        told = sum(any(look.told for look in w.looks) for w in some)
        stop = sum(any(look.stop for look in w.looks) for w in some)
        right = sum(any(set(look.told) & set(w.labels) for look in w.looks) for w in some)
        yield (f"| {kind} | {len(some)} | {seen} | {told} | {stop} | {right if some else ''} |")
    for w in healthy:
        for look in w.looks:
            if look.told:
                yield f"{w.name}: {', '.join(look.told)} at {look.percent} %, step {look.step}"
                break
    first = [next((k.percent for k in w.looks if k.told), None) for w in faulty]
    found = sorted(percent for percent in first if percent is not None)
    if found:
        yield f"Faulty runs: first told at {found[len(found) // 2]} % of the steps (median)."


def main() -> None:
    found = (watch(file) for file in sorted(Path(sys.argv[1]).glob("*.pickle")))
    for line in table([each for each in found if each is not None]):
        click.echo(line)


if __name__ == "__main__":
    main()
