"""The names of all checks, the likeliest root cause first.

What stands higher can bring about what stands lower: a step that is too large kills units and
ends in NaN, never the other way round. Findings are listed in this order, so that the first
one is the one to mend.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CAUSAL_ORDER: Final = (
    # What the network is fed.
    "input-scale",
    "input-independent",
    "misaligned-batch",
    "repeated-batch",
    "ordered-batches",
    "class-imbalance",
    # What it is asked, where it starts, and what of it is trained: seen in the network itself.
    "graph-changed",
    "output-loss-mismatch",
    "output-range-mismatch",
    "symmetric-weights",
    "poor-initialization",
    "unchanged-weights",
    # How it is moved.
    "learning-rate-too-high",
    "learning-rate-too-low",
    "over-regularized",
    # Whether what is measured is what is trained; it looks like labels that do not fit.
    "train-eval-mismatch",
    # What is inferred from how held-out data fare, which all of the above can spoil too.
    "label-mismatch",
    "label-noise",
    "too-little-data",
    # What then happens inside.
    "vanishing-gradient",
    "exploding-gradient",
    "oscillating-loss",
    "saturated-activation",
    "dead-units",
    "nan-or-inf",
    # What the layers do, beside what they did before.
    "layer-changed",
    "group-lost",
    "concepts-shifted",
    "concept-lost",
    "readout-gap",
    # How the run as a whole went.
    "undertrained",
    "underfitting",
    # What is seen from outside.
    "constant-output",
    "overfitting",
    "loss-not-decreasing",
    "class-collapse",  # of a network that learns nothing, it is chance which class is left
    "stalled-run",
)

EXPLAINED_BY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # Weights that a large step threw away, and units that it killed, stand still, and
        # nothing gets past them.
        "learning-rate-too-low": ("learning-rate-too-high",),
        "input-independent": ("learning-rate-too-high",),
        # What held-out data say of labels, they say in evaluation mode, of inputs like those of
        # training, and of a network that learned by heart from where it should not have begun.
        "label-mismatch": ("input-scale", "train-eval-mismatch", "poor-initialization"),
        # Where each batch has other classes than the one before, what is new is wrong at first.
        "label-noise": (
            "input-scale",
            "train-eval-mismatch",
            "poor-initialization",
            "ordered-batches",
        ),
        "overfitting": ("input-scale", "train-eval-mismatch", "label-mismatch"),
        # A loss without a floor falls for ever.
        "undertrained": ("output-loss-mismatch",),
        # Whatever ruins a network leaves it with one answer.
        "constant-output": (
            *CAUSAL_ORDER[: CAUSAL_ORDER.index("label-noise")],
            "vanishing-gradient",
            "exploding-gradient",
            "saturated-activation",
            "dead-units",
            "nan-or-inf",
        ),
    }
)
"""Findings that are not made where one of others is: it takes their evidence away."""
