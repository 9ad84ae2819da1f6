"""A retrain among all others of its lineage, and of the ledger."""

from dataclasses import dataclass
from typing import Literal

from backslide.contract import Verdict
from backslide_detector.estimand import Estimand


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
