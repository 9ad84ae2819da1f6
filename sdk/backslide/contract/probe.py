"""Limits, schemas and keys of a probe: what layers do on fixed examples."""

from typing import Final

import pyarrow as pa

PROBE_EXAMPLES: Final = 512
PROBE_LAYERS: Final = 24
PROBE_BYTES: Final = 2_000_000
"""Limits of one probe: examples (the first ones), layers (chosen evenly by depth), and all its
files together."""
CODE_WIDTH: Final = 32
REMAINDER_WIDTH: Final = 16
SPECTRUM_WIDTH: Final = 64
SIGNATURE_LENGTH: Final = 64
GROUPS: Final = 8
GROUP_GRID: Final = 4

PROBE_SCHEMAS: Final = {
    "layers": pa.schema(
        [
            ("layer", pa.string()),
            ("kind", pa.string()),
            ("depth", pa.int32()),
            ("units", pa.int32()),
            ("positions", pa.int32()),
            ("signed", pa.bool_()),
            ("gram_norm", pa.float64()),
            ("gram_trace", pa.float64()),
            ("spectrum", pa.list_(pa.float32())),
            ("code_scale", pa.float32()),
            ("weights", pa.string()),
        ]
    ),
    "codes": pa.schema(
        [("layer", pa.string()), ("example", pa.int32()), ("code", pa.list_(pa.float16()))]
    ),
    "remainders": pa.schema(
        [
            ("layer", pa.string()),
            ("sum", pa.int32()),
            ("scale", pa.float32()),
            ("values", pa.list_(pa.int8())),
        ]
    ),
    "units": pa.schema(
        [
            ("layer", pa.string()),
            ("unit", pa.int32()),
            ("live", pa.bool_()),
            ("scale", pa.float32()),
            ("signature", pa.list_(pa.int8())),
        ]
    ),
    "groups": pa.schema(
        [
            ("layer", pa.string()),
            ("group", pa.int32()),
            ("share", pa.float32()),
            ("stability", pa.float32()),
            ("weights", pa.list_(pa.float32())),
            ("activity", pa.list_(pa.float16())),
            ("maps", pa.list_(pa.uint8())),
            ("attribution", pa.list_(pa.float32())),
        ]
    ),
    "concepts": pa.schema(
        [("concept", pa.string()), ("kind", pa.string()), ("values", pa.list_(pa.float32()))]
    ),
    "readability": pa.schema(
        [
            ("step", pa.int64()),
            ("layer", pa.string()),
            ("concept", pa.string()),
            ("r2", pa.float32()),
            ("accuracy", pa.float32()),
        ]
    ),
    "examples": pa.schema(
        [
            ("example", pa.int32()),
            ("id", pa.string()),
            ("target", pa.string()),
            ("prediction", pa.string()),
            ("score", pa.float32()),
            ("loss", pa.float32()),
            ("thumbnail", pa.binary()),
        ]
    ),
}
"""The tables of a probe: what layers do on n fixed examples, in evaluation mode.

With X the n x d outputs of a layer (positions flattened), centred over examples, and K = X X':

layers: `units` are channels (the last dimension of sequences, the second of images),
`positions` the places that each was evaluated at; `signed`: some outputs are negative.
`gram_norm` and `gram_trace`: Frobenius norm and trace of K, from all d features; `spectrum`:
the largest eigenvalues of K, descending, zeros beyond the rank; `code_scale`: what codes are to
be multiplied by, a power of two and nearly always 1; `weights`: the module with weights whose
outputs these are, where `layer` is the norm, activation or pooling after it.
codes: coordinates of each example on the leading principal components, so that code code' is
the best approximation of K of that rank; zeros beyond it.
remainders: R, n x 16, a row a column: random sums of what the codes leave out, value = entry x
scale, so that code code' + R R' is K on average. No row where nothing is left out.
units: signature of each channel at fixed (example, position) places, the same in every run with
this probe batch and as many positions: value = signature x scale; `live`: the channel varies.
In the order in which they ran, with modules with weights inside the blocks of sequence networks
among them, each before the layer it leads into, which is the block.
groups: non-negative matrix factors of the outputs at positions. `weights`: of the channels, or
of their positive, then their negative parts where the layer is signed; `activity`: of the group
on each example, the mean over positions; `maps`: the same on a 4 x 4 grid of the positions,
n x 16 bytes, row by row, 255 the group's largest; empty where positions are not an image;
`share`: of the sum of squares that the factors explain, this one's; `stability`: the cosine of
its weights with their match after a restart; `attribution`: what the answer for
each class would lose without the group, the mean over the class's examples, by gradient x
activation, in small networks corrected by removals; empty for other targets.
concepts: what was asked about each example: `kind` is label (one a class, 0 or 1), value (the
targets of a regression) or given.
readability: of each concept in each layer, by four-fold ridge regression on the codes: `r2`;
`accuracy`, with the concept "" and NaN for r2, of the best-read class as the answer. One set of
rows a probe, so that its course over training is kept.
examples: of the probe batch; `id` as in the predictions of `evaluate`; `thumbnail`: a PNG, null
unless asked for."""


class Probe:
    """Keys of `probe.json`."""

    DIGEST: Final = "digest"
    """Of inputs and targets: probes of other examples do not compare."""
    EXAMPLES: Final = "examples"
    STEP: Final = "step"
    CLASSES: Final = "classes"
    """Names of the classes in the order of `attribution`; empty for other targets."""
    ACCURACY: Final = "accuracy"
    """The model's own on the probe batch, or null."""
    SECONDS: Final = "seconds"
    PROBLEMS: Final = "problems"
    """Sentences: what was left out and why."""
