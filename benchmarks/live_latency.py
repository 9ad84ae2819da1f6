"""How soon a fault of a running job is on its run: real server, job, shipper and detector.

    python -m benchmarks.live_latency [--every SECONDS] [FAULT ...]

Prints a row a fault, as `live.md` holds them. Each job is `tests.e2e.live_job`; the detector
scans as often as it does by default, or every SECONDS.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from tests.e2e.live_job import FROM_THE_START, LATER
from tests.e2e.test_live import Job, Receiver
from tests.mlflow_server import MlflowServer

from backslide.contract import Tag
from backslide_detector.settings import Settings


def measure(uri: str, fault: str, every: float) -> list[str]:
    with TemporaryDirectory(prefix="live-") as home:
        job = Job(uri, Path(home), Receiver(), fault, every)
        try:
            evident = job.said("evident" if fault in FROM_THE_START else "ill")
            told = job.tagged(lambda tags: Tag.FINDINGS in tags)
            names = job.tags()[Tag.FINDINGS]
            asked = "no stop"
            deadline = time.monotonic() + 3 * every
            while asked == "no stop" and time.monotonic() < deadline:
                time.sleep(0.1)
                for line in list(job.lines):
                    if line[0] == "asked":
                        asked = f"{float(line[2]) - evident:.1f} s"
            names = job.tags().get(Tag.FINDINGS, names)
            return [fault, f"{told - evident:.1f} s", asked, names]
        finally:
            job.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", help=", ".join((*LATER, *FROM_THE_START)))
    parser.add_argument("--every", type=float, default=Settings.model_fields["every"].default)
    arguments = parser.parse_args()
    chosen = arguments.faults or [*LATER, *FROM_THE_START]
    with TemporaryDirectory() as root, MlflowServer(Path(root)) as server:
        for fault in chosen:
            row = " | ".join(measure(server.uri, fault, arguments.every))
            click.echo(f"| {row} | {os.getloadavg()[0]:.1f} |")


if __name__ == "__main__":
    main()
