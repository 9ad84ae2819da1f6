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
from dataclasses import asdict
from pathlib import Path

import click
from benchmarks.smalldata.measure import Outcome, judge
from benchmarks.smalldata.page import PARTS, page, summary

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("results.md")
SEEDS = (0, 1, 2)


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
        if some := [o for o in known if o.part == part]:
            click.echo(f"{part}: {summary(some)}")


if __name__ == "__main__":
    main()
