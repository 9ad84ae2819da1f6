"""What the detector says about a run: the record that is stored, written back and shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backslide.contract import Cause, Health, Verdict
from backslide_detector.finding import Found, Result, Severity


@dataclass(frozen=True, slots=True)
class Estimand:
    """One of the two questions, answered as far as the evidence goes.

    Attributes:
        effect: new error minus old error, as a fraction; None when it could not be estimated.
        interval: 95 % confidence interval of the effect, (low, high).
        pvalue: two-sided, against "no difference".
        n: examples (question "model") or retrains (question "recipe") it rests on.
        method: the test and the interval by their names in the literature.
        reason: why something above is missing, and what would settle it.
        fixed, broken: examples newly right and newly wrong, when the test was paired.
    """

    effect: float | None = None
    interval: tuple[float, float] | None = None
    pvalue: float | None = None
    n: int = 0
    method: str = ""
    reason: str | None = None
    fixed: int | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs between two runs; None means absent."""

    kind: Cause
    what: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class RetrainVerdict:
    """The answer to "is it better, or luck, and what caused it?".

    Attributes:
        sentence: the verdict in plain words, with numbers and units.
        compared_to: run id of the baseline; None for `first` and `none`.
        model: this model against that model.
        recipe: this recipe against that recipe.
        mde: smallest difference this test set could have shown with 80 % power, as a fraction.
        margin: half-width of the equivalence region, as a fraction.
        cause: most likely first.
        advice: what would settle it, or what to do next.
        behaviour: what else changed between the models, also at equal error; a sentence each.
    """

    verdict: Verdict
    sentence: str
    compared_to: str | None = None
    compared_name: str | None = None
    split: str | None = None
    old_error: float | None = None
    new_error: float | None = None
    model: Estimand = field(default_factory=Estimand)
    recipe: Estimand = field(default_factory=Estimand)
    mde: float | None = None
    margin: float | None = None
    cause: tuple[Cause, ...] = ()
    changed: tuple[Change, ...] = ()
    advice: str | None = None
    behaviour: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything the detector says about one run.

    Attributes:
        results: outcomes of all checks; findings first, likeliest root cause first.
        summary: one plain sentence for the runs table.
        problems: what could not be read or judged, and why.
    """

    run_id: str
    run_name: str
    lineage: str | None
    retrain: RetrainVerdict
    health: Health
    results: tuple[Result, ...]
    summary: str
    problems: tuple[str, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[tuple[str, Found], ...]:
        """(check, finding) of every check that found something, worst first."""
        return tuple((r.check, r.outcome) for r in self.results if isinstance(r.outcome, Found))

    @property
    def stop(self) -> str | None:
        """Why going on is a waste, when a finding says so."""
        for check, found in self.findings:
            if found.stop and found.severity is Severity.FAILING:
                return f"{check}: {found.sentence}"
        return None
