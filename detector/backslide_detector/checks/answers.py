"""Which predictions to judge."""

from collections.abc import Mapping
from typing import Final

from backslide_detector.evidence import Predictions

FEW: Final = 30


def held_out(predictions: Mapping[str, Predictions]) -> tuple[str, Predictions] | None:
    """Name and table of the test split, else of another with `FEW` examples, training last."""
    order = sorted(
        predictions, key=lambda name: (name.startswith("train"), name != "test", name)
    )
    return next(
        ((name, predictions[name]) for name in order if len(predictions[name]) >= FEW), None
    )
