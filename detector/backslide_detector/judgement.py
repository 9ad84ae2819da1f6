"""What the detector says about a run: the record that is stored, written back and shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backslide.contract import Cause, Health, Measure, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.finding import Found, Result, Severity
from backslide_detector.lineage import Stream


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two distributions lie apart.

    Attributes:
        statistic: AUC of a classifier between inputs, chi-square between class shares.
        pvalue: of "the same distribution".
        n: examples of both together.
        method: the test by its name in the literature.
    """

    statistic: float
    pvalue: float
    n: int
    method: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs between two runs; None means absent, `shift` a measured one."""

    kind: Cause
    what: str
    old: str | None
    new: str | None
    shift: Shift | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """One class or slice that a retrain may have made worse.

    Attributes:
        name: "class cat", "region = south".
        n: common examples in it.
        effect, interval: change of its error or loss, and its 95 % interval, not adjusted.
        pvalue: one-sided, of "not worse", Holm-adjusted over all classes and slices.
    """

    name: str
    n: int
    effect: float
    interval: tuple[float, float]
    pvalue: float


@dataclass(frozen=True, slots=True)
class Groups:
    """All classes and slices of a retrain as one test in the stream.

    Attributes:
        count: how many there are.
        worse, better: smallest Holm-adjusted one-sided p-value: of "none got worse (better)".
        suspects: those that may have got worse, clearest first; the first few.
    """

    count: int
    worse: float
    better: float
    suspects: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricChange:
    """One metric of two models.

    Attributes:
        name: "error", "loss", "f1_macro", "calibration_error", "confidence", "mae", ...,
            "recall/CLASS", "error/SLICE=VALUE", or the key under which a run logged it.
        better: "lower" or "higher"; None where neither is.
        n: examples it rests on; 0 when not known.
        old, new: its values.
        effect: new minus old.
        interval: 95 % confidence interval of the effect; None where only values were logged.
        pvalue: two-sided; Holm-adjusted over all rows of its role, classes and slices together.
        role: "gate" decides the verdict; the others inform. "metric": over all common examples;
            "discovered": a crossing of slices, numbers of the held half; "logged": a value.
        method: the test and the interval, or why there is none.
    """

    name: str
    better: str | None
    n: int
    old: float | None = None
    new: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    pvalue: float | None = None
    role: Literal["gate", "metric", "class", "slice", "discovered", "logged"] = "metric"
    method: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """What one kind of change, or two together, added to the error, by runs that mix recipes.

    Attributes:
        kinds: one, or several that were not told apart, or those of an interaction.
        effect: error added (Shapley value), as a fraction.
        interval: 95 %; None without a measure of noise.
        pvalue: two-sided, not adjusted; None without a measure of noise.
        interaction: what the kinds did together beyond each alone; it is contained in theirs.
    """

    kinds: tuple[str, ...]
    effect: float
    interval: tuple[float, float] | None = None
    pvalue: float | None = None
    interaction: bool = False


@dataclass(frozen=True, slots=True)
class Associated:
    """One thing that changed among earlier retrains, and the error that went with it.

    Attributes:
        what: its names; several where they always changed together.
        kinds: what kinds of change they are.
        old, new: the values compared; both None where each change counts alike.
        effect: error with the new value less error with the old one, all else equal.
        interval: 95 %, not adjusted.
        pvalue: two-sided; Holm-adjusted over all that changed.
        changed: earlier retrains in which it did.
        here: it changed in the judged retrain too.
    """

    what: tuple[str, ...]
    kinds: tuple[Cause, ...]
    old: str | None
    new: str | None
    effect: float
    interval: tuple[float, float]
    pvalue: float
    changed: int
    here: bool


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What went with the error over the earlier retrains of a lineage: never a cause.

    Attributes:
        retrains: earlier ones that were looked at.
        associated: clearest first.
        untold: what changed, but in a way that cannot be told from something else.
        reason: why nothing was looked for.
        sentences: what was shown, in words; none where nothing was.
    """

    retrains: int
    associated: tuple[Associated, ...] = ()
    untold: tuple[str, ...] = ()
    reason: str | None = None
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrainVerdict:
    """The answer to "is it better, or luck, and what caused it?".

    Attributes:
        sentence: the verdict in plain words, with numbers and units.
        compared_to: run id of the baseline; None for `first` and `none`.
        measure: what the errors, effects, `mde` and `margin` are: shares of wrong answers, or
            in units of a mean loss where a lineage predicts measured values.
        model: this model against that model.
        recipe: this recipe against that recipe.
        mde: smallest difference this test set could have shown with 80 % power, as a fraction.
        margin: half-width of the equivalence region, as a fraction.
        cause: most likely first.
        leads: what extra runs have shown of the cause, and what only speaks for one; a
            sentence each.
        advice: what would settle it, or what to do next.
        behaviour: what else changed between the models, also at equal error; a sentence each.
        metrics: everything that both models were measured by, what decides first.
        stream: the retrain among all others.
        shares: of each kind of change, where extra runs have settled it.
        groups: classes and slices, for the stream; None without any.
        hindsight: what went with the error in earlier retrains; None where none were compared.
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
    measure: Measure = "error"
    cause: tuple[Cause, ...] = ()
    changed: tuple[Change, ...] = ()
    leads: tuple[str, ...] = ()
    advice: str | None = None
    behaviour: tuple[str, ...] = ()
    metrics: tuple[MetricChange, ...] = ()
    stream: Stream = field(default_factory=Stream)
    shares: tuple[Share, ...] = ()
    groups: Groups | None = None
    hindsight: Hindsight | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything the detector says about one run.

    Attributes:
        results: outcomes of all checks; findings first, likeliest root cause first.
        summary: one plain sentence for the runs table.
        problems: what could not be read or judged, and why.
        outlook: what would help this run most, read from its training and held-out errors and
            from retrains on other amounts of data; a sentence each.
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
    outlook: tuple[str, ...] = ()

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
