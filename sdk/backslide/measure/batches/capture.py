"""What was kept of one batch, until all of it is on the host."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from backslide.measure.batches import answers
from backslide.measure.batches.facts import Batch, Calls, Trial, describe, digests
from backslide.measure.batches.pieces import Piece
from backslide.measure.batches.places import Places
from backslide.measure.batches.trial import Question, Reply, Told


@dataclass(eq=False)
class Capture:
    """What was kept of a batch, on its way to the host.

    Attributes:
        examples: size of the batch.
        training: whether the model was in training mode.
        inputs: some features of some examples.
        further: the same of the model's other inputs.
        output: their answers, shape (n, k).
        width: numbers of an answer, of which k were kept.
        listed: an answer is a list of k numbers; otherwise a picture, a sequence, ...
        gradient: of the loss by them, once the backward pass has come by.
        places, pulls: the same of some places, where answers are no lists.
        optimizer_steps: steps that optimizers had made when this one was over.
        uncleared: whether the backward pass began with the gradients of the step before.
        calls: of the model without gradients, since the capture before.
        question: what a trial needs, until it is made.
        reply: what it brought.
    """

    examples: int
    training: bool
    inputs: Piece
    further: list[Piece]
    output: Piece | None = None
    width: int = 0
    listed: bool = True
    gradient: Piece | None = None
    places: Places | None = None
    pulls: Places | None = None
    optimizer_steps: int = 0
    uncleared: bool | None = None
    calls: Calls = field(default_factory=Calls)
    question: Question | None = None
    reply: Reply | None = None

    def ready(self) -> bool:
        """Whether everything has arrived; never waits."""
        pieces = (
            self.inputs, *self.further, self.output, self.gradient, self.places, self.pulls,
            self.reply,
        )  # fmt: skip
        return all(piece is None or piece.ready() for piece in pieces)

    def batch(self, step: int) -> Batch:
        """The facts; waits for what is not `ready`."""
        block = self.inputs.array()
        fingerprints = digests(block, *(piece.array() for piece in self.further))
        read, trial = answers.Answers(), Trial()
        if self.output is not None:
            output = self.output.array().astype(np.float64)
            gradient = None if self.gradient is None else self.gradient.array()
            with np.errstate(all="ignore"):  # a broken network is no reason to complain
                read = answers.read(
                    output,
                    gradient,
                    examples=self.examples,
                    width=self.width,
                    listed=self.listed,
                )
                read, told = self._at_places(read)
                if self.reply is not None:
                    trial = self.reply.read(read, output, fingerprints, told)
        return Batch(
            step,
            self.examples,
            self.training,
            self.optimizer_steps,
            math.nan if self.uncleared is None else float(self.uncleared),
            self.calls,
            fingerprints,
            describe(block),
            read,
            trial,
        )

    def _at_places(self, read: answers.Answers) -> tuple[answers.Answers, Told | None]:
        """What was read, or the classes at each place where the gradient tells such."""
        if self.places is None or self.pulls is None:
            return read, None
        pairs = zip(self.places.pieces, self.pulls.pieces, strict=True)
        for way, (place, pull) in enumerate(pairs):
            output = place.array().astype(np.float64)
            found = answers.read_places(output, pull.array().astype(np.float64))
            if found is not None:
                outside = ("outputs", "output_low", "output_high", "output_spread")
                kept = {name: getattr(read, name) for name in (*outside, "gradient_balance")}
                return replace(found, **kept), Told(way, output)
        return read, None
