"""The small-data test on planted faults and healthy trainings; writes its page beside it.

Thresholds were chosen on the part `tuned` alone. The part `held-out` (other networks, data and
faults) was run only after they were frozen; what it showed is on the page as it came.

    python -m benchmarks.smalldata --part tuned --seeds 1
    python -m benchmarks.smalldata        # both parts, three seeds, and the page
"""

import argparse
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import click
from benchmarks.smalldata_cases import cases
from benchmarks.smalldata_networks import parts_of

from backslide.smalldata import SmallDataVerdict

PAGE = Path(__file__).with_suffix(".md")
KINDS = ["ok", "code", "optimizer", "capacity", "data"]


@dataclass(frozen=True)
class Outcome:
    part: str
    network: str
    case: str
    seed: int
    kinds: str
    causes: set[str | None]
    verdict: SmallDataVerdict
    seconds: float

    @property
    def right_kind(self) -> bool:
        return self.verdict.kind in self.kinds.split()

    @property
    def right_cause(self) -> bool:
        return self.right_kind and self.verdict.cause in self.causes

    @property
    def found(self) -> str:
        cause = self.verdict.cause
        return f"{self.verdict.kind}, {cause}" if cause else str(self.verdict.kind)


def judge_one(part: str, number: int, seed: int) -> Outcome:
    network, name, plant, kinds, causes = list(cases(part))[number]
    parts = plant(parts_of(network, seed))
    begin = time.process_time()
    verdict = parts.judge()
    seconds = time.process_time() - begin
    return Outcome(part, network, name, seed, kinds, causes, verdict, seconds)


def judge(part: str, seeds: int, workers: int, only: str) -> list[Outcome]:
    work = [
        (part, number, seed)
        for number, (network, name, *_) in enumerate(cases(part))
        if not only or only in {network, name, f"{network}/{name}"}
        for seed in range(seeds)
    ]
    found = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(judge_one, *zip(*work, strict=True)):
            found.append(outcome)
            line = f"{part} {len(found)}/{len(work)} {outcome.network} / {outcome.case}"
            click.echo(f"{line}: {outcome.found} ({outcome.seconds:.1f} s)", err=True)
            if not outcome.right_cause:
                wanted = f"{outcome.kinds} {outcome.causes}"
                click.echo(f"--- {line} / {outcome.seed}, wanted {wanted}\n{outcome.verdict}")
    return found


def summary(found: list[Outcome]) -> str:
    faulty = [o for o in found if o.kinds != "ok"]
    healthy = [o for o in found if o.kinds == "ok"]
    seconds = sorted(o.seconds for o in found)

    def share(values: list[bool]) -> str:
        return f"{sum(values)}/{len(values)}"

    return (
        f"Faulty: right kind {share([o.right_kind for o in faulty])}, right cause "
        f"{share([o.right_cause for o in faulty])}. Healthy found ok: "
        f"{share([o.right_kind for o in healthy])}. CPU seconds a run: median "
        f"{seconds[len(seconds) // 2]:.1f}, longest {seconds[-1]:.1f}."
    )


def confusion(found: list[Outcome]) -> list[str]:
    counts = Counter((o.kinds, str(o.verdict.kind)) for o in found)
    rows = sorted({o.kinds for o in found}, key=lambda k: KINDS.index(k.split()[0]))
    lines = ["| planted \\ found | " + " | ".join(KINDS) + " |", "|---" * 6 + "|"]
    for row in rows:
        cells = " | ".join(str(counts[row, kind]) for kind in KINDS)
        lines.append(f"| {row.replace(' ', ' or ')} | {cells} |")
    return lines


def page(found: list[Outcome], seeds: int) -> str:
    lines = [
        "# The small-data test, measured",
        "",
        "Written by `python -m benchmarks.smalldata`. Faults and test have the same author. "
        "Thresholds were chosen on the first part and frozen before the second was run.",
    ]
    for part in ("tuned", "held-out"):
        some = [o for o in found if o.part == part]
        planned = seeds * len(list(cases(part)))
        lines += ["", f"## {part.capitalize()}: {len(some)} of {planned} runs", ""]
        lines += [summary(some), ""]
        lines += [*confusion(some), "", "### Not as planted", ""]
        lines += ["| network | case | seed | planted | found | kind |", "|---" * 6 + "|"]
        lines += [
            f"| {o.network} | {o.case} | {o.seed} | {o.kinds.replace(' ', ' or ')} | {o.found} "
            f"| {'right' if o.right_kind else 'wrong'} |"
            for o in some
            if not o.right_cause
        ]
        lines += ["", "### Every case", "", "| network | case | found |", "|---" * 3 + "|"]
        groups: dict[tuple[str, str], Counter[str]] = {}
        for o in some:
            groups.setdefault((o.network, o.case), Counter())[o.found] += 1
        lines += [
            f"| {network} | {case} | " + "; ".join(f"{n} × {v}" for v, n in c.items()) + " |"
            for (network, case), c in groups.items()
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["tuned", "held-out", "both"], default="both")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="a network, a case, or network/case")
    asked = parser.parse_args()
    parts = ["tuned", "held-out"] if asked.part == "both" else [asked.part]
    found = [o for part in parts for o in judge(part, asked.seeds, asked.workers, asked.only)]
    for part in parts:
        print(part, summary([o for o in found if o.part == part]))
    if asked.part == "both" and not asked.only:
        PAGE.write_text(page(found, asked.seeds))


if __name__ == "__main__":
    main()
