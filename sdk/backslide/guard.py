"""Nothing raised in here reaches the training loop."""

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D")

SENTENCES: Final = 5
"""Different mistakes in one call that are told; more are likely one that words itself anew."""

logger = logging.getLogger("backslide")


class Faults:
    """Counts what went wrong and says each kind of it once.

    Attributes:
        counts: occurrences by kind.
    """

    def __init__(self) -> None:
        """Starts without any."""
        self.counts: Counter[str] = Counter()
        self._mistakes: dict[str, set[str]] = {}

    def note(self, kind: str, sentence: str, *args: object) -> None:
        """Counts one fault; the first of its kind is logged as a warning.

        Without any logging set up, Python prints warnings on stderr.
        """
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            logger.warning(sentence, *args)

    def mistake(self, kind: str, sentence: str, *args: object) -> None:
        """As `note`, but said once for each different sentence: who mends one sees the next."""
        self.counts[kind] += 1
        told, said = self._mistakes.setdefault(kind, set()), sentence % args
        if said not in told and len(told) < SENTENCES:
            told.add(said)
            logger.warning("%s", said)


class Guarded(Protocol):
    """Something that keeps count of its faults."""

    @property
    def faults(self) -> Faults:
        """Where they are counted."""


G = TypeVar("G", bound=Guarded)


def left_out(name: str, error: Exception, faults: Faults) -> None:
    """Says that a call failed and that training goes on; while the error is being handled."""
    faults.mistake(
        name,
        "backslide: %s() failed and was left out; training goes on. %s: %s",
        *(name, type(error).__name__, error),
    )
    logger.debug("where %s() failed", name, exc_info=error)


def guarded(
    default: D,
) -> Callable[[Callable[Concatenate[G, P], R]], Callable[Concatenate[G, P], R | D]]:
    """Makes a method return `default` instead of raising: the guest never breaks the training.

    `KeyboardInterrupt` and the like pass: they are the user's own.
    """

    def decorate(
        method: Callable[Concatenate[G, P], R],
    ) -> Callable[Concatenate[G, P], R | D]:
        @functools.wraps(method)
        def call(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R | D:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001  # whatever it is, training goes on
                left_out(method.__name__, error, self.faults)
                return default

        return call

    return decorate
