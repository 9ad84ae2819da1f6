"""What a check can answer.

"Fine" and "could not tell" are different values, and only the engine makes `Crashed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is, worst first."""

    FAILING = "failing"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Found:
    """A symptom together with a failure to learn."""

    severity: Severity
    sentence: str
    """One plain sentence with the numbers and their units."""
    advice: str
    """The first thing to try."""
    layer: str | None = None
    """Qualified name of the module it was first seen in."""
    since_step: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    stop: bool = False
    """True when going on with the training is a waste."""
    usual_cause: str = ""
    """From the check's page; the registry writes it in."""


@dataclass(frozen=True, slots=True)
class Clear:
    """The check had its evidence and found nothing wrong."""

    note: str | None = None
    """A symptom seen without a failure to learn: worth a line in the report, no finding."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The check could not tell, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """The check itself is at fault."""

    error: str
    traceback: str


Outcome = Found | Clear | Skipped | Crashed


@dataclass(frozen=True, slots=True)
class Result:
    """One check's outcome on one run."""

    check: str
    outcome: Outcome
