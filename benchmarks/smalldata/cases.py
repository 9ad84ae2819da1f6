"""Which fault or oddity is planted into which network, and what the test should say then."""

from benchmarks.smalldata.faults import FAULTS
from benchmarks.smalldata.healthy import HEALTHY

COMMON = [
    "frozen layer", "head not in optimizer", "detached graph", "zero_grad missing",
    "step missing", "negative loss", "input times zero", "learning rate 1e-6", "SGD at 50",
    "labels shuffled", "training labels shuffled",
]  # fmt: skip
OF_CLASSES = ["NLL on scores", "softmax twice", "MSE on the class index"]
NEW = ["optimizer of another model", "gradients cleared before the step", "through NumPy",
       "targets one row off"]  # fmt: skip
MATRIX = {
    "tuned": {
        "MLP": [*COMMON, *OF_CLASSES, "dead start", "zero start", "bottleneck of one",
                "transposed and reshaped", "NaN in one input", *list(HEALTHY)[:12]],
        "CNN": [*COMMON, *OF_CLASSES, "dead start", "bottleneck of one",
                "as it is", "SGD 0.1", "label smoothing 0.1"],
        "regression": [*COMMON, "dead start", "targets broadcast",
                       "as it is", "AdamW", "frozen body, declared", "zero-initialised head"],
        "raw regression": [*COMMON, "targets broadcast", "as it is", "AdamW"],
        "costs": [*COMMON, "targets broadcast", "targets out of range",
                  "targets around 14,000"],
        "tagger": [*COMMON, "softmax twice", "as it is", "clipping"],
        "transformer": [*COMMON, *OF_CLASSES, "attention over the batch",
                        "as it is", "warm-up from zero"],
    },
    "held-out": {
        "MLP": [*NEW, "weight decay 1", "softmax over the batch", "held-out classes renumbered",
                *list(HEALTHY)[12:]],
        "regression": ["targets out of range", "bottleneck of one", "zero start",
                       "SGD 0.01, momentum"],
        "transformer": ["Adam 1e-4", "AdamW, decay 0.1"],
        "BN-CNN": [*COMMON, *OF_CLASSES, *NEW, "bottleneck of one", "batch norm momentum 1e-5",
                   "held-out classes renumbered", "transposed and reshaped",
                   "as it is", "AdamW", "label smoothing 0.1", "frozen body, declared",
                   "20 % label noise", "loader and dataset"],
        "ResNet": [*COMMON, *OF_CLASSES, "held-out classes renumbered",
                   "as it is", "SGD 0.1", "zero-initialised head"],
        "GRU": [*COMMON, *OF_CLASSES, "softmax over the batch", "as it is", "clipping"],
        "binary": [*COMMON, *NEW, "sigmoid twice", "softmax of one unit", "dead start",
                   "as it is", "SGD 0.1", "frozen body, declared"],
        "dict regression": [*COMMON, *NEW, "targets broadcast", "targets out of range",
                            "as it is", "AdamW", "zero-initialised head"],
    },
}  # fmt: skip


def cases(part: str):
    """Network, name, how it is planted, right kinds, right causes."""
    for network, names in MATRIX[part].items():
        for name in names:
            yield network, name, *FAULTS.get(name, (HEALTHY.get(name), "ok", {None}))
