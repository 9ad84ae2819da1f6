"""Which retrains differ in one thing alone, so that their errors say what it does."""

from collections.abc import Iterator

from backslide.contract import Cause
from backslide_detector.retrain.history import PARAMETER, PastRun

Said = tuple[Cause, str]
"""A kind of ingredient and its name."""
_TRAINING = ("train ", "training ")


def differing(new: PastRun, run: PastRun) -> dict[Said, tuple[str, str]] | None:
    """What two retrains were made from differently, this one's and the other's, by name.

    None where one says something that the other is silent about.
    """
    mine, its = dict(_ingredients(new)), dict(_ingredients(run))
    if mine.keys() != its.keys():
        return None
    return {said: (one, its[said]) for said, one in mine.items() if one != its[said]}


def of_training_data(said: Said) -> bool:
    """Is it said of the training data?"""
    return said[0] is Cause.DATA and said[1].startswith(_TRAINING)


def is_parameter(said: Said) -> bool:
    """Is it a parameter?"""
    return said[1].startswith(PARAMETER)


def _ingredients(run: PastRun) -> Iterator[tuple[Said, str]]:
    for kind, entries in run.made_from.items():
        yield from (((kind, name), value) for name, value in entries.items())
