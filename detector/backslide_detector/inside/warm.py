"""A warm retrain, layer by layer: how many channels still do what they did."""

from dataclasses import dataclass

from backslide_detector.inside.pair import Pair
from backslide_detector.inside.units import same_units


@dataclass(frozen=True, slots=True)
class KeptUnits:
    """One layer of a warm retrain.

    Attributes:
        owner: the module with its weights.
        share: of the live channels that still do the same.
        usual: mean of the same over earlier healthy warm retrains; None without any.
        retrains: how many those are.
    """

    layer: str
    owner: str
    share: float
    usual: float | None = None
    retrains: int = 0


def kept_units(pair: Pair) -> tuple[KeptUnits, ...]:
    """Every layer that has the shape it had in the parent, from input to output."""
    found: list[KeptUnits] = []
    if pair.parent is None or pair.parent.probe is None:
        return ()
    for new in pair.probes[0].layers:
        old = pair.parent.probe.layer(new.name)
        share = None if old is None else same_units(new, old)
        if share is None:
            continue
        before = [
            earlier
            for child, parent in pair.warm_history
            if child.probe is not None
            and parent.probe is not None
            and (one := child.probe.layer(new.name)) is not None
            and (other := parent.probe.layer(new.name)) is not None
            and (earlier := same_units(one, other)) is not None
        ]
        usual = sum(before) / len(before) if before else None
        found.append(KeptUnits(new.name, new.owner, share, usual, len(before)))
    return tuple(found)
