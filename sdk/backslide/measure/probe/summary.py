"""One layer's outputs on all examples -> what is kept of them."""

from typing import Final

import numpy as np
import torch

from backslide.measure.probe.code import code
from backslide.measure.probe.collect import Outputs, coarser
from backslide.measure.probe.concepts import Concepts
from backslide.measure.probe.groups import activities, find, maps
from backslide.measure.probe.readability import readability
from backslide.measure.probe.signatures import signatures
from backslide.measure.probe.tables import Seen

PLACES: Final = 64
"""Positions of an example at which the activity of groups is told apart."""


def summary(outputs: Outputs, asked: Concepts) -> Seen:
    """Code, signatures, groups, and what of the concepts can be read.

    Args:
        outputs: all finite.
        asked: about the same examples.
    """
    values = outputs.values
    found, channels = code(values.reshape(len(values), -1)), signatures(values)
    groups = find(values, signed=channels.signed)
    # A sum of groups stays one when positions are averaged: the weights are the same.
    coarse, grid = coarser(torch.from_numpy(values), outputs.grid, PLACES * values.shape[2])
    active = activities(coarse.numpy(), groups.weights, signed=channels.signed)
    return Seen(
        outputs.layer,
        values.shape[1],
        found,
        channels,
        readability(found.coordinates / found.scale, asked.values, asked.labels),
        groups,
        active.mean(1),
        maps(active, grid) if grid is not None and active.shape[1] > 1 else None,
    )


def problem(outputs: Outputs) -> str | None:
    """Why nothing can be told of a layer; None if all is well."""
    rows = len(outputs.values)
    whole = np.count_nonzero(np.isfinite(outputs.values).reshape(rows, -1).all(1))
    if whole == rows:
        return None
    return f"{outputs.layer.name} is left out: not finite on {rows - whole} of {rows} examples"
