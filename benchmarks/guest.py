"""What a run costs in memory and on disk: `python -m benchmarks.guest`."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from mlflow import MlflowClient
from tests.mlflow_server import MlflowServer
from tests.sdk.ship import tools
from torch import nn

import backslide
from backslide.contract import Artifact
from backslide.measure.snapshot import STATISTICS
from backslide.spool.frames import Kind
from backslide.spool.segments import read, segment_path, segments

PAGE = Path(__file__).with_suffix(".md")
MARK = "<!-- figures -->"
LAYERS, WIDTH, STEPS = 200, 16, 1_000
MILLION = 1_000_000

ENDLESS = """
import json, resource, sys, time
import numpy as np
import backslide

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

run = backslide.start("endless", overhead=None)
took = np.empty(int(sys.argv[1]), np.int64)
took[:] = 0
for step in range(10_000):
    run.step(loss=0.5)
before, began = resident(), time.perf_counter()
for step in range(len(took)):
    start = time.perf_counter_ns()
    run.step(loss=0.5)
    took[step] = time.perf_counter_ns() - start
seconds, after = time.perf_counter() - began, resident()
began = time.perf_counter()
run.finish()
print(json.dumps({
    "growth": after - before,
    "seconds": seconds,
    "p50": float(np.percentile(took, 50)) / 1e3,
    "p99": float(np.percentile(took, 99)) / 1e3,
    "finish": time.perf_counter() - began,
}))
"""


def endless() -> str:
    """A million steps without a server."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", ENDLESS, str(MILLION)],
            env=tools.environment("http://127.0.0.1:9", Path(folder)),
            capture_output=True,
            text=True,
            check=True,
        )
        (spool,) = tools.spools(Path(folder))
        size = sum(segment_path(spool, n).stat().st_size for n in segments(spool))
        for orphan in tools.shipper_of(spool):  # it would go on trying for an hour
            os.kill(orphan, 9)
    found = json.loads(done.stdout)
    figures = (
        f"memory {found['growth'] / 1e6:+.2f} MB",
        f"disk {size / 1e6:.0f} MB ({size / (MILLION + 10_000):.0f} bytes a step)",
        f"`step` p50 {found['p50']:.0f} µs, p99 {found['p99']:.0f} µs",
        f"`finish` {found['finish']:.1f} s",
    )
    return f"| {MILLION:,} steps of one scalar, no server | {', '.join(figures)} |"


def layers() -> list[str]:
    """A run of 200 layers with four roles each, watched at every step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Deep()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with (
        tempfile.TemporaryDirectory() as folder,
        MlflowServer(Path(folder, "server")) as server,
    ):
        root = Path(folder, "spool")
        os.environ["BACKSLIDE_OFFLINE"] = "1"
        with backslide.start(
            "deep", model=model, optimizer=optimizer, overhead=None, spool_dir=root
        ) as run:
            for _ in range(STEPS):
                inputs = torch.randn(32, WIDTH)
                loss = (model(inputs) - inputs.roll(1, 1)).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.step(loss=loss)
        (spool,) = tools.spools(root)
        kept = sum(
            len(record.payload)
            for number in segments(spool)
            for record in read(segment_path(spool, number), 0, closed=True).records
            if record.kind == Kind.SNAPSHOT
        )
        assert tools.sync(server.uri, root).exit_code == 0
        client = MlflowClient(server.uri)
        (stored,) = client.search_runs(["0"])
        listed = client.list_artifacts(stored.info.run_id, Artifact.LAYERS)
        size = sum(info.file_size for info in listed)
    values = STEPS * LAYERS * 4 * len(STATISTICS)
    what = f"{STEPS:,} steps x {LAYERS} layers x 4 roles x {len(STATISTICS)} statistics"
    stored_as = f"{size / 1e6:.1f} MB in {len(listed)} parts, {size / values:.2f} bytes a value"
    return [
        f"| {what}, with histograms | {values:,} values |",
        f"| in the spool | {kept / 1e6:.1f} MB, {kept / values:.2f} bytes a value |",
        f"| in MLflow | {stored_as} |",
    ]


class Deep(nn.Module):
    """Residual layers, so that signals and gradients live through all 200 of them."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            inputs = inputs + 0.1 * layer(inputs).tanh()
        return inputs


def main() -> None:
    lines = [endless(), *layers()]
    page = [
        MARK,
        "",
        f"torch {torch.__version__}, {os.cpu_count()} cores ({platform.machine()}), load "
        f"average {os.getloadavg()[0]:.1f}.",
        "",
        "| what | how much |",
        "|---|---|",
        *lines,
        "",
    ]
    print("\n".join(page))
    PAGE.write_text(PAGE.read_text().split(MARK)[0] + "\n".join(page))


if __name__ == "__main__":
    main()
