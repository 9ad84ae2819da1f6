"""The animals and the two halves they live in.

An animal is a world (an architecture trained on a data set, in `worlds`) with one thing done to
it (in the modules `faults_*` and `controls`). The halves were set by a rule before anything was
run: each world belongs to one half, and the halves share no architecture with its data and no
seed. A fault or control is planted into worlds of both halves where it fits in both, so the
held-out half has every kind of the development half in other networks, on other data, from
other seeds, and some kinds of its own.

- `development`: thresholds of the checks may be chosen on it. Seeds 0, 1, 2.
- `held-out`: only ever run to report. Seeds 104, 105, 106.

A case's name is `<half>/<what is done>/<world>`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module

import numpy as np
import torch
from tests.zoo import gans, worlds
from tests.zoo.plants import PLANTS, Plant
from tests.zoo.recorder import record
from tests.zoo.training import Start, train

from backslide.contract import Metric
from backslide_detector.evidence import RunEvidence, Series

for _module in ("faults_data", "faults_steps", "faults_signal", "faults_outputs", "controls"):
    import_module(f"tests.zoo.{_module}")

SEEDS = {"development": (0, 1, 2), "held-out": (104, 105, 106)}


@dataclass(frozen=True)
class Case:
    """One animal.

    Attributes:
        labels: the checks that would name its fault; empty for a healthy one.
        silent: nothing is to be seen from outside.
        prepare: a seeded training, ready to start.
        ended: what becomes of the evidence after the training.
    """

    half: str
    what: str
    world: str
    labels: tuple[str, ...]
    silent: bool
    prepare: Callable[[int], Callable[[Start], None]]
    ended: Callable[[RunEvidence], RunEvidence] = lambda evidence: evidence

    @property
    def name(self) -> str:
        return f"{self.half}/{self.what}/{self.world}"

    def run(self, seed: int) -> RunEvidence:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        return self.ended(record(self.name, self.prepare(seed)))


def _half(world: str) -> str:
    return "development" if world in worlds.DEVELOPMENT or world == "gan-ring" else "held-out"


def _planted(plant: Plant, world: str, seed: int) -> Callable[[Start], None]:
    setup = (worlds.DEVELOPMENT | worlds.HELD_OUT)[world](seed)
    plant.change(setup)
    return partial(train, setup)


def _stalled(evidence: RunEvidence) -> RunEvidence:
    """As it would be read forty minutes after the last step of a job that still runs."""
    step, since = evidence.series["loss"].steps[-1], evidence.series["loss"].times[-1]
    beats = since + np.arange(0.0, 2_400.0, 30.0)
    heartbeat = Series(np.full(len(beats), step), beats, beats)
    series = {**evidence.series, Metric.LAST_SEEN: heartbeat}
    return replace(evidence, status="RUNNING", ended=None, series=series)


def _cases() -> Iterator[Case]:
    for plant in PLANTS:
        for world in plant.worlds:
            prepare = partial(_planted, plant, world)
            yield Case(_half(world), plant.name, world, plant.labels, plant.silent, prepare)
    healthy = next(plant for plant in PLANTS if plant.name == "as-it-is")
    for world in ("mlp-digits", "lstm-waves", "conv1d-signals", "gru-pulses"):
        prepare = partial(_planted, healthy, world)
        yield Case(_half(world), "stalled", world, ("stalled-run",), False, prepare, _stalled)
    for world, training in gans.HEALTHY.items():
        yield Case(_half(world), "as-it-is", world, (), False, lambda _, t=training: t)
    for (what, world, labels), training in gans.FAULTY.items():
        yield Case(_half(world), what, world, labels, False, lambda _, t=training: t)


CASES = tuple(_cases())
