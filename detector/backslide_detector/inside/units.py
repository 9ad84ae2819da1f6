"""Which channels still do the same after a warm retrain."""

import numpy as np

from backslide_detector.probe import Branch, ProbedLayer

SAME = 0.9
"""Correlation from which a channel counts as the same."""


def same_units(new: ProbedLayer | Branch, old: ProbedLayer | Branch) -> float | None:
    """Share of channels that answer as the same channel of the old run did.

    Of the channels that live in either run; by the correlation of their signatures. It has a
    meaning only where one network started from the other's weights: from another start the
    channels are in another order.

    Returns:
        None for layers of another shape, or where no channel lives.
    """
    if new.shape != old.shape or new.signatures.shape != old.signatures.shape:
        return None
    either = new.live | old.live
    if not either.any() or new.signatures.shape[1] < 2:
        return None
    one = new.signatures - new.signatures.mean(axis=1, keepdims=True)
    other = old.signatures - old.signatures.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products = (one * other).sum(axis=1)
    same = (products > SAME * norms) & new.live & old.live & (norms > 0)
    return float(same[either].mean())
