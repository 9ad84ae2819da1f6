"""What the small-data test answers, and the advice that goes with each cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Kind(StrEnum):
    """Where the defect is."""

    OK = "ok"
    CODE = "code"
    OPTIMIZER = "optimizer"
    CAPACITY = "capacity"
    DATA = "data"


ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "frozen-params": (
            "Set requires_grad_(True) on them, or declare them in expect_frozen if they are "
            "meant to be frozen."
        ),
        "not-in-optimizer": (
            "Build the optimizer from model.parameters() of the model that is trained, after "
            "the last layer was replaced; declare in expect_frozen what is meant to stay."
        ),
        "no-gradient": (
            "Look for detach(), .item(), .data, torch.no_grad() or a NumPy round trip between "
            "these layers and the loss; declare in expect_frozen what is unused on purpose."
        ),
        "not-moving": (
            "Check that the step calls backward() and then optimizer.step(), in that order, "
            "and that the learning rate of every parameter group is above zero."
        ),
        "stale-gradients": "Call optimizer.zero_grad() once for every optimizer.step().",
        "mixes-examples": (
            "Check transposes and reshapes, batch_first of attention and recurrent layers, and "
            "the axis of softmax and normalisation: the first axis must stay the batch."
        ),
        "constant-input": "Print what the model is given for two different examples.",
        "outputs-are-probabilities": (
            "Give the loss raw scores: remove the softmax or sigmoid at the end of the model, "
            "or use the loss that expects probabilities."
        ),
        "class-out-of-range": (
            "Give the last layer one output for each class, and number the classes from 0."
        ),
        "shape-broadcast": (
            "Give outputs and targets the same shape, for example model(x).squeeze(-1); "
            "(n, 1) against (n,) silently becomes (n, n)."
        ),
        "dead-layer": (
            "Check the initial weights and biases before this layer; default initialisation, a "
            "leaky activation or normalisation keep units alive."
        ),
        "zero-gradient": (
            "Check for weights that are all zero at the start, dead activations, and masks or "
            "clamps that cut the path to the loss."
        ),
        "dropout-too-high": "Lower p to 0.5 or less: it is the share that is dropped.",
        "vanishing-gradient": (
            "Use ReLU-like activations, normalisation or residual connections, and an "
            "initialisation that suits the activation."
        ),
        "constant-output": (
            "Check the last layer: a softmax over a single unit, a saturated sigmoid or tanh, "
            "all-zero weights, or a reduction over the wrong axis."
        ),
        "output-range": (
            "Remove the last activation, or scale the targets into the range that it can reach."
        ),
        "loss-unbounded-below": (
            "Check the sign of the loss, and that NLLLoss gets log-probabilities, not scores."
        ),
        "loss-or-step": (
            "The model and its optimizer are fine: compare your loss and the order of "
            "zero_grad, backward and step with a plain reference, one line at a time."
        ),
        "input-preparation": (
            "The step changes its input before the model sees it: print both for one example."
        ),
        "non-finite": (
            "Look for log or division of zero, exp of large scores, initial weights that are "
            "too large, and inputs on a large scale; torch.autograd.set_detect_anomaly names "
            "the operation."
        ),
        "cannot-memorise": (
            "Not even a handful of examples can be learnt with a reference loss and optimizer. "
            "If more examples than two are needed to fail, widen the narrowest layer; "
            "otherwise check the forward pass layer by layer."
        ),
        "train-eval-mismatch": (
            "Check batch-norm momentum and running statistics, dropout rates, and that the "
            "model does the same in model.eval() as in model.train()."
        ),
        "does-not-generalise": (
            "Compare one example's way through training and through evaluation; look for a "
            "mixed-up batch, an index among the features, or too much capacity for the data."
        ),
        "learning-rate-too-low": "Raise the learning rate in steps of ten.",
        "learning-rate-too-high": "Lower the learning rate in steps of ten, or warm it up.",
        "optimizer-settings": (
            "Start from Adam with lr 3e-3, which works here, and bring your settings back one "
            "by one: weight decay, clipping, momentum, schedule."
        ),
        "target-scale": (
            "Standardise the targets (subtract the mean, divide by the standard deviation of "
            "the training set) and undo it for predictions, or suit the learning rate to them."
        ),
        "learns-too-slowly": "Raise the learning rate, or train longer than this test did.",
        "underfits": (
            "Other learners find a pattern in these data that this model does not: give it "
            "more capacity or better suited layers."
        ),
        "non-finite-data": "Find the rows with NaN or infinite values and drop or impute them.",
        "one-class": "Check how targets are read: every example has the same one.",
        "labels-carry-no-information": (
            "Check that inputs and targets stay aligned: sorting, shuffling or joining only "
            "one of them, file order, and off-by-one indices. Look at twenty pairs by eye."
        ),
        "label-mapping": (
            "Build the class index once and use it for both sets: the held-out classes are "
            "numbered differently from the training classes."
        ),
    }
)
"""Every cause the test can name, and what to do next."""


@dataclass(frozen=True)
class SmallDataVerdict:
    """The answer of `backslide.small_data_test`.

    Attributes:
        kind: Where the defect is: `ok`, `code`, `optimizer`, `capacity` or `data`.
        cause: A stable slug out of `ADVICE`, or None when all is well.
        evidence: Plain sentences with numbers, the decisive one first.
        numbers: The same numbers by name.
    """

    kind: Kind
    cause: str | None
    evidence: tuple[str, ...]
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return self.kind is Kind.OK

    @property
    def advice(self) -> str:
        """What to do next."""
        if self.cause is None:
            return "Train on all of the data; what goes wrong from here on needs a real run."
        return ADVICE[self.cause]

    @property
    def title(self) -> str:
        """Kind and cause as one phrase."""
        return str(self.kind) if self.cause is None else f"{self.kind}: {self.cause}"

    def to_dict(self) -> dict[str, object]:
        """The verdict as JSON can hold it."""
        return {
            "kind": str(self.kind),
            "cause": self.cause,
            "evidence": list(self.evidence),
            "numbers": dict(self.numbers),
            "advice": self.advice,
        }

    def __str__(self) -> str:
        """A short text for a terminal."""
        title = self.title.replace(": ", ", ")
        lines = "\n".join(f"  {sentence}" for sentence in self.evidence)
        return f"small-data test: {title}\n{lines}\nnext: {self.advice}"


@dataclass(frozen=True)
class Defect:
    """One defect that a stage of the test found."""

    kind: Kind
    cause: str
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)
