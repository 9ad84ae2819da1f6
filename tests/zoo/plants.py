"""What is done to a healthy training: a fault, or a habit that only looks like one."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.zoo.training import Setup

Change = Callable[[Setup], None]


@dataclass(frozen=True)
class Plant:
    """One thing done to a training.

    Attributes:
        labels: the checks that would name it; empty for a healthy control.
        worlds: the trainings it is done to, of both halves.
        silent: the run looks well from outside: it learns, or errs as if the data were hard.
    """

    name: str
    labels: tuple[str, ...]
    worlds: tuple[str, ...]
    change: Change
    silent: bool = False


PLANTS: list[Plant] = []


def fault(*labels: str, on: str, silent: bool = False) -> Callable[[Change], Change]:
    """Registers a fault under its function's name; `on` lists worlds."""

    def register(change: Change) -> Change:
        name = change.__name__.replace("_", "-")
        PLANTS.append(Plant(name, labels, tuple(on.split()), change, silent))
        return change

    return register


def control(*, on: str) -> Callable[[Change], Change]:
    """Registers a healthy control."""
    return fault(on=on)
