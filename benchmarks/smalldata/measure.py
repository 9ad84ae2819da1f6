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


def judge(part: str, seed: int, workers: int, known: list[Outcome]) -> Iterator[Outcome]:
    """Runs what is not known yet."""
    there = {(o.part, o.network, o.case, o.seed) for o in known}
    numbers = [
        number
        for number, (network, name, *_) in enumerate(cases(part))
        if (part, network, name, seed) not in there
    ]
    work = ([part] * len(numbers), numbers, [seed] * len(numbers))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, outcome in enumerate(pool.map(judge_one, *work), start=1):
            yield outcome
            mark = "" if outcome.right_cause else f", wanted {outcome.kinds} {outcome.causes}"
            click.echo(
                f"{part} {seed}, {done}/{len(numbers)}, {outcome.network} / {outcome.case}: "
                f"{outcome.found} ({outcome.seconds:.1f} s){mark}",
                err=True,
            )
