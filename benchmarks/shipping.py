"""How fast a spool that was left behind is shipped: `python -m benchmarks.shipping`."""

import os
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.faulty_proxy import Fault, FaultyProxy
from tests.history.chaos import FAULTS
from tests.mlflow_server import MlflowServer

import backslide
from backslide.ship.delivery import Delivery
from backslide.ship.tracking import Tracking
from backslide.spool.job import Job

PAGE = Path(__file__).with_suffix(".md")
MARK = "<!-- figures -->"
SHORT, LONG = 30_000, 200_000
SEGMENTS = 12
TIMES = 3
CHANCE = 0.25


@contextmanager
def offline() -> Iterator[None]:
    """Jobs are left in their spools."""
    os.environ["BACKSLIDE_OFFLINE"] = "1"
    try:
        yield
    finally:
        del os.environ["BACKSLIDE_OFFLINE"]


def left_behind(root: Path, uri: str, steps: int) -> Path:
    """The spool of a job with two series, in some segments."""
    with offline():
        run = backslide.start("left", spool_dir=root, tracking_uri=uri, experiment="shipping")
        for step in range(steps):
            run.step(loss=float(step), accuracy=0.5)
            if step % (steps // SEGMENTS) == 0:
                run._recorder.spool.rotate()  # noqa: SLF001  # a long job's segments, in no time
        run.finish()
    (job,) = root.rglob("job.json")
    return job.parent


def delivered(spool: Path, uri: str) -> float:
    """Seconds until all is stored."""
    delivery = Delivery(spool, Job.read(spool), Tracking(uri))
    begin = time.monotonic()
    while not delivery.round():
        time.sleep(0.05)
    return time.monotonic() - begin


def row(name: str, steps: int, ship: Callable[[Path], float]) -> str:
    """A line of the table: the median of a few deliveries, and each."""
    seconds = []
    for _ in range(TIMES):
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(ship(Path(folder)))
    each = ", ".join(f"{s:.1f}" for s in seconds)
    rate = 2 * steps / median(seconds)
    return f"| {name} | {2 * steps:,} | {median(seconds):.1f} s ({each}) | {rate:,.0f} |"


def main() -> None:
    """Measures, and writes the page."""
    begun = os.getloadavg()[0]
    lots = random.Random(5)
    with tempfile.TemporaryDirectory() as home, MlflowServer(Path(home)) as server:

        def direct(root: Path, steps: int) -> float:
            return delivered(left_behind(root, server.uri, steps), server.uri)

        def faulty(root: Path) -> float:
            with FaultyProxy(
                server.port,
                lambda _: lots.choice(FAULTS) if lots.random() < CHANCE else Fault.NONE,
            ) as proxy:
                return delivered(left_behind(root, proxy.uri, SHORT), proxy.uri)

        with tempfile.TemporaryDirectory() as first:
            direct(Path(first), 1_000)  # the server's own first requests
        rows = [
            row("healthy server", LONG, lambda root: direct(root, LONG)),
            row("healthy server", SHORT, lambda root: direct(root, SHORT)),
            row("a quarter of the requests met with a fault", SHORT, faulty),
        ]
    text = "\n".join(
        [
            f"{os.cpu_count()} cores ({platform.machine()}), load average {begun:.1f} at the "
            f"start and {os.getloadavg()[0]:.1f} at the end.",
            "",
            "| | values | time: median (each) | values a second |",
            "|---|---|---|---|",
            *rows,
        ]
    )
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + f"{MARK}\n\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
