"""A warm retrain, layer by layer: how many channels still do what they did."""

from dataclasses import dataclass

from backslide_detector.inside.pair import Pair
from backslide_detector.inside.units import same_units


@dataclass(frozen=True, slots=True)
class KeptUnits:
    """One layer of a warm retrain, or one branch inside of it.

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
    """Every layer and branch of the shape it had in the parent, from input to output."""
    found: list[KeptUnits] = []
    if pair.parent is None or pair.parent.probe is None:
        return ()
    before = {each.name: each for each in pair.parent.probe.channels}
    history = [
        ({each.name: each for each in child.probe.channels}, parent.probe.channels)
        for child, parent in pair.warm_history
        if child.probe is not None and parent.probe is not None
    ]
    earlier: dict[str, list[float]] = {}
    for children, parents in history:
        for old in parents:
            share = same_units(children[old.name], old) if old.name in children else None
            if share is not None:
                earlier.setdefault(old.name, []).append(share)
    for new in pair.probes[0].channels:
        share = same_units(new, before[new.name]) if new.name in before else None
        if share is None:
            continue
        shares = earlier.get(new.name, [])
        usual = sum(shares) / len(shares) if shares else None
        found.append(KeptUnits(new.name, new.owner, share, usual, len(shares)))
    return tuple(found)
