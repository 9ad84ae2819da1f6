"""Two runs that can be compared inside, and the healthy runs to know the usual spread from."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import permutations

import numpy as np

from backslide_detector.inside.units import same_units
from backslide_detector.probe import Inside, Numbers, Probe, ProbedLayer

KINDRED = 0.5
"""Share of the same channels in some layer that only a common start brings about."""
FEW_UNITS = 8
"""Channels below which such a share says nothing."""


class Start(StrEnum):
    """Where a retrain began: with the weights of an earlier run, or anew."""

    WARM = "warm"
    COLD = "cold"


@dataclass(frozen=True)
class Pair:
    """A retrain and its predecessor, both probed on the same examples.

    Attributes:
        new, old: the two runs.
        healthy: other earlier runs of the lineage that did well, oldest first.
        ancestor: the run whose weights the new one started from, where that is not the old one.
    """

    new: Inside
    old: Inside
    healthy: tuple[Inside, ...] = ()
    ancestor: Inside | None = None

    @cached_property
    def incomparable(self) -> str | None:
        """Why what the layers do cannot be compared; None when it can."""
        new, old = self.new.probe, self.old.probe
        if new is None:
            return "this run was not probed (run.probe)"
        if old is None:
            return f"{self.old.name} was not probed (run.probe)"
        if not _same_batch(new, old):
            return (
                f"not comparable: {self.old.name} was probed on other examples; give run.probe "
                "the same batch in every retrain"
            )
        return None

    @cached_property
    def probes(self) -> tuple[Probe, Probe]:
        """(new, old), once they are comparable."""
        new, old = self.new.probe, self.old.probe
        if new is None or old is None or self.incomparable:
            raise ValueError(self.incomparable)
        return new, old

    @cached_property
    def common(self) -> tuple[tuple[ProbedLayer, ProbedLayer], ...]:
        """Layers of one name, in the order of the new run."""
        new, old = self.probes
        return tuple((layer, there) for layer in new.layers if (there := old.layer(layer.name)))

    @cached_property
    def parent(self) -> Inside | None:
        """The run whose weights the new one started from, if it was probed alike."""
        new, _ = self.probes
        near = [run for run in (self.ancestor, self.old, *reversed(self.healthy)) if run]
        known = [run for run in near if run.probe is not None and _same_batch(new, run.probe)]
        said = next((run for run in known if descends(self.new, run)), None)
        return said or next((run for run in known if _in_order(self.new, run)), None)

    @property
    def start(self) -> Start:
        """Whether the retrain began with the weights of an earlier run."""
        return Start.COLD if self.parent is None else Start.WARM

    @cached_property
    def references(self) -> tuple[Probe, ...]:
        """Probes of healthy runs of this very network on these examples, the predecessor's too.

        The predecessor was accepted, so it is one of them.
        """
        new, _ = self.probes
        runs = {run.run_id: run.probe for run in (*self.healthy, self.old)}
        return tuple(p for p in runs.values() if p is not None and alike(new, p))

    @cached_property
    def warm_history(self) -> tuple[tuple[Inside, Inside], ...]:
        """(child, parent) of earlier healthy warm retrains of this network."""
        new, _ = self.probes
        runs = [
            run
            for run in {r.run_id: r for r in (*self.healthy, self.old)}.values()
            if run.probe is not None and alike(new, run.probe)
        ]
        return tuple(
            (child, parent)
            for child, parent in permutations(runs, 2)
            if descends(child, parent)
        )


def alike(one: Probe, other: Probe) -> bool:
    """The same examples, and layers of the same names and shapes."""
    return _same_batch(one, other) and (
        [layer.shape for layer in one.layers] == [layer.shape for layer in other.layers]
    )


def descends(child: Inside, parent: Inside) -> bool:
    """The child says that it started from the parent's weights."""
    if child.parent is not None and child.parent == parent.run_id:
        return True
    return child.initial_weights is not None and child.initial_weights == parent.final_weights


def _same_batch(one: Probe, other: Probe) -> bool:
    return one.digest == other.digest and one.examples == other.examples


def _in_order(new: Inside, old: Inside) -> bool:
    """The channels of some layer still stand in their old order.

    A layer that was reset while loading changes the digest of the weights, so that the run no
    longer seems to descend from the other. But no other start brings that order about. The
    last layer does not count: its channels are in the order of the answers in every network.
    """
    if new.probe is None or old.probe is None:
        return False
    shares = [
        same_units(layer, there)
        for layer in new.probe.layers[:-1]
        if (there := old.probe.layer(layer.name)) and there.live.sum() >= FEW_UNITS
    ]
    return any(share is not None and share >= KINDRED for share in shares)


def label_rows(probe: Probe) -> Numbers:
    """Values of the targets' concepts, shape (c, n); no row where there are none."""
    rows = [concept.values for concept in probe.labels]
    return np.array(rows) if rows else np.zeros((0, probe.examples))
