"""The names of all checks, the likeliest root cause first.

What stands higher can bring about what stands lower: a step that is too large kills units and
ends in NaN, never the other way round. Findings are listed in this order, so that the first
one is the one to mend.
"""

from typing import Final

CAUSAL_ORDER: Final = (
    # What the network is fed.
    "input-scale",
    "input-independent",
    "misaligned-batch",
    "repeated-batch",
    "ordered-batches",
    # Whether what is measured is what is trained; it looks like labels that do not fit.
    "train-eval-mismatch",
    "label-mismatch",
    "label-noise",
    "class-imbalance",
    "too-little-data",
    # What it is asked, and where it starts.
    "graph-changed",
    "output-loss-mismatch",
    "output-range-mismatch",
    "symmetric-weights",
    "poor-initialization",
    # How it is moved.
    "unchanged-weights",
    "learning-rate-too-high",
    "learning-rate-too-low",
    "over-regularized",
    # What then happens inside.
    "vanishing-gradient",
    "exploding-gradient",
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
    "oscillating-loss",
    "underfitting",
    "undertrained",
    # What is seen from outside.
    "constant-output",
    "class-collapse",
    "overfitting",
    "loss-not-decreasing",
    "stalled-run",
)
