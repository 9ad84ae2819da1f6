"""`make inside`: plants changes, judges, and writes a table: `python -m benchmarks.inside`.

One network at a time with `--network`; `--table` alone writes the page from what is there.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

import torch
from benchmarks.inside.judging import findings, run_of
from benchmarks.inside.networks import LIMITS_FROM, REPORTED, Network, digits
from benchmarks.inside.page import page
from benchmarks.inside.plants import cold, fresh, warm

from backslide_detector.probe import Inside

HERE = Path(__file__).parent
ROUNDS = 2
"""Times that every fault is planted, in retrains of another base."""
REFERENCES = 9
"""Healthy runs beside the base that cold retrains are held against."""
STARTS = ("warm", "cold")
FIRST_SEED = {"warm": 9_000, "cold": 12_000}
"""Of the reported runs; limits were set on seeds below 1,000."""


def results(network: Network, seed: int, start: str) -> list[dict[str, object]]:
    """Every retrain of one base of a network, with what was found."""
    data = digits()
    rows: list[dict[str, object]] = []
    base = fresh(network, data, seed)
    old = run_of("base", base, data, 100)
    others: tuple[Inside, ...] = ()
    if start == "cold":
        others = tuple(
            run_of(f"cold-{i}", fresh(network, data, seed + 1 + i), data, i).inside
            for i in range(REFERENCES)
        )
    first = seed + 20
    retrains = (
        warm(network, base, data, first) if start == "warm" else cold(network, data, first)
    )
    for each in retrains:
        new = run_of(each.fault, each.model, data, 200, parent=old.run_id if each.warm else "")
        found = findings(new, old, others)
        rows.append(
            {
                "network": network.name,
                "fault": each.fault,
                "start": "warm" if each.warm else "cold",
                "place": each.place,
                "seed": each.seed,
                "error": round(new.error.rate, 4) if new.error else None,
                "error_before": round(old.error.rate, 4) if old.error else None,
                "found": found,
            }
        )
        print(json.dumps(rows[-1]), file=sys.stderr)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", help="only these")
    parser.add_argument("--round", action="append", type=int, help="only these")
    parser.add_argument("--start", action="append", choices=STARTS, help="only these")
    parser.add_argument("--limits", action="store_true", help="the networks for setting limits")
    parser.add_argument("--table", action="store_true", help="only write the page")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    networks = LIMITS_FROM if asked.limits else () if asked.table else REPORTED
    for network in networks:
        if asked.network is not None and network.name not in asked.network:
            continue
        for turn, start in product(asked.round or range(ROUNDS), asked.start or STARTS):
            seed = (0 if asked.limits else FIRST_SEED[start]) + 100 * turn
            rows = results(network, seed, start)
            if not asked.limits:
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (HERE / f"{network.name}-{start}-{turn}.jsonl").write_text(lines)
    if asked.limits:
        return
    limits = ", ".join(network.name for network in LIMITS_FROM)
    (HERE / "README.md").write_text(page(sorted(HERE.glob("*.jsonl")), limits))


if __name__ == "__main__":
    main()
