"""A few extra evaluations a run, of two questions each.

Does evaluation mode agree with training mode, and does each answer depend on its own example
and on no other? The same few examples are evaluated again before the optimizer's step, so with
the weights of the training step: as they are, and with every other one replaced by its
neighbour. What stays must get the same answer, what was replaced another one. A network with a
recurrent layer is asked once more, with the first half of each sequence replaced: does it
remember?
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backslide.measure.batches.answers import Answers, losses
from backslide.measure.batches.facts import NAN, Trial
from backslide.measure.batches.pieces import (
    Piece,
    first_answers,
    first_inputs,
    flat_answers,
    mapped,
    tensors,
)
from backslide.measure.batches.places import Places
from backslide.measure.batches.undisturbed import evaluate
from backslide.measure.graph.trace import EXAMPLES, Traced, trace
from backslide.measure.instruments.activations import observable
from backslide.measure.instruments.tensors import first_floating

Floats = NDArray[np.float64]

ROWS: Final = 16
"""Examples of a trial."""

SAMPLE: Final = 256
"""Elements of each example that are compared of a module's output."""

SAME: Final = 1e-5
"""Relative change below which an output counts as unchanged: rounding in another order."""

MOVED: Final = 1e-3
"""Relative change above which an output counts as changed."""

LONG: Final = 8
"""Steps of a sequence from which on there is something to remember."""


class Question(NamedTuple):
    """What a trial needs of a training step.

    Attributes:
        args, kwargs: arguments of the model, of each tensor the first examples.
        rows: examples at hand.
        examples: of the batch they are the first of.
        autocast: precision of the step; None for that of the tensors.
        device: of the inputs.
    """

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    rows: int
    examples: int
    autocast: torch.dtype | None
    device: torch.device


class Module(NamedTuple):
    """A module that gave one output an example.

    Attributes:
        name: qualified name.
        across: a recurrent or attention layer that took the batch for the sequence.
    """

    name: str
    across: bool


class Told(NamedTuple):
    """Where a training step's gradient told classes at places of the examples.

    Attributes:
        way: number of the piece of `Places`.
        output: that piece of the step's answers, shape (m, k).
    """

    way: int
    output: Floats


@dataclass(frozen=True, eq=False)
class Reply:
    """What a trial brought, on its way to the host.

    Attributes:
        base: answers in evaluation mode, shape (rows, k).
        places: the same at some places; None where answers are lists.
        changed: the same with every other example replaced.
        forgotten: the same with the first half of their steps replaced; None without sequences.
        again: as `base`, with other random numbers; None where there are none in it.
        modules: in the order they ran.
        changes: shape (modules, 4): rms change of the examples that stayed and of those that
            were replaced, rms of the output, largest weight of a matrix.
    """

    base: Piece
    places: Places | None
    changed: Piece
    forgotten: Piece | None
    again: Piece | None
    modules: list[Module]
    changes: Piece | None

    def ready(self) -> bool:
        """Whether everything has arrived."""
        pieces = (
            self.base, self.places, self.changed, self.forgotten, self.again, self.changes,
        )  # fmt: skip
        return all(piece is None or piece.ready() for piece in pieces)

    def read(
        self,
        trained: Answers,
        output: Floats,
        digests: tuple[int, ...],
        told: Told | None = None,
    ) -> Trial:
        """What follows from it.

        Args:
            trained: what was read from the training step.
            output: its answers, shape (n, k).
            digests: fingerprints of its examples.
            told: where classes at places were read.
        """
        base, changed = self.base.array(), self.changed.array()
        rows = len(base)
        base, changed = base.astype(np.float64), changed.astype(np.float64)
        output = output[:rows]
        before, now = output, base
        if told is not None:
            now = self._at(told.way)
            before = told.output[: len(now)]
        targets = np.array(trained.targets[: len(now)])
        loss, error = losses(trained.answers, before, targets)
        eval_loss, eval_error = losses(trained.answers, now, targets)
        spread = _rms(output - output.mean(0))
        found = Trial(
            trial_loss=loss,
            trial_eval_loss=eval_loss,
            trial_error=error,
            trial_eval_error=eval_error,
            trial_eval_distance=_rms(base - output) / spread if spread > 0 else NAN,
            trial_noise=self._noise(base),
        )
        pairs = zip(digests[1:rows:2], digests[0:rows:2], strict=False)
        size = _rms(base)
        if size == 0 or not any(new != old for new, old in pairs):
            return found
        found = replace(
            found,
            mixing=_rms((changed - base)[::2]) / size,
            dependence=_rms((changed - base)[1::2]) / size,
        )
        if self.forgotten is not None:
            late = self.forgotten.array().astype(np.float64)
            found = replace(found, memory=_rms((late - base)[1::2]) / size)
        return found if self.changes is None else self._located(found, self.changes.array())

    def _at(self, way: int) -> Floats:
        """Answers at the places of one piece, shape (m, k)."""
        pieces = [] if self.places is None else self.places.pieces
        return pieces[way].array().astype(np.float64) if way < len(pieces) else np.empty((0, 1))

    def _noise(self, base: Floats) -> float:
        """How far random numbers move an answer, over the spread between examples."""
        if self.again is None:
            return 0.0
        spread = _rms(base - base.mean(0))
        return _rms(self.again.array() - base) / spread if spread > 0 else NAN

    def _located(self, found: Trial, changes: NDArray[np.float32]) -> Trial:
        """Where examples get mixed, and where the inputs are lost."""
        stayed, replaced, size, weight = np.where(np.isfinite(changes), changes, 0.0).T
        mixed = np.flatnonzero(stayed > MOVED * size)
        if found.mixing > MOVED and len(mixed):
            module = self.modules[mixed[0]]
            found = replace(found, mixing_layer=module.name, mixing_structural=module.across)
        answering = size > 0
        answering[0] = True  # an embedding answers padding with zeros
        lost = np.flatnonzero((replaced <= SAME * size) & answering)
        if found.dependence <= SAME and len(lost):
            first = int(lost[0])
            # Through a unit that died or weights that are zero, a network loses its inputs too,
            # but bit by bit or in a module without weights: other faults, with other names.
            whole = first == 0 or replaced[first - 1] > MOVED * size[first - 1]
            if whole and weight[first] > 0:
                found = replace(found, cut_layer=self.modules[first].name)
        return found


def question(
    args: tuple[object, ...], kwargs: Mapping[str, object], inputs: Tensor, output: Tensor
) -> Question | None:
    """Copies of a few examples; None where it is not sure what counts examples.

    Args:
        args: arguments of the model.
        kwargs: named arguments of the model.
        inputs: the tensor among them that counts examples by its first dimension.
        output: of the model, one row an example.
    """
    rows = min(ROWS, len(inputs))
    # Where batch and sequence are of one length, nobody can tell which a layer took.
    rows -= rows in inputs.shape[1:] and rows > 2
    kind = inputs.device.type
    if rows < 2 or kind not in ("cpu", "cuda") or not _batch_first(inputs, output):
        return None
    if any(each.ndim and len(each) != len(inputs) for each in tensors((args, kwargs))):
        return None

    def few(tensor: Tensor) -> Tensor:
        return tensor[:rows].detach().clone() if tensor.ndim else tensor

    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    copied = cast("tuple[object, ...]", mapped(args, few))
    named = cast("dict[str, object]", mapped(dict(kwargs), few))
    return Question(copied, named, rows, len(inputs), autocast, inputs.device)


def ask(model: nn.Module, question: Question) -> Reply | None:
    """Runs the evaluations; None where the output is of another form in evaluation mode."""
    order = torch.arange(question.rows, device=question.device)
    order[1::2] -= 1
    swapped = mapped(
        (question.args, question.kwargs), lambda each: each[order] if each.ndim else each
    )
    args, kwargs = cast("tuple[tuple[object, ...], Mapping[str, object]]", swapped)
    answered, heard, random = _listen(model, question, question.args, question.kwargs)
    other, late, _ = _listen(model, question, args, kwargs)
    base, changed = (None if out is None else flat_answers(out) for out in (answered, other))
    if answered is None or base is None or changed is None:
        return None
    same = [each[0] for each in heard] == [each[0] for each in late]
    changes = [
        _change(old, new, module)
        for (_, module, old), (_, _, new) in zip(heard, late, strict=False)
        if same and old.shape == new.shape
    ]
    return Reply(
        Piece(base),
        Places(answered, question.examples) if answered.ndim > 2 else None,
        Piece(changed),
        _forgotten(model, question, order),
        _answers(model, question, question.args, question.kwargs, anew=True)
        if random
        else None,
        [each[0] for each in heard] if changes else [],
        Piece(torch.stack(changes)) if len(changes) == len(heard) > 0 else None,
    )


def _forgotten(model: nn.Module, question: Question, order: Tensor) -> Piece | None:
    """Answers with the first half of every other sequence replaced; None without sequences."""
    if not any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return None
    inputs = first_inputs(question.args, question.kwargs)
    if inputs is None or inputs.ndim not in (2, 3) or inputs.shape[1] < LONG:
        return None
    steps = inputs.shape[1]

    def late(each: Tensor) -> Tensor:
        if each.ndim < 2 or each.shape[1] != steps:
            return each
        return torch.cat([each[order, : steps // 2], each[:, steps // 2 :]], 1)

    args, kwargs = cast(
        "tuple[tuple[object, ...], Mapping[str, object]]",
        mapped((question.args, question.kwargs), late),
    )
    return _answers(model, question, args, kwargs)


def _answers(
    model: nn.Module,
    question: Question,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    anew: bool = False,
) -> Piece | None:
    """The model's answers to the question's examples."""
    found = evaluate(
        model, args, kwargs, autocast=question.autocast, device=question.device, anew=anew
    )
    answers = first_answers(found.output, question.rows)
    rows = None if answers is None else flat_answers(answers)
    return None if rows is None else Piece(rows)


def connected(model: nn.Module, question: Question) -> Traced:
    """How the model's modules are connected, seen on two of the examples."""

    def few(tensor: Tensor) -> Tensor:
        return tensor[:EXAMPLES] if tensor.ndim else tensor

    args, kwargs = cast(
        "tuple[tuple[object, ...], Mapping[str, object]]",
        mapped((question.args, question.kwargs), few),
    )
    return trace(model, args, kwargs, device=question.device, autocast=question.autocast)


Heard = list[tuple[Module, nn.Module, Tensor]]


def _listen(
    model: nn.Module,
    question: Question,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
) -> tuple[Tensor | None, Heard, bool]:
    """The model's answers, a sample of each module's output, and whether chance was in them."""
    heard: dict[str, tuple[Module, nn.Module, Tensor]] = {}

    def note(name: str, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        tensor = first_floating(output)
        if name in heard or tensor is None or not tensor.ndim or len(tensor) != question.rows:
            return
        flat = tensor.detach().reshape(question.rows, -1)
        sample = flat[:, :: max(1, flat.shape[1] // SAMPLE)].float().clone()
        across = _takes_batch_for_sequence(module, given, question.rows)
        heard[name] = Module(name, across), module, sample

    handles = [
        module.register_forward_hook(_Note(note, name)) for name, module in observable(model)
    ]
    try:
        output, random = evaluate(
            model, args, kwargs, autocast=question.autocast, device=question.device
        )
    finally:
        for handle in handles:
            handle.remove()
    return first_answers(output, question.rows), list(heard.values()), random


class _Note:
    """A forward hook that knows the name of its module."""

    def __init__(self, note: Any, name: str) -> None:  # noqa: ANN401  # a local function
        self._note = note
        self._name = name

    def __call__(self, module: nn.Module, given: tuple[object, ...], output: object) -> None:
        self._note(self._name, module, given, output)


def _change(old: Tensor, new: Tensor, module: nn.Module) -> Tensor:
    """Row of `Reply.changes`."""
    difference = new - old
    matrices = [each.detach() for each in module.parameters() if each.ndim > 1]
    weight = matrices[0].abs().amax().float() if matrices else old.new_zeros(())
    return torch.stack([
        difference[::2].square().mean().sqrt(),
        difference[1::2].square().mean().sqrt(),
        old.square().mean().sqrt(),
        weight,
    ])  # fmt: skip


def _batch_first(inputs: Tensor, output: Tensor) -> bool:
    """Does the first dimension count examples, and not the time of a sequence?"""
    if inputs.ndim in (0, 1) or inputs.ndim >= 4 or output.ndim == 1:
        return True
    if inputs.ndim == 2 and inputs.is_floating_point():
        return output.ndim == 2
    return output.ndim == 2 and output.shape[1] != inputs.shape[1]


def _takes_batch_for_sequence(module: nn.Module, given: tuple[object, ...], rows: int) -> bool:
    """Is this a layer that wants the sequence first, but got the batch there?"""
    if not isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) or module.batch_first:
        return False
    shape = given[0].shape if given and isinstance(given[0], Tensor) else ()
    return len(shape) == 3 and shape[0] == rows and shape[1] not in (1, rows)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else NAN
