"""How fast answers come: seconds from run end to verdict, and runs scanned a second.

    python -m benchmarks.detector

A real MLflow server (SQLite, one worker) on this machine. Runs a second: one pass over plain
runs with a loss curve, an error and a test-set size, judged in lineages of ten; then a pass
that finds nothing new. Run end to verdict: real training jobs through the SDK, beside a
detector that looks every two seconds. Prints a table and writes it to benchmarks/detector.md.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow.entities import Metric as Point
from mlflow.entities import Param, RunTag
from mlflow.tracking import MlflowClient
from tests.e2e.commands import environment, train
from tests.mlflow_server import MlflowServer

from backslide.contract import Tag
from backslide_detector import settings
from backslide_detector.scan import scan
from backslide_detector.service import detector

PAGE = Path(__file__).with_suffix(".md")
RUNS = 60
JOBS = 5
EVERY = 2


def make_plain_runs(uri: str) -> None:
    """Ten retrains in each of six lineages, 200 steps of loss each."""
    client = MlflowClient(uri)
    experiment = client.create_experiment("plain")
    for number in range(RUNS):
        run = client.create_run(
            experiment, tags={Tag.LINEAGE: f"lineage-{number // 10}"}
        ).info.run_id
        now = int(time.time() * 1_000)
        points = [Point("loss", 2.3 * 0.98**step, now, step) for step in range(200)]
        error = 0.03 + 0.001 * (number % 7)
        client.log_batch(
            run,
            metrics=[*points, Point("test_error", error, now, 200)],
            params=[Param("test_examples", "10000")],
            tags=[RunTag("mlflow.runName", f"run-{number}")],
        )
        client.set_terminated(run)


def scan_rates(uri: str, home: Path) -> tuple[float, float, float]:
    """Runs a second, detector CPU milliseconds a run, seconds of a pass without news."""
    options = settings.load(tracking_uri=uri, state=str(home / "rate.db"), workers=1)
    with detector(options) as ready:
        list(scan(ready))  # nothing yet: connections and imports are not what is measured
        make_plain_runs(uri)
        begun, cpu = time.perf_counter(), time.process_time()
        judged = len(list(scan(ready)))
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        assert judged == RUNS
        idle = []
        for _ in range(5):
            begun = time.perf_counter()
            assert not list(scan(ready))
            idle.append(time.perf_counter() - begun)
    return judged / seconds, 1_000 * cpu / judged, statistics.median(idle)


def delays(uri: str, home: Path) -> list[float]:
    """Seconds from the end of a training job to its verdict, as MLflow saw them."""
    client = MlflowClient(uri)
    command = f"-m backslide.cli detector serve --every {EVERY} --state {home / 'serve.db'}"
    serving = subprocess.Popen(
        [sys.executable, *command.split()],
        env=environment(uri, home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found = []
    try:
        for seed in range(JOBS):
            run_id = train(uri, home, "--seed", str(seed), "--lineage", "delay")
            while Tag.VERDICT not in (run := client.get_run(run_id)).data.tags:
                time.sleep(0.1)
            found.append(time.time() - run.info.end_time / 1_000)
    finally:
        serving.terminate()
        serving.wait()
    return found


def main() -> None:
    """Measures and writes the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with MlflowServer(home / "mlflow") as server:
            rate, cpu, idle = scan_rates(server.uri, home)
            waits = delays(server.uri, home)
    text = f"""# How fast answers come

Written by `python -m benchmarks.detector`: MLflow on SQLite with one worker, everything on one
machine ({platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} at the start).

| measured | value |
|---|---|
| plain runs judged a second (of {RUNS}, one worker) | {rate:.1f} |
| detector CPU a run | {cpu:.0f} ms |
| a pass without news over {RUNS} judged runs, median of 5 | {idle:.2f} s |
| end of a training job to its verdict, median of {JOBS} (looking every {EVERY} s) | \
{statistics.median(waits):.1f} s |
| the longest of them | {max(waits):.1f} s |
"""
    print(text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
