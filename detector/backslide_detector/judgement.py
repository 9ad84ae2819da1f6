"""What the detector says about a run: the record that is stored, written back and shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backslide.contract import Cause, Health, Measure, Verdict
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

    @property
    def discordant(self) -> float | None:
        """Share of the examples on which the two models disagree; None if unpaired."""
        if self.fixed is None or self.broken is None or not self.n:
            return None
        return (self.fixed + self.broken) / self.n


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
class Stake:
    """What one retrain puts into the stream of all retrains.

    Attributes:
        worse, better: one-sided p-values of this model against its baseline.
        frozen: the baseline is one that many retrains are held against.
        recipe: one-sided p-values, worse and better, of this recipe against that of the
            baseline; None when the noise between retrains is not known.
        groups: the same of "some class or slice got worse", "... better"; None without any.
        began, ended: epoch seconds between which the test was open: results of that time tell
            it nothing. None: it was open for no time.
        broken, fixed: examples newly wrong and newly right against the reference of the alert
            channel; None when the two runs share no examples.
        reference: run id of that reference.
        yardstick: digest of the reference's outcomes; None when its examples are fresh.
        phi: over-dispersion of retrains, as far as repeats have shown it.
        test_set: digest of the test set; None when only its error is known.
        false_alarm_every: retrains between two false alarms of the alert channel.
    """

    worse: float
    better: float
    frozen: bool = False
    recipe: tuple[float, float] | None = None
    groups: tuple[float, float] | None = None
    began: float | None = None
    ended: float | None = None
    broken: int | None = None
    fixed: int | None = None
    reference: str | None = None
    yardstick: str | None = None
    phi: float = 1.0
    test_set: str | None = None
    false_alarm_every: float = 1_000.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of a claim in the stream of its kind, in both directions.

    Attributes:
        worse, better: the one-sided p-values as they were spent.
        level_worse, level_better: what they were held against.
        found_worse, found_better: a discovery under control of the false discovery rate.
    """

    worse: float
    better: float
    level_worse: float
    level_better: float
    found_worse: bool
    found_better: bool

    @property
    def found(self) -> Literal["worse", "better"] | None:
        """What was discovered."""
        return "worse" if self.found_worse else "better" if self.found_better else None

    @property
    def nearest(self) -> tuple[float, float]:
        """(p-value, its level) in the direction in which there is more evidence."""
        return min((self.worse, self.level_worse), (self.better, self.level_better))


@dataclass(frozen=True, slots=True)
class Standing:
    """What the stake bought: the same for ever, however often the run is judged.

    Attributes:
        number: position among all retrains that the ledger knows.
        procedure: how the false discovery rate is kept.
        model: the claim about the model.
        recipe: that about the recipe, in streams of its own; None without retrain noise.
        groups: that about classes and slices, likewise; None without any.
        alarm_value, alarm_every: the e-detector of the lineage and its threshold; None without
            common examples.
        alarmed: the detector reached its threshold with this retrain.
        leads: its mirror image did: the lineage got better than the reference, and later
            retrains are held against this one.
        uses: decisions that this test set has taken, this one included; 0 when not known.
    """

    number: int
    procedure: str
    model: Claim
    recipe: Claim | None = None
    groups: Claim | None = None
    alarm_value: float | None = None
    alarm_every: float | None = None
    alarmed: bool = False
    leads: bool = False
    uses: int = 0


@dataclass(frozen=True, slots=True)
class Anchor:
    """The run that the alert channel holds a retrain against, and the difference to it."""

    run_id: str
    name: str
    why: str
    model: Estimand


@dataclass(frozen=True, slots=True)
class Creeping:
    """The course of a lineage since its fixed anchor.

    Attributes:
        anchor: name of the run that the series begins with.
        retrains: values in the series.
        value, threshold: the detector now, and what it alarms at.
        alarm: name of the run at which it first did; None if it never did.
        since: name of the run that the change is dated to; None without an alarm.
        new: it alarmed with this very retrain.
        rise: mean error after the dated change minus before, as a fraction.
        path: (run id, detector after it), from the third value on.
        change: run id behind `since`.
    """

    anchor: str
    retrains: int
    value: float
    threshold: float
    alarm: str | None = None
    since: str | None = None
    new: bool = False
    rise: float | None = None
    path: tuple[tuple[str, float], ...] = ()
    change: str | None = None


@dataclass(frozen=True, slots=True)
class Retrain:
    """One retrain in the course of its lineage.

    Attributes:
        started: epoch seconds.
        error: as the run stated it, a fraction or a mean loss.
        interval: 95 % of that error for examples like these; None where that is not known.
        accepted: later retrains may be measured against it.
        verdict: of it; None while it has none.
        signal: what the alert channel showed with it, if anything.
        creep: the creep detector after it; None before its third value.
    """

    run_id: str
    name: str
    started: float
    error: float
    interval: tuple[float, float] | None = None
    accepted: bool = True
    verdict: Verdict | None = None
    signal: Literal["worse", "better"] | None = None
    creep: float | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """Where the error of a retrain should fall if nothing but luck changes.

    Attributes:
        interval: predictive, 95 %; not below zero.
        sd: spread of one retrain, of which the interval is made.
        source: what that spread is known from, in words.
    """

    interval: tuple[float, float]
    sd: float
    source: str


@dataclass(frozen=True, slots=True)
class Dated:
    """A change of a lineage that a detector has shown and that was dated afterwards.

    Attributes:
        run_id, name: the first run after the change.
        shown_by: the alert channel or the creep detector.
        shift: mean error after it minus before, as far as the detector looked.
    """

    run_id: str
    name: str
    shown_by: Literal["alarm", "creep"]
    shift: float


@dataclass(frozen=True, slots=True)
class Course:
    """All that is known of a lineage on one test set.

    Attributes:
        retrains: in order of time; the judged run is the last.
        baseline, reference, anchor: run ids of what the verdict, the alert channel and the
            creep detector measure from.
        expected: what was expected of the judged run before it.
        next: what is expected of the one after it.
        changes: in order of time.
        elsewhere: runs of the lineage that were tested on other examples, and are not shown.
        earlier: retrains before the first that is shown.
    """

    retrains: tuple[Retrain, ...]
    baseline: str | None = None
    reference: str | None = None
    anchor: str | None = None
    expected: Expectation | None = None
    next: Expectation | None = None
    changes: tuple[Dated, ...] = ()
    elsewhere: int = 0
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """What a single pair of runs cannot say: the retrain among all others."""

    standing: Standing | None = None
    anchor: Anchor | None = None
    creep: Creeping | None = None
    course: Course | None = None
    shelf_life: int | None = None
    sentences: tuple[str, ...] = ()


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
