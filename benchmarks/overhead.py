"""What watching costs: step time with and without, on an MLP, a CNN and a small transformer.

    python -m benchmarks.overhead [--blocks N]

Two copies of a model are trained on the same batches in one process, one of them watched; their
steps alternate and the order flips every time, so that a slow phase of the machine hits both.
Medians of paired differences, in CPU time of the one training thread, to which other programs
add little. Prints a table and writes it to benchmarks/overhead.md.
"""

import argparse
import copy
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from backslide.measure.watch import Watch

TARGETS = {"MLP": 2.0, "CNN": 10.0, "transformer": 12.0}
"""Milliseconds a sampled step may cost."""

WARM_UP = 5


class Transformer(nn.Module):
    """Four encoder layers, width 128, on sequences of 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def mlp() -> tuple[nn.Module, Tensor]:
    layers = [nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10)), torch.randn(128, 784)


def cnn() -> tuple[nn.Module, Tensor]:
    sizes = [(3, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)]
    layers: list[nn.Module] = []
    for inputs, outputs, stride in sizes:
        layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU()]
    head = [nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers, *head), torch.randn(64, 3, 32, 32)


def transformer() -> tuple[nn.Module, Tensor]:
    return Transformer(), torch.randint(0, 256, (16, 64))


MODELS = {"MLP": mlp, "CNN": cnn, "transformer": transformer}


def compare(make: Callable[[], tuple[nn.Module, Tensor]], steps: int, *, every: bool) -> dict:
    """Trains a bare and a watched copy in turns.

    With the default settings the first two seconds of watching are free, so the watched copy
    starts with that allowance spent: what is measured is a long job.
    """
    model, inputs = make()
    twin = copy.deepcopy(model)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-3) for each in (model, twin)]
    watch = Watch(twin, [optimizers[1]], overhead=None if every else 0.01)
    targets = torch.randint(0, 10, (len(inputs),))
    idle: list[float] = []
    sampled = 0

    def step(which: int, number: int) -> float:
        nonlocal sampled
        start = thread_time()
        optimizers[which].zero_grad()
        F.cross_entropy((model, twin)[which](inputs), targets).backward()
        optimizers[which].step()
        if which:
            before = thread_time()
            got = len(watch.step(number))
            sampled += got
            if not got and number >= WARM_UP:
                idle.append(thread_time() - before)
        return thread_time() - start

    for number in range(WARM_UP):
        step(0, number)
        step(1, number)
    if not every:
        watch._cadence.spent += 2.0  # noqa: SLF001  # the allowance of a short job
    sampled = 0
    bare, pairs, total = [], [], [0.0, 0.0]
    for number in range(WARM_UP, WARM_UP + steps):
        times = [0.0, 0.0]
        for which in ((0, 1), (1, 0))[number % 2]:
            times[which] = step(which, number)
        bare.append(times[0])
        pairs.append(times[1] - times[0])
        total = [total[0] + times[0], total[1] + times[1]]
    watch.close()
    base = statistics.median(bare)
    return {
        "bare": base * 1e3,
        "extra": statistics.median(pairs) * 1e3,
        "ratio": 1 + statistics.median(pairs) / base,
        "total": total[1] / total[0],
        "sampled": sampled,
        "steps": steps,
        "idle": sorted(idle)[int(0.99 * len(idle))] * 1e6 if idle else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what watching costs.")
    parser.add_argument("--blocks", type=int, default=1, help="multiplies the number of steps")
    blocks = parser.parse_args().blocks
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = [
        "| model | bare ms | every step: extra ms | target | ratio | default: snapshots | "
        "total ratio | idle `step` p99 µs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    load = os.getloadavg()[0]
    for name, make in MODELS.items():
        steps = (80 if name == "MLP" else 14) * blocks
        every = compare(make, steps, every=True)
        default = compare(make, 2 * steps, every=False)
        idle = "-" if default["idle"] is None else f"{default['idle']:.0f}"
        lines.append(
            f"| {name} | {every['bare']:.1f} | {every['extra']:.1f} | {TARGETS[name]:.0f} | "
            f"{every['ratio']:.3f} | {default['sampled']} of {default['steps']} | "
            f"{default['total']:.3f} | {idle} |"
        )
    cores = os.cpu_count()
    head = (
        f"torch {torch.__version__}, one thread, {cores} cores ({platform.machine()}), "
        f"load average {load:.1f} at the start and {os.getloadavg()[0]:.1f} at the end."
    )
    text = "\n".join(lines)
    print(head, text, sep="\n\n")
    note = (Path(__file__).parent / "overhead.md").read_text().partition("<!-- figures -->")[0]
    (Path(__file__).parent / "overhead.md").write_text(
        f"{note}<!-- figures -->\n\n{head}\n\n{text}\n"
    )


if __name__ == "__main__":
    main()
