"""Seconds spent on watching, added up from several places."""

from dataclasses import dataclass


@dataclass
class Meter:
    """A sum that can be taken away.

    Attributes:
        seconds: spent since it was last taken.
    """

    seconds: float = 0.0

    def take(self) -> float:
        """The seconds so far; starts again at zero."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds
