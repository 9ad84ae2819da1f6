"""The small-data test on planted faults and healthy trainings, three seeds each.

A seed is another split of the data and other initial weights. Thresholds were chosen on the
part `tuned`; the part `held-out` has other networks, data and faults.

    python -m benchmarks.smalldata                            # everything
    python -m benchmarks.smalldata --part tuned --seed 0      # a piece of it

Each run is kept in results.json and not made again; delete the file after a change. The page
beside it is written from all of them.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import click
from benchmarks.smalldata.cases import cases
from benchmarks.smalldata.networks import parts_of

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("results.md")
KINDS = ("ok", "code", "optimizer", "capacity", "data")
PARTS = ("tuned", "held-out")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Outcome:
    """One run of the test.

    Attributes:
        kinds, causes: What would be right.
        kind, cause: What was found.
        seconds: Of processor time.
    """

    part: str
    network: str
    case: str
    seed: int
    kinds: list[str]
    causes: list[str | None]
    kind: str
    cause: str | None
    seconds: float

    @property
    def right_kind(self) -> bool:
        return self.kind in self.kinds

    @property
    def right_cause(self) -> bool:
        return self.right_kind and self.cause in self.causes

    @property
    def found(self) -> str:
        return f"{self.kind}, {self.cause}" if self.cause else self.kind


def judge_one(part: str, number: int, seed: int) -> Outcome:
    network, name, plant, kinds, causes = list(cases(part))[number]
    parts = plant(parts_of(network, seed))
    begin = time.process_time()
    verdict = parts.judge()
    seconds = time.process_time() - begin
    wanted = sorted(causes, key=str)
    found = (str(verdict.kind), verdict.cause, round(seconds, 2))
    return Outcome(part, network, name, seed, kinds.split(), wanted, *found)


def judge(part: str, seed: int, workers: int, known: list[Outcome]) -> Iterator[Outcome]:
    """Runs what is not known yet."""
    there = {(o.part, o.network, o.case, o.seed) for o in known}
    numbers = [
        number
        for number, (network, name, *_) in enumerate(cases(part))
        if (part, network, name, seed) not in there
    ]
    work = ([part] * len(numbers), numbers, [seed] * len(numbers))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, outcome in enumerate(pool.map(judge_one, *work), start=1):
            yield outcome
            mark = "" if outcome.right_cause else f", wanted {outcome.kinds} {outcome.causes}"
            click.echo(
                f"{part} {seed}, {done}/{len(numbers)}, {outcome.network} / {outcome.case}: "
                f"{outcome.found} ({outcome.seconds:.1f} s){mark}",
                err=True,
            )


def share(values: Iterable[bool]) -> str:
    listed = list(values)
    return f"{sum(listed)} of {len(listed)}"


def summary(found: list[Outcome]) -> str:
    faulty = [o for o in found if o.kinds != ["ok"]]
    healthy = [o for o in found if o.kinds == ["ok"]]
    seconds = sorted(o.seconds for o in found)
    return (
        f"Faulty: right kind {share(o.right_kind for o in faulty)}, right cause "
        f"{share(o.right_cause for o in faulty)}. Healthy found ok: "
        f"{share(o.right_kind for o in healthy)}. CPU seconds a run: median "
        f"{seconds[len(seconds) // 2]:.1f}, longest {seconds[-1]:.1f}."
    )


def confusion(found: list[Outcome]) -> list[str]:
    counts = Counter((" or ".join(o.kinds), o.kind) for o in found)
    rows = sorted({row for row, _ in counts}, key=lambda row: KINDS.index(row.split()[0]))
    lines = ["| planted \\ found | " + " | ".join(KINDS) + " |", "|---" * 6 + "|"]
    for row in rows:
        cells = " | ".join(str(counts[row, kind]) for kind in KINDS)
        lines.append(f"| {row} | {cells} |")
    return lines


def page(found: list[Outcome]) -> str:
    lines = [
        "# The small-data test, measured",
        "",
        "Written by `make smalldata`. Faults and test have the same author. Thresholds were "
        "chosen on the first part.",
    ]
    for part in PARTS:
        some = [o for o in found if o.part == part]
        if not some:
            continue
        seeds = ", ".join(str(seed) for seed in sorted({o.seed for o in some}))
        lines += ["", f"## {part.capitalize()}: {len(some)} runs, seeds {seeds}", ""]
        lines += [summary(some), "", *confusion(some), "", "### Not as planted", ""]
        lines += ["| network | case | seed | planted | found | kind |", "|---" * 6 + "|"]
        lines += [
            f"| {o.network} | {o.case} | {o.seed} | {' or '.join(o.kinds)} | {o.found} "
            f"| {'right' if o.right_kind else 'wrong'} |"
            for o in some
            if not o.right_cause
        ]
        lines += ["", "### Every case", "", "| case | networks | found |", "|---" * 3 + "|"]
        groups: dict[str, list[Outcome]] = {}
        for o in some:
            groups.setdefault(o.case, []).append(o)
        for case, group in groups.items():
            networks = ", ".join(dict.fromkeys(o.network for o in group))
            counted = Counter(o.found for o in group).most_common()
            said = "; ".join(f"{n} × {what}" for what, n in counted)
            lines.append(f"| {case} | {networks} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = [Outcome(**row) for row in kept]
    for seed in SEEDS if asked.seed is None else (asked.seed,):
        for part in PARTS if asked.part is None else (asked.part,):
            for outcome in judge(part, seed, asked.workers, known):
                known.append(outcome)
                rows = ",\n".join(json.dumps(asdict(o)) for o in known)
                RESULTS.write_text(f"[\n{rows}\n]\n")
    PAGE.write_text(page(known))
    for part in PARTS:
        click.echo(f"{part}: " + summary([o for o in known if o.part == part]))


if __name__ == "__main__":
    main()
