"""Seconds and bytes of a probe."""

import time

import torch
from benchmarks.probe.networks import resnet18

from backslide.contract import PROBE_BYTES
from backslide.measure.probe.bounds import size
from backslide.measure.probe.probe import probe

EXAMPLES = 512
ROUNDS = 3


def cost() -> list[list[str]]:
    """Seconds of a probe, beside what no probe can do without."""
    torch.manual_seed(0)
    model, inputs = resnet18().eval(), torch.randn(EXAMPLES, 3, 32, 32)
    targets = torch.arange(EXAMPLES) % 10
    probe(model, inputs[:64], targets[:64])

    def forward() -> None:
        with torch.no_grad():
            for start in range(0, EXAMPLES, 64):
                model(inputs[start : start + 64])

    kept = []
    timed = {
        "one forward pass over them": forward,
        "a probe": lambda: kept.append(probe(model, inputs, targets)),
    }
    rows = []
    for name, run in timed.items():
        took = []
        for _ in range(ROUNDS):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            took.append((time.process_time() - cpu, time.perf_counter() - wall))
        best = min(took)
        rows.append([name, f"{best[0]:.2f}", f"{best[1]:.2f}"])
    stored = sum(size(table) for table in kept[-1].tables.values())
    left = "; ".join(kept[-1].facts["problems"]) or "nothing"
    share = f"{stored / 1e6:.2f} MB of {PROBE_BYTES / 1e6:.0f} MB"
    return [*rows, [f"its tables: {share}; left out: {left}", "", ""]]
