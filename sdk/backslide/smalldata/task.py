"""How well outputs agree with targets, for the kinds of targets there are."""

import math
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from backslide.smalldata.trees import Tree

DENSE_PASS: Final = 0.95
"""Where each example has many targets, some of them cannot be told apart by any model, such as
the first words of sentences that begin alike."""


class Task(Protocol):
    """One kind of targets."""

    name: str
    score_name: str
    association_name: str
    passes_at: float

    def groups(self, targets: Tree) -> Tensor | None:
        """The class of each example, shape (n,), where examples have one."""

    def score(self, output: Tensor, targets: Tree) -> float | None:
        """How well the outputs fit, 1 at best; None where they cannot be compared."""

    def association(self, output: Tensor, targets: Tree) -> float:
        """How much the outputs tell about the targets, whatever their scale."""

    def loss(self, output: Tensor, targets: Tree) -> Tensor | None:
        """A reference loss that is known to be right; None where there is none."""

    def ignorance(self, targets: Tree) -> float | None:
        """That loss of the best answer which is the same for all; None where it is not used."""


class Classes:
    """One class index (or one-hot row) an example or position."""

    name = "classification"
    score_name = "accuracy"
    association_name = "accuracy"

    def __init__(self, targets: Tensor) -> None:
        """Learns from some targets whether they are one-hot, and whether they are dense."""
        self._one_hot = targets.is_floating_point()
        self.passes_at = DENSE_PASS if self._index(targets).ndim > 1 else 0.99

    def _index(self, targets: Tree) -> Tensor:
        index = _tensor(targets)
        return index.argmax(-1) if self._one_hot else index.long()

    def groups(self, targets: Tree) -> Tensor | None:
        """The class of each example, shape (n,), or None."""
        index = self._index(targets)
        return index if index.ndim == 1 else None

    def score(self, output: Tensor, targets: Tree) -> float | None:
        """The fit, 1 at best."""
        index = self._index(targets)
        known = index >= 0  # -100 and the like mark positions to be ignored
        hits = []
        for scores in _class_axis_second(output, index):
            answers, truth = scores.argmax(1), index.to(scores.device)
            hits.append((answers == truth)[known].double().mean().item())
            if truth.ndim == 2 and truth.shape[1] > 2:
                # A language model that is given its own inputs as labels answers with the next.
                ahead, told = truth[:, 1:], known[:, 1:]
                hits.append((answers[:, :-1] == ahead)[told].double().mean().item())
        return max(hits, default=None)

    def association(self, output: Tensor, targets: Tree) -> float:
        """What the outputs tell about the targets."""
        return self.score(output, targets) or 0.0

    def loss(self, output: Tensor, targets: Tree) -> Tensor | None:
        """The reference loss."""
        index = self._index(targets)
        scores = _class_axis_second(output, index)
        if not scores:
            return None
        index = index.to(output.device)
        best = max(scores, key=lambda s: (s.argmax(1) == index).double().mean().item())
        return functional.cross_entropy(best.float(), index.where(index >= 0, -100))

    def ignorance(self, targets: Tree) -> float | None:
        """The entropy of the classes, in nats."""
        index = self._index(targets)
        return _entropy(torch.unique(index[index >= 0], return_counts=True)[1])


class Binary:
    """Zeros and ones: one or several yes-or-no questions an example."""

    name = "binary classification"
    score_name = "AUC"
    association_name = "AUC"
    passes_at = 0.99

    def __init__(self, *, distance: bool = False) -> None:
        """With `distance`, the larger output is the no, as for pairs that belong together."""
        self._distance = distance

    def groups(self, targets: Tree) -> Tensor | None:
        """The class of each example, shape (n,), or None."""
        flat = (
            _tensor(targets).flatten(1)
            if _tensor(targets).ndim > 1
            else _tensor(targets)[:, None]
        )
        return flat[:, 0].long() if flat.shape[1] == 1 else None

    def score(self, output: Tensor, targets: Tree) -> float | None:
        """The fit, 1 at best."""
        truth = _tensor(targets).flatten()
        if output.numel() != truth.numel():
            return None
        # Rank-based, so that scores and probabilities are judged alike.
        values, yes = output.detach().flatten().double().cpu(), truth.cpu() > 0.5
        if not bool(yes.any()) or bool(yes.all()):
            return None
        ranks = _ranks(values)
        n_yes, n_no = int(yes.sum()), int((~yes).sum())
        found = float((ranks[yes].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))
        return 1 - found if self._distance else found

    def association(self, output: Tensor, targets: Tree) -> float:
        """What the outputs tell about the targets."""
        score = self.score(output, targets)
        return 0.5 if score is None else score

    def loss(self, output: Tensor, targets: Tree) -> Tensor | None:
        """The reference loss."""
        truth = _tensor(targets)
        if output.numel() != truth.numel():
            return None
        return functional.binary_cross_entropy_with_logits(
            output.flatten().float(), truth.flatten().float().to(output.device)
        )

    def ignorance(self, targets: Tree) -> float | None:
        """The entropy of yes and no, in nats."""
        return _entropy(torch.unique(_tensor(targets), return_counts=True)[1])


class Values:
    """Real numbers: regression and reconstruction."""

    name = "regression"
    association_name = "correlation"
    passes_at = 0.9

    def __init__(self, *, linked: bool = False) -> None:
        """With `linked`, outputs follow the targets in another unit, as the log of a rate."""
        self._linked = linked
        self.score_name = "rank correlation" if linked else "R²"

    def groups(self, targets: Tree) -> Tensor | None:  # noqa: ARG002  # values have no classes
        """The class of each example, shape (n,), or None."""
        return None

    def score(self, output: Tensor, targets: Tree) -> float | None:
        """The fit, 1 at best."""
        truth = _tensor(targets)
        if output.numel() != truth.numel():
            return None
        got, want = _rows(output), _rows(truth)
        if self._linked:
            return _correlation(_ranks(got.flatten()), _ranks(want.flatten()))
        spread = (want - want.mean(0)).square().sum()
        residual = (got - want).square().sum()
        return float(1 - residual / spread) if spread > 0 else None

    def association(self, output: Tensor, targets: Tree) -> float:
        """What the outputs tell about the targets."""
        got, want = _rows(output), _rows(_tensor(targets))
        return _correlation(got, want) if got.shape == want.shape else 0.0

    def loss(self, output: Tensor, targets: Tree) -> Tensor | None:
        """The reference loss."""
        truth = _tensor(targets)
        if output.numel() != truth.numel():
            return None
        want = truth.flatten().float().to(output.device)
        return functional.mse_loss(output.flatten().float(), want)

    @staticmethod
    def plain(output: Tensor, targets: Tree, loss: float) -> bool:
        """Whether a loss is one of the usual distances of outputs from targets."""
        truth = _tensor(targets)
        if output.numel() != truth.numel():
            return False
        away = (output.flatten() - truth.flatten().to(output.device)).double().abs()
        if not bool(away.isfinite().all()) or not math.isfinite(loss):
            return True
        mean = float(away.square().mean())
        distances = (mean, mean**0.5, float(away.mean()), float(_huber(away).mean()))
        times = (0.5, 1, 2, len(truth), len(truth) / 2, truth.numel(), truth.numel() / 2)
        wide = truth[:1].numel()  # summed over an example's values
        return any(
            math.isclose(loss, factor * distance, rel_tol=0.01)
            for distance in distances
            for factor in (*times, wide, wide / 2)
        )

    def ignorance(self, targets: Tree) -> float | None:  # noqa: ARG002  # R² has it built in
        """None: R² says it."""
        return None


class Unscored:
    """Targets or outputs of a form only the user's own loss understands."""

    name = "loss only"
    score_name = "score"
    association_name = "score"
    passes_at = 1.0

    def groups(self, targets: Tree) -> Tensor | None:  # noqa: ARG002
        """The class of each example, shape (n,), or None."""
        return None

    def score(self, output: Tensor, targets: Tree) -> float | None:  # noqa: ARG002
        """The fit, 1 at best."""
        return None

    def association(self, output: Tensor, targets: Tree) -> float:  # noqa: ARG002
        """What the outputs tell about the targets."""
        return 0.0

    def loss(self, output: Tensor, targets: Tree) -> Tensor | None:  # noqa: ARG002
        """The reference loss."""
        return None

    def ignorance(self, targets: Tree) -> float | None:  # noqa: ARG002
        """None: there is no loss to compare with."""
        return None


def task_of(truth: Tree, output: Tensor) -> Task:
    """Recognises the task by some targets and the model's output for them."""
    targets = _tensor(truth)
    if not output.is_floating_point() or targets.is_complex():
        return Unscored()
    per_target = output[:1].numel() / max(targets[:1].numel(), 1)
    zeros_and_ones = bool(((targets == 0) | (targets == 1)).all())
    if targets.is_floating_point():
        rows_sum_to_one = (
            targets.ndim == 2
            and targets.shape[1] > 1
            and bool((targets >= 0).all() and (targets.sum(1) - 1).abs().max() < 1e-3)
        )
        if rows_sum_to_one and per_target == 1:
            return Classes(targets)
        return Binary() if zeros_and_ones else Values()
    if per_target > 1:
        return Classes(targets)
    return Binary() if zeros_and_ones else Values()


def _huber(away: Tensor) -> Tensor:
    return torch.where(away < 1, away.square() / 2, away - 0.5)


def _ranks(values: Tensor) -> Tensor:
    """From 1, the mean of their ranks for ties."""
    _, tied = torch.unique(values, return_inverse=True)
    counts = tied.bincount()
    ranks: Tensor = counts.cumsum(0) - (counts - 1) / 2
    return ranks[tied]


def _correlation(got: Tensor, want: Tensor) -> float:
    """Pearson's, the mean over columns."""
    got, want = got - got.mean(0), want - want.mean(0)
    scale = (got.norm(dim=0) * want.norm(dim=0)).clamp_min(1e-12)
    return float(((got * want).sum(0) / scale).mean())


def _entropy(counts: Tensor) -> float:
    shares = counts.double() / counts.sum()
    return float(-(shares * shares.log()).sum())


def _tensor(targets: Any) -> Tensor:  # noqa: ANN401  # a tensor or an array
    return torch.as_tensor(targets)


def _rows(values: Tensor) -> Tensor:
    return values.detach().double().cpu().reshape(len(values), -1)


def _class_axis_second(output: Tensor, index: Tensor) -> list[Tensor]:
    """The output with its class axis in second place, each way in which the shapes allow."""
    if output.ndim != index.ndim + 1:
        return []
    return [
        output.movedim(axis, 1)
        for axis in sorted({1, output.ndim - 1})
        if output.shape[:axis] + output.shape[axis + 1 :] == index.shape
    ]
