"""Weights after an optimizer's step, and the step itself: new minus old weights."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from backslide.measure.instruments.parameters import Named
from backslide.measure.instruments.tensors import local
from backslide.measure.summary import Summary, flatten, strided
from backslide.measure.transfer import Scaled

COPIED: Final = 2**26
"""Weights of which a whole copy is kept in a sampled step, in elements (256 MiB of float32).
Beyond it a sample is kept: seeing an update must not double a large model's memory."""

LARGE_SAMPLE: Final = 65_536
"""Elements kept of a tensor beyond that; the norm of its update is good to about 1 %."""


SPARE: Final = 2**22
"""Copies of this many elements in all (16 MiB) stay allocated from one sampled step to the
next: on a CPU, fresh pages cost more than the copy."""


_Form = tuple[int, torch.dtype, torch.device]


@dataclass(frozen=True, eq=False)
class Before:
    """Weights before a step, one item a parameter.

    Attributes:
        kept: copies, flat; of large tensors a sample.
        turn: places the samples.
        scaled: mixed-precision state; a skipped step is no update.
    """

    kept: list[Tensor]
    turn: int
    scaled: Scaled | None


class Updates:
    """Measures the steps of one optimizer; gradients must be off."""

    def __init__(self) -> None:
        """Keeps nothing yet."""
        self._spare: list[Tensor] = []
        self._forms: list[_Form] = []

    def before(self, parameters: list[Tensor], turn: int, scaled: Scaled | None) -> Before:
        """Keeps what `after` will need."""
        left = COPIED
        old = []
        for parameter in parameters:
            flat = flatten(local(parameter))
            left -= flat.numel()
            old.append(flat if left >= 0 else strided(flat, turn, LARGE_SAMPLE))
        kept, self._spare = self._spare, []
        forms = [(tensor.numel(), tensor.dtype, tensor.device) for tensor in old]
        if not kept or forms != self._forms:
            kept, self._forms = [torch.empty_like(tensor) for tensor in old], forms
        if kept:
            torch._foreach_copy_(kept, old)  # as torch's own optimizers do
        return Before(kept, turn, scaled)

    def after(
        self, summary: Summary, parameters: list[Tensor], named: list[Named], old: Before
    ) -> None:
        """Queues the weights after the step and the difference that it made."""
        scaled = old.scaled and old.scaled.unscaled()
        for parameter, each, kept in zip(parameters, named, old.kept, strict=True):
            weight = local(parameter)
            summary.add(each.weight, weight, lasting=True)
            flat = flatten(weight)
            count = flat.numel()
            if kept.numel() < count:
                flat = strided(flat, old.turn, LARGE_SAMPLE)
            difference = torch.sub(flat, kept, out=kept)
            summary.add(each.update, difference, scaled=scaled, stands_for=count, lasting=True)
        summary.settle()
        if sum(tensor.numel() for tensor in old.kept) <= SPARE:
            self._spare = old.kept
