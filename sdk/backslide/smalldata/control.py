"""Do the labels mean anything? A model that learns must beat targets dealt out at random."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from backslide.smalldata.agreement import Agreement, agreement
from backslide.smalldata.data import Examples
from backslide.smalldata.exchange import RATES
from backslide.smalldata.memorise import adam
from backslide.smalldata.neighbours import NEIGHBOURS, nearest
from backslide.smalldata.recipe import Recipe
from backslide.smalldata.task import Task, Values
from backslide.smalldata.verdict import Defect, Kind

EPOCHS: Final = 60
BATCH: Final = 32
LOOK_EVERY: Final = 5
INFORMATIVE: Final = 3.0
BEYOND_DOUBT: Final = 6.0
"""Training ends at this z. It is far above `INFORMATIVE`, as looking often favours chance."""
CLEARLY: Final = 0.1
"""Share of the error of a constant answer by which knowing the inputs makes it smaller."""
FAR_LESS: Final = 0.3
"""Skill that a model lacks beside what its data allow."""
CONTROLS: Final = 4
T_95, T_80 = 2.353, 0.978
"""One-sided points of Student's t, three degrees of freedom: one new value against four."""
MAPPED: Final = 0.5
"""Skill after renumbering the classes; below it, a renaming may fit a mere tendency."""


@dataclass
class _Learner:
    """One training on the small set, looked at now and then."""

    recipe: Recipe
    train: Examples
    heldout: Examples
    task: Task
    epochs: int = 0
    limit: int = EPOCHS
    hasty: bool = True
    """Training ends when the agreement is beyond doubt."""

    def learn(
        self,
        optimizer_of: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    ) -> Agreement:
        """Trains until the held-out agreement is beyond doubt, or `EPOCHS` are over."""
        torch.manual_seed(0)
        self.model = self.recipe.model()
        self.optimizer = (optimizer_of or self.recipe.opt_fn)(self.model)
        shuffler = torch.Generator().manual_seed(0)
        found = Agreement(0.0, 0.0, 0.0)
        last = self.limit
        for self.epochs in range(1, last + 1):
            order = torch.randperm(len(self.train), generator=shuffler)
            for rows in _batches(order):
                # A last batch of one example upsets batch norm in any training loop.
                if len(rows) > 1:
                    self.recipe.step(self.model, self.optimizer, self.train.take(rows))
            if self.epochs % LOOK_EVERY == 0:
                found = self.agreement()
                if self.hasty and found.z >= BEYOND_DOUBT:
                    break
        return found

    def predict(self, examples: Examples, *, training: bool = False) -> Tensor:
        parts = [
            self.recipe.observe(
                self.model, self.optimizer, examples.take(rows), training=training
            ).output
            for rows in _batches(torch.arange(len(examples)))
            if len(rows) > 1
        ]
        return torch.cat([part for part in parts if part is not None])

    def agreement(self, *, training: bool = False) -> Agreement:
        output = self.predict(self.heldout, training=training)
        return agreement(self.task, output, self.heldout.take(range(len(output))))


def _batches(order: Tensor) -> list[Tensor]:
    return [order[i : i + BATCH] for i in range(0, len(order), BATCH)]


def control(
    recipe: Recipe, train: Examples, others: Examples | None, heldout: Examples, task: Task
) -> tuple[Defect | None, str, dict[str, float]]:
    """Trains on a little real data and compares with permuted held-out targets.

    Permuting the held-out targets breaks their pairing with the inputs and keeps everything
    else, the predictions included, so that no second training is needed.

    Args:
        recipe: The user's parts.
        train: Examples to train on.
        others: Nearly as many that are not in `train`, if there are: what `train` tells about
            held-out examples, these should tell as well.
        heldout: Examples to judge on.
        task: What the targets ask for.

    Returns:
        A defect if there is one, a sentence with the figures, and the figures by name.
    """
    own = _Learner(recipe, train, heldout, task)
    found = own.learn()
    sentence = (
        f"Trained on {len(train)} examples for {own.epochs} epochs, the held-out "
        f"{task.association_name} over {len(heldout)} examples is {found}."
    )
    numbers = {"heldout": found.score, "heldout_chance": found.chance, "heldout_z": found.z}
    if found.z < INFORMATIVE:
        return _explain(own, found), sentence, numbers
    neighbours = nearest(task, train, heldout)
    known = _informed(own) or neighbours.skill >= FAR_LESS
    luck = None if known else _lucky(own, found, others)
    return luck or _falls_short(own, found, neighbours), sentence, numbers


def _falls_short(own: _Learner, found: Agreement, neighbours: Agreement) -> Defect | None:
    """A model that learns something, and far less than there is to learn.

    What looks like it early on is given a whole training before it is said.
    """
    as_trained = own.agreement(training=True)
    if max(neighbours.skill, as_trained.skill) - found.skill < FAR_LESS:
        return None
    whole = _Learner(own.recipe, own.train, own.heldout, own.task, hasty=False)
    late = whole.learn()
    as_trained = whole.agreement(training=True)
    if as_trained.skill - late.skill >= FAR_LESS:
        return _apart(as_trained, late)
    known = agreement(own.task, whole.predict(own.train), own.train)
    if neighbours.skill - max(late.skill, known.skill) < FAR_LESS:
        return None
    with_adam = _Learner(own.recipe, own.train, own.heldout, own.task, hasty=False)
    try:
        with_adam.learn(lambda model: adam(own.recipe, model, RATES[0]))
    except Exception:  # noqa: BLE001  # the step may rely on its own optimizer's extras
        return None
    known = agreement(own.task, with_adam.predict(own.train), own.train)
    if neighbours.skill - known.skill < FAR_LESS:
        return None  # it is slow and not small
    return _small(neighbours, late, known)


def _apart(as_trained: Agreement, found: Agreement) -> Defect:
    sentence = (
        f"In training mode the same model reaches {as_trained} on the held-out examples, "
        f"in evaluation mode {found}."
    )
    return Defect(Kind.CODE, "train-eval-mismatch", sentence)


def _small(neighbours: Agreement, found: Agreement, known: Agreement) -> Defect:
    sentence = (
        f"{NEIGHBOURS} nearest neighbours predict held-out targets ({neighbours}), this model "
        f"does not ({found}); on its own training examples it reaches {known.score:.3f}."
    )
    return Defect(Kind.CAPACITY, "underfits", sentence)


def _informed(own: _Learner) -> bool:
    """Whether the held-out answers are better than those of whoever knows no inputs at all.

    Agreement alone may be luck: a model that knows four clusters and nothing else is right or
    wrong about whole clusters, and a line is about its sign. That luck does not reach the size
    of errors.
    """
    output = own.predict(own.heldout)
    targets = own.heldout.take(range(len(output))).truth
    if isinstance(own.task, Values):
        score = own.task.score(output, targets)
        return score is not None and score >= CLEARLY
    loss, ignorant = own.task.loss(output, targets), own.task.ignorance(targets)
    return loss is not None and ignorant is not None and float(loss) <= (1 - CLEARLY) * ignorant


def _lucky(own: _Learner, found: Agreement, others: Examples | None) -> Defect | None:
    """A defect if permuted training targets do as well, or other training examples no better.

    Some permutations of few labels resemble the true ones; the labels of other examples are
    another permutation, and do so once in five times.
    """
    scores = []
    for seed in range(1, CONTROLS + 1):
        shuffler = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(own.train), generator=shuffler)
        permuted = own.train.with_targets(own.train.targets_of(order))
        other = _Learner(
            own.recipe, permuted, own.heldout, own.task, limit=own.epochs, hasty=False
        )
        scores.append(other.learn().score)
    null = torch.tensor(scores, dtype=torch.float64)
    mean = float(null.mean())
    spread = max(float(null.std()) * math.sqrt(1 + 1 / CONTROLS), 1e-12)
    name = f"Held-out {own.task.association_name} is {found.score:.2f}"
    shown = ", ".join(f"{score:.2f}" for score in scores)
    if found.score <= mean + T_95 * spread:
        sentence = f"{name}, and {shown} after training on permuted targets: that much is luck."
        return Defect(Kind.DATA, "labels-carry-no-information", sentence)
    if others is None:
        return None
    # A whole training: luck is larger the earlier one stops because of it.
    repeat = _Learner(own.recipe, others, own.heldout, own.task, hasty=False)
    repeated = repeat.learn().score
    if repeated > mean + T_80 * spread:
        return None
    sentence = (
        f"{name} ({shown} after training on permuted targets), but {repeated:.2f} after "
        f"training on {len(others)} other examples: that much is luck."
    )
    return Defect(Kind.DATA, "labels-carry-no-information", sentence)


def _explain(own: _Learner, found: Agreement) -> Defect:
    """Why nothing was learnt that carries over to held-out examples."""
    task = own.task
    as_trained = own.agreement(training=True)
    if as_trained.z >= BEYOND_DOUBT:
        return _apart(as_trained, found)
    mapped = _mapped(own)
    if mapped is not None and mapped.z >= BEYOND_DOUBT and mapped.skill >= MAPPED:
        sentence = (
            "Held-out classes match the predictions once they are renumbered: "
            f"{task.association_name} {mapped}."
        )
        return Defect(Kind.DATA, "label-mapping", sentence)
    neighbours = nearest(task, own.train, own.heldout)
    if neighbours.z < INFORMATIVE:
        sentence = (
            f"Held-out {task.association_name} is {found}; {NEIGHBOURS} nearest neighbours "
            f"do no better: {neighbours}."
        )
        return Defect(Kind.DATA, "labels-carry-no-information", sentence)
    with_adam = _with_adam(own)
    if with_adam is not None:
        sentence = (
            f"With Adam at {RATES[0]:g} the same step reaches {with_adam} on held-out "
            f"examples, your optimizer {found}."
        )
        return Defect(Kind.OPTIMIZER, "learns-too-slowly", sentence)
    fit = agreement(task, own.predict(own.train), own.train)
    small = _small(neighbours, found, fit)
    return (
        replace(small, kind=Kind.CODE, cause="does-not-generalise")
        if fit.skill > 0.5
        else small
    )


def _with_adam(own: _Learner) -> Agreement | None:
    other = _Learner(own.recipe, own.train, own.heldout, own.task)
    try:
        found = other.learn(lambda model: adam(own.recipe, model, RATES[0]))
    except Exception:  # noqa: BLE001  # the step may rely on its own optimizer's extras
        return None
    return found if found.z >= INFORMATIVE else None


def _mapped(own: _Learner) -> Agreement | None:
    """Agreement after renaming predicted classes, learnt on one half and tried on the other."""
    truth = own.task.groups(own.heldout.truth)
    output = own.predict(own.heldout)
    if truth is None or output.ndim != 2 or output.shape[1] < 2:
        return None
    truth, guess = truth[: len(output)].cpu(), output.argmax(1)
    half = len(guess) // 2
    counts = torch.zeros(output.shape[1], int(truth.max()) + 1)
    counts.index_put_((guess[:half], truth[:half]), torch.ones(half), accumulate=True)
    renamed = nn.functional.one_hot(counts.argmax(1)[guess[half:]], counts.shape[1])
    rest = own.heldout.take(torch.arange(half, len(guess)))
    return agreement(own.task, renamed.double(), rest)
