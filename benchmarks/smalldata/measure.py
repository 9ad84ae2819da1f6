"""One run of the test on one planted fault, and many of them."""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import click
from benchmarks.smalldata.cases import cases
from benchmarks.smalldata.networks import parts_of


@dataclass(frozen=True)
class Outcome:
    """One run of the test.

    Attributes:
        kinds, causes: What would be right.
        kind, cause: What was found.
        seconds: Of processor time.
    """

    part: str
    network: str
    case: str
    seed: int
    kinds: list[str]
    causes: list[str | None]
    kind: str
    cause: str | None
    seconds: float

    @property
    def right_kind(self) -> bool:
        return self.kind in self.kinds

    @property
    def right_cause(self) -> bool:
        return self.right_kind and self.cause in self.causes

    @property
    def found(self) -> str:
        return f"{self.kind}, {self.cause}" if self.cause else self.kind


def judge_one(part: str, number: int, seed: int) -> Outcome:
    network, name, plant, kinds, causes = list(cases(part))[number]
    parts = plant(parts_of(network, seed))
    begin = time.process_time()
    verdict = parts.judge()
    seconds = time.process_time() - begin
    wanted = sorted(causes, key=str)
    found = (str(verdict.kind), verdict.cause, round(seconds, 2))
    return Outcome(part, network, name, seed, kinds.split(), wanted, *found)


Job = tuple[str, int, int]
"""Part, number of the case in it, and seed."""


def judge(jobs: list[Job], workers: int) -> Iterator[Outcome]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, o in enumerate(pool.map(judge_one, *zip(*jobs, strict=True)), start=1):
            yield o
            mark = "" if o.right_cause else f", wanted {o.kinds} {o.causes}"
            click.echo(
                f"{done}/{len(jobs)}, {o.part}, {o.network} / {o.case} / {o.seed}: {o.found} "
                f"({o.seconds:.1f} s){mark}",
                err=True,
            )
