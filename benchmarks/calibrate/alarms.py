"""The alert channel with the reference that the detector chooses, retrain after retrain."""

from dataclasses import dataclass

import numpy as np
from benchmarks.calibrate.rates import mean, rate

from backslide_detector.evidence import ErrorRate
from backslide_detector.retrain.history import PastRun
from backslide_detector.retrain.reference import choose_reference
from backslide_detector.stats.alarm import RUN_LENGTH, FlipAlarm

N, DISCORDANT = 10_000, 0.03
LUCK = np.sqrt(DISCORDANT / (2 * N))
"""Standard deviation of the error of one model on one test set, without over-dispersion."""
ONSET, PATIENCE = 0.02, 50
LINEAGES, RETRAINS = 150, 500


@dataclass(frozen=True, slots=True)
class World:
    """What is simulated.

    Attributes:
        fresh: new test examples for each retrain; else one test set, on which every model has
            a luck of its own, the reference too.
        phi: over-dispersion of retrains; `known` tells the detector.
        improves: chance a retrain of an improvement that stays.
    """

    name: str
    fresh: bool
    phi: float = 1.0
    known: bool = True
    improves: float = 0.0


WORLDS = (
    World("fresh examples", fresh=True),
    World("one test set", fresh=False),
    World("fresh examples, 1 % improve for good", fresh=True, improves=0.01),
    World("one test set, 1 % improve for good", fresh=False, improves=0.01),
    World("fresh examples, phi 2", fresh=True, phi=2.0),
    World("one test set, phi 2", fresh=False, phi=2.0),
    World("fresh examples, phi 2, taken for 1", fresh=True, phi=2.0, known=False),
    World("one test set, phi 2, taken for 1", fresh=False, phi=2.0, known=False),
)
HELD = ("fresh examples", "one test set")
KNOWN, WORSE = 3, 0.003
"""Retrains since the reference, and points against it, that make a regression plain."""


class Lineage:
    """One lineage: harm sets in, stays until an alarm, and is mended."""

    def __init__(self, world, random):
        self.world, self.random = world, random
        self.good, self.harm, self.onset = 0.0, 0.0, 0
        self.quiet, self.false, self.plain = 0, 0, False
        self.missed, self.delays = [], []
        self.runs, self.errors, self.alarms = [self.remembered(0)], [self.model()], {}

    def remembered(self, number, lead=None):
        error = ErrorRate("test", 0.035, N, "predictions")
        name = f"{number:06}"
        return PastRun(name, name, float(number), lineage="one", error=error, lead=lead)

    def model(self):
        """True error and error on the one test set, less those of the first recipe."""
        true = self.good + self.harm
        spread = LUCK * np.sqrt(self.world.phi)
        return true, true + self.random.normal(0, spread)

    def flips(self, new, old):
        total = int(self.random.binomial(N, DISCORDANT))
        if not self.world.fresh:
            difference = N * (new[1] - old[1])
        else:
            noise = np.sqrt(self.world.phi * total) * self.random.standard_normal()
            difference = N * (new[0] - old[0]) + noise
        broken = int(np.clip(np.rint((total + difference) / 2), 0, total))
        return broken, total - broken

    def retrain(self, number):
        if not self.harm and self.random.random() < ONSET:
            self.harm, self.onset = self.random.uniform(0.003, 0.010), number
        elif not self.harm and self.random.random() < self.world.improves:
            self.good -= self.random.uniform(0.003, 0.010)
        self.quiet += not self.harm
        reference = choose_reference(self.remembered(number), self.runs).run.run_id
        if self.harm and self.onset == number:
            worse = self.good + self.harm - self.errors[int(reference)][0]
            self.plain = number - int(reference) > KNOWN and worse >= WORSE
        self.errors.append(self.model())
        alarm = self.alarms.get(reference, FlipAlarm()).after(
            *self.flips(self.errors[-1], self.errors[int(reference)]),
            yardstick=None if self.world.fresh else reference,
            phi=self.world.phi if self.world.known else 1.0,
        )
        watched = alarm.watched(RUN_LENGTH)
        self.alarms[reference] = watched.then
        self.runs.append(self.remembered(number, "better" if watched.leads else None))
        late = self.harm and number - self.onset >= PATIENCE
        if watched.alarmed:
            self.false += not self.harm
            self.delays += [(number - self.onset, self.plain)] if self.harm else []
        elif late:
            self.missed.append(self.plain)
        if watched.alarmed or late:
            self.harm = 0.0


def alerts():
    """Regressions of 0.3 to 1.0 points that set in with 2 % chance a retrain.

    Plain ones leave the lineage worse than its reference by 0.3 points or more, and set in when
    three retrains or more were held against it. Sooner, on one test set, a regression cannot be
    told from a reference that was lucky on it; and what only takes back an improvement that was
    not shown yet is none against the reference.
    """
    name = f"Alert channel, run length {RUN_LENGTH:,.0f}, against the reference it chooses"
    for number, world in enumerate(WORLDS):
        random = np.random.default_rng([501, number])
        lineages = [Lineage(world, random) for _ in range(LINEAGES)]
        for lineage in lineages:
            for retrain in range(1, RETRAINS):
                lineage.retrain(retrain)
        quiet, false = (sum(getattr(x, what) for x in lineages) for what in ("quiet", "false"))
        missed = [plain for lineage in lineages for plain in lineage.missed]
        caught = [found for lineage in lineages for found in lineage.delays]
        delays = [delay for delay, _ in caught]
        held = world.name in HELD
        yield rate(name, world.name, "false alarms a retrain", false, quiet,
                   at_most=0.0001 if held else None)  # fmt: skip
        yield mean(name, world.name, "delay in retrains", delays,
                   at_most=1.5 if held else None)  # fmt: skip
        of = len(caught) + len(missed)
        yield rate(name, world.name, "caught at once", delays.count(0), of)
        yield rate(name, world.name, "not caught after 50", len(missed), of,
                   at_most=0.0 if held else None)  # fmt: skip
        if not world.fresh and world.phi == 1:
            plain = sum(missed) + sum(plain for _, plain in caught)
            what = "not caught after 50, of the plain ones"
            yield rate(name, world.name, what, sum(missed), plain, at_most=0.0)
