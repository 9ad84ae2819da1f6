"""`make inside`: plants changes, judges, and writes a table: `python -m benchmarks.inside`.

One network at a time with `--network`; `--table` alone writes the page from what is there.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from benchmarks.inside.judging import findings, run_of
from benchmarks.inside.networks import LIMITS_FROM, REPORTED, Network, digits
from benchmarks.inside.page import page
from benchmarks.inside.plants import Retrain, again, fresh, planted

HERE = Path(__file__).parent
ROUNDS = 2
"""Times that every fault is planted, in retrains of another base."""
REFERENCES, HEALTHY_WARM, HEALTHY_COLD = 9, 6, 6
FIRST_SEED = 9_000
"""Of the reported runs; limits were set on seeds below 1,000."""


def results(network: Network, start: int) -> list[dict[str, object]]:
    """Every retrain of one base of a network, with what was found."""
    data = digits()
    rows: list[dict[str, object]] = []
    base = fresh(network, data, start)
    old = run_of("base", base, data, 100)
    cold = tuple(
        run_of(f"cold-{i}", fresh(network, data, start + 1 + i), data, i).inside
        for i in range(REFERENCES)
    )
    healthy = [
        Retrain("healthy", "", True, s, again(base, data, s))
        for s in range(start + 20, start + 20 + HEALTHY_WARM)
    ] + [
        Retrain("healthy", "", False, s, fresh(network, data, s))
        for s in range(start + 30, start + 30 + HEALTHY_COLD)
    ]
    for each in (*healthy, *planted(network, base, data, start + 50)):
        new = run_of(each.fault, each.model, data, 200, parent=old.run_id if each.warm else "")
        found = findings(new, old, () if each.warm else cold)
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
    parser.add_argument("--limits", action="store_true", help="the networks for setting limits")
    parser.add_argument("--table", action="store_true", help="only write the page")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.limits:
        for network in LIMITS_FROM:
            if asked.network is None or network.name in asked.network:
                results(network, 0)
        return
    for network in () if asked.table else REPORTED:
        if asked.network is None or network.name in asked.network:
            for turn in range(ROUNDS) if asked.round is None else asked.round:
                rows = results(network, FIRST_SEED + 100 * turn)
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (HERE / f"{network.name}-{turn}.jsonl").write_text(lines)
    limits = ", ".join(network.name for network in LIMITS_FROM)
    (HERE / "README.md").write_text(page(sorted(HERE.glob("*.jsonl")), limits))


if __name__ == "__main__":
    main()
