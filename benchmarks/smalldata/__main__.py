"""The small-data test on planted faults and healthy trainings.

A seed is another split of the data and other initial weights. Thresholds were chosen on the
part `tuned`; the part `held-out` has other networks, data and faults.

    python -m benchmarks.smalldata

The runs go seed by seed, and in an order drawn at random within a seed, so that those made so
far are a fair sample of all. Each is kept in results.json and not made again; delete the file
after a change. The page beside it is written from all of them.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import click
from benchmarks.smalldata.cases import cases
from benchmarks.smalldata.measure import Outcome, judge
from benchmarks.smalldata.page import PARTS, page, summary

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("results.md")
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", choices=PARTS, help="this part alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    asked = parser.parse_args()
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = [Outcome(**row) for row in kept]
    there = {(o.part, o.network, o.case, o.seed) for o in known}
    jobs = [
        (part, number, seed)
        for part in ([asked.part] if asked.part else PARTS)
        for number, (network, case, *_) in enumerate(cases(part))
        for seed in asked.seeds
        if (part, network, case, seed) not in there
    ]
    Random(0).shuffle(jobs)
    jobs.sort(key=lambda job: job[2])
    planned = {part: len(list(cases(part))) for part in PARTS}
    for outcome in judge(jobs, asked.workers) if jobs else ():
        known.append(outcome)
        rows = ",\n".join(json.dumps(asdict(o)) for o in known)
        RESULTS.write_text(f"[\n{rows}\n]\n")
        PAGE.write_text(page(known, planned))
    for part in PARTS:
        if some := [o for o in known if o.part == part]:
            click.echo(f"{part}: {summary(some)}")


if __name__ == "__main__":
    main()
