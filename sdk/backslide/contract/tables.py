"""Schemas of the tables that every run has."""

from typing import Final

import pyarrow as pa

# Histogram of signed log2 magnitudes. Bin 0 holds the most negative values, the middle bin
# exact zeros, the last the largest. A value v != 0 falls at exponent floor(log2 |v|), clipped
# to the range, so the outermost bins are open. Non-finite values are in no bin. The bins are
# the same in every run, so histograms add up and compare.
EXPONENT_MIN: Final = -40
EXPONENT_MAX: Final = 23
MAGNITUDE_BINS: Final = EXPONENT_MAX - EXPONENT_MIN + 1
ZERO_BIN: Final = MAGNITUDE_BINS
HISTOGRAM_BINS: Final = 2 * MAGNITUDE_BINS + 1

LAYERS_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("wall_time", pa.float64()),
        ("layer", pa.string()),
        ("depth", pa.int32()),
        ("role", pa.string()),
        ("count", pa.int64()),
        ("mean", pa.float32()),
        ("std", pa.float32()),
        ("rms", pa.float32()),
        ("abs_max", pa.float32()),
        ("zero_fraction", pa.float32()),
        ("nonfinite_fraction", pa.float32()),
        ("saturated_fraction", pa.float32()),
        ("dead_fraction", pa.float32()),
        ("histogram", pa.list_(pa.int32())),
    ]
)
"""One row a step and tensor. `layer` is the module's qualified name for activations and the
parameter's for the other roles; `depth` counts modules in the order they ran. The moments are
over the finite elements. `dead_fraction`: share of units (channels) that were zero on every
example of the last sampled batches; for gradients, share of units whose gradient was exactly
zero throughout. `saturated_fraction`: share of units of a bounded activation that stayed at its
bounds. NaN where a statistic has no meaning for the tensor."""

SCALARS_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("timestamp", pa.int64()),
        ("key", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Every scalar of every step; `timestamp` in epoch milliseconds."""

BATCHES_SCHEMA: Final = pa.schema(
    [
        ("step", pa.int64()),
        ("examples", pa.int32()),
        ("training", pa.bool_()),
        ("optimizer_steps", pa.int32()),
        ("uncleared", pa.float32()),
        ("calls_training", pa.int32()),
        ("calls_evaluation", pa.int32()),
        ("calls_again", pa.int32()),
        ("input_mean", pa.float32()),
        ("input_std", pa.float32()),
        ("input_rms", pa.float32()),
        ("input_abs_max", pa.float32()),
        ("input_spread_ratio", pa.float32()),
        ("input_offset", pa.float32()),
        ("input_constant_fraction", pa.float32()),
        ("input_nonfinite_fraction", pa.float32()),
        ("digests", pa.list_(pa.int64())),
        ("answers", pa.string()),
        ("outputs", pa.int32()),
        ("output_low", pa.float32()),
        ("output_high", pa.float32()),
        ("output_spread", pa.float32()),
        ("predictions", pa.list_(pa.float32())),
        ("targets", pa.list_(pa.float32())),
        ("target_low", pa.float32()),
        ("target_high", pa.float32()),
        ("target_spread", pa.float32()),
        ("loss", pa.float32()),
        ("gradient_balance", pa.float32()),
        ("cross_entropy", pa.float32()),
        ("trial_loss", pa.float32()),
        ("trial_eval_loss", pa.float32()),
        ("trial_error", pa.float32()),
        ("trial_eval_error", pa.float32()),
        ("trial_eval_distance", pa.float32()),
        ("trial_noise", pa.float32()),
        ("mixing", pa.float32()),
        ("mixing_layer", pa.string()),
        ("mixing_structural", pa.bool_()),
        ("dependence", pa.float32()),
        ("memory", pa.float32()),
        ("cut_layer", pa.string()),
    ]
)
"""One row a sampled step: the first batch that the model got in it, as `model(inputs)` saw it.
Where more than one step in 67 of those so far is sampled, not every one has a row.

`training`: the model was in training mode. `optimizer_steps`: steps that all optimizers
have made so far. `calls_training`, `calls_evaluation`: calls of the model without gradients
in that mode since the row before, as far as they fell into a sampled step; `calls_again`:
those on the inputs of the call before, which count in neither mode. `uncleared`: 1 where
the backward pass began with the very gradients that the optimizer had made the step before
with, 0 where they were gone, NaN where not known (the step before was not sampled, there
are several optimizers). Inputs are described by the first tensor among the arguments, over
at most 64 examples (the first ones) and 1,024 features of each; `input_*` are NaN where the
inputs are integers. `input_spread_ratio`: largest over smallest standard deviation of the
features that vary; `input_offset`: median over them of |mean| / std;
`input_constant_fraction`: share of features that are the same in all examples. `digests`: a
fingerprint of each example, equal where all tensors among its inputs are.

`answers` says how outputs are to be read: `classes` (predictions and targets are class
numbers), `dense` (the same at a few places of the examples, tokens, pixels or numbers of a
mask: as many of each example, one after the other), `values` (one number an example),
`vectors` (several numbers; both lists are empty), or "" (not known). Targets are inferred from
the gradient at the output, NaN where it says nothing. Those of values and vectors, with
`target_low`, `target_high` and `target_spread`, hold if the loss is a mean of squares, which
`loss` tells: the batch's loss under that reading, to be compared with the one logged.
`output_spread` and `target_spread`: how far examples are apart, the root of the variance over
the examples (of n - 1), averaged over the outputs; the square of the latter is what the best
constant answer costs. `outputs`: numbers that the network answers with for an example.
`gradient_balance`: of the gradient at the output, the sum over the batch as a share of the sum
of magnitudes, the median over outputs; zero where the loss weighs examples against each other.
NaN for batches of more than 64 examples. `cross_entropy`: share of the examples whose gradient
at the output is that of a cross-entropy which takes the output for logits and has one right
class; of classes only.

`trial_*`, `mixing`, `dependence` and `memory` come from a few extra evaluations a run and
are NaN in other rows. The loss and the error of the same examples in training mode and in
evaluation mode; `trial_eval_distance`: rms difference of the two outputs over their
standard deviation between examples; `trial_noise`: the same of two evaluations with other
random numbers, 0 where there are none. Then every other example is replaced by its
neighbour: `mixing` is the rms change of the outputs of the examples that stayed, and
`dependence` of those that were replaced, over the rms output; `memory`, of networks with a
recurrent layer and sequences of at least eight steps: the latter where only the first half
of the steps was replaced. `mixing_layer` is the first module whose output changed for an
example that stayed, `mixing_structural` that this is a recurrent or attention layer which
takes the batch for the sequence; `cut_layer` is the first module whose output did not
change for replaced examples, both "" where there is none."""

SLICE_PREFIX: Final = "slice."


def predictions_schema(value: pa.DataType, slices: tuple[str, ...] = ()) -> pa.Schema:
    """Schema of one split's predictions; `value` is the type of targets and predictions."""
    return pa.schema(
        [
            ("id", pa.string()),
            ("target", value),
            ("prediction", value),
            ("correct", pa.bool_()),
            ("loss", pa.float32()),
            ("score", pa.float32()),
            *((SLICE_PREFIX + name, pa.string()) for name in slices),
        ]
    )


SKETCH_ROWS: Final = 1_000
SKETCH_COLUMNS: Final = 32
SKETCH_LAYOUT: Final = b"layout"
"""Schema metadata of a sketch: sketches of different layouts do not compare."""


def sketch_schema(columns: int) -> pa.Schema:
    """Schema of the sketch of a data set: `key`, then as many sums of an example's numbers.

    The rows have the smallest keys of the whole data set, ascending and distinct: with fewer
    than `SKETCH_ROWS` of them, it is all of its distinct examples.
    """
    sums = [(f"sum{number:02d}", pa.float16()) for number in range(columns)]
    return pa.schema([("key", pa.uint64()), *sums])
