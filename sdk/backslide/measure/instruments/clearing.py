"""Whether gradients are cleared between an optimizer's step and the next backward pass."""

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import ref

from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Spent:
    """A gradient that a step was made with; `version` counts changes in place."""

    parameter: "ref[Tensor]"
    place: int
    version: int


class Clearing:
    """Remembers the gradient of one parameter; reads no element of it."""

    def __init__(self) -> None:
        """Knows of no step yet."""
        self._spent: _Spent | None = None

    def stepped(self, parameters: Iterable[Tensor]) -> None:
        """A step was made with the gradients that these parameters have now."""
        self._spent = None
        for parameter in parameters:
            if parameter.grad is not None and (now := _identity(parameter.grad)) is not None:
                self._spent = _Spent(ref(parameter), *now)
                return

    def forget(self) -> None:
        """Another step was made, and nobody looked."""
        self._spent = None

    def left(self) -> bool | None:
        """Whether that gradient is still there as it was; None where nothing is known.

        Asked when a backward pass begins, which would then add to it.
        """
        parameter = None if self._spent is None else self._spent.parameter()
        if self._spent is None or parameter is None:
            return None
        if parameter.grad is None:
            return False
        return _identity(parameter.grad) == (self._spent.place, self._spent.version)


def _identity(gradient: Tensor) -> tuple[int, int] | None:
    """Where it lies and how often it was changed there; None for sparse and sharded ones."""
    try:
        return gradient.data_ptr(), gradient._version  # noqa: SLF001  # torch's count of changes
    except (RuntimeError, NotImplementedError):
        return None
