"""Measures the checks on the zoo: `make zoo`, or `python -m tests.zoo --help`."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.progress import track
from tests.zoo.cases import CASES, SEEDS, Case
from tests.zoo.judging import Job, Judged, do
from tests.zoo.page import page, rows

HOME = Path(__file__).parents[2] / "benchmarks"


def run_all(jobs: list[Job], args: argparse.Namespace) -> Iterator[Judged]:
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        pending = [pool.submit(do, job, args.keep, judging=not args.record) for job in jobs]
        for future in track(pending, "zoo", console=Console(stderr=True)):
            found = future.result()
            if found is not None:
                yield found


def tell(found: Iterable[Judged]) -> None:
    for run in found:
        if not run.well:
            print(run.name, run.seed, "wanted", run.labels, "found", run.full)


def chosen(case: Case, args: argparse.Namespace) -> bool:
    return args.half in (None, case.half) and any(word in case.name for word in args.only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=list(SEEDS))
    parser.add_argument(
        "--only", nargs="+", default=[""], help="cases with one of these in their names"
    )
    parser.add_argument("--seeds", type=int, nargs="+", help="these of the halves' seeds alone")
    parser.add_argument("--keep", type=Path, help="folder that keeps what was recorded")
    parser.add_argument("--record", action="store_true", help="record and judge nothing")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    jobs = [
        (number, seed)
        for number, case in enumerate(CASES)
        for seed in SEEDS[case.half]
        if chosen(case, args) and (args.seeds is None or seed in args.seeds)
    ]
    found = list(run_all(jobs, args))
    if args.record:
        return
    tell(found)
    sys.stdout.write(page(found))
    if args.half is None and args.only == [""]:
        (HOME / "zoo.md").write_text(page(found))
        (HOME / "zoo.csv").write_text(rows(found))


if __name__ == "__main__":
    main()
