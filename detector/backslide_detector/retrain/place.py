"""The place of a retrain among all others, in words."""

from collections.abc import Iterator

from backslide.contract import Measure
from backslide_detector.judgement import Group, Groups, RetrainVerdict
from backslide_detector.lineage import (
    Anchor,
    Claim,
    Course,
    Creeping,
    Dated,
    Expectation,
    Standing,
    Stream,
)
from backslide_detector.retrain.sentence import LOSSES, decimals, interval_words, rate, size


def place_words(stream: Stream, verdict: RetrainVerdict) -> Iterator[str]:
    """A sentence for each part that has something to say."""
    standing = stream.standing
    if standing is not None:
        yield _discovery(standing)
        if standing.recipe is not None:
            yield _claim(standing.recipe)
        if standing.groups is not None and verdict.groups is not None:
            yield _groups(standing.groups, verdict.groups, verdict.measure)
    if stream.course is not None:
        yield from _expectations(stream.course, verdict.measure)
    if stream.anchor is not None and stream.anchor.run_id != verdict.compared_to:
        yield difference_words(stream.anchor)
    if standing is not None:
        yield from _alarm(standing, stream.course, verdict.measure)
    if stream.creep is not None:
        yield creep_words(stream.creep, verdict.measure)
    if standing is not None and stream.shelf_life is not None and verdict.margin:
        yield _life(standing.uses, stream.shelf_life, verdict.margin)


def _expectations(course: Course, measure: Measure) -> Iterator[str]:
    """What history makes of this retrain, and of the next."""
    this, expected = course.retrains[-1], course.expected
    if expected is not None:
        low, high = expected.interval
        where = "as expected" if low <= this.error <= high else "outside what was expected"
        yield (
            f"From {expected.source}, this retrain should make {_range(expected, measure)} "
            f"(95 %); at {_level(this.error, expected, measure)} it lies {where}."
        )
    if course.next is not None:
        yield f"The next retrain should make {_range(course.next, measure)} if nothing changes."
    else:
        yield (
            "No history yet: how much retrains of this lineage differ by luck is not known, so "
            "nothing can be expected of the next one. `backslide noise --repeat 4 -- COMMAND` "
            "measures it once."
        )


def _range(expected: Expectation, measure: Measure) -> str:
    """`3.23 to 3.77 % errors`; `a mean loss of 0.11 to 0.13`."""
    low, high = (_level(end, expected, measure) for end in expected.interval)
    if measure == "error":
        return f"{low.removesuffix(' %')} to {high} errors"
    return f"a {LOSSES[measure]} of {low} to {high}"


def _level(value: float, expected: Expectation, measure: Measure) -> str:
    low, high = expected.interval
    return rate(value, measure, decimals(high - low, measure))


def _alarm(standing: Standing, course: Course | None, measure: Measure) -> Iterator[str]:
    """The alert channel."""
    if standing.alarm_value is None or not standing.alarm_every:
        return
    value, every = _number(standing.alarm_value), f"{standing.alarm_every:,.0f}"
    if standing.alarmed:
        since = "" if course is None else _since(course.changes, measure)
        yield (
            f"Alarm: the evidence that this lineage got worse{since} has reached {value}, over "
            f"its threshold of {every}; without a regression that happens on average at most "
            f"once in {every} retrains."
        )
    else:
        yield (
            f"No alarm: the evidence that this lineage got worse stands at {value} of {every}."
        )
    if standing.leads:
        yield (
            "The lineage has got better than its reference; later retrains are held against "
            "this one."
        )


def _since(changes: tuple[Dated, ...], measure: Measure) -> str:
    """When it began, by the best single change of the mean."""
    shown = [change for change in changes if change.shown_by == "alarm"]
    if not shown or not shown[-1].shift > 0:
        return ""
    places = 2 if measure == "error" else 4
    return f", by about {size(shown[-1].shift, measure, places)} since {shown[-1].name},"


def _discovery(standing: Standing) -> str:
    place = f"retrain {standing.number:,} of the ledger"
    found = standing.model.found
    if found is not None:
        return (
            f"A discovery under control: counted among all tests so far ({place}), this model "
            f"is {found}; at most 5 % of such discoveries are expected to be false "
            f"({standing.procedure.upper()})."
        )
    pvalue, level = standing.model.nearest
    return (
        f"No discovery under control of the false discovery rate ({place}; one-sided "
        f"p = {pvalue:.2g} against a level of {level:.2g}, {standing.procedure.upper()})."
    )


def _claim(claim: Claim) -> str:
    if claim.found is not None:
        return (
            f"Among all claims about recipes, this one is {claim.found} under control as well: "
            "at most 5 % of such claims are expected to be luck."
        )
    pvalue, level = claim.nearest
    return (
        f"No claim about the recipe holds among all such claims (one-sided p = {pvalue:.2g} "
        f"against a level of {level:.2g})."
    )


def _groups(claim: Claim, groups: Groups, measure: Measure) -> str:
    """Classes and slices, which alert only if this holds."""
    if not claim.found_worse:
        return (
            f"No class or slice of {groups.count:,} is shown to be worse among all retrains "
            f"(one-sided p = {claim.worse:.2g}, adjusted for their number, against a level of "
            f"{claim.level_worse:.2g})."
        )
    named = "; ".join(group_words(group, measure) for group in worse_groups(claim, groups))
    return (
        f"A part of the test set got worse, under control as well: {named}. At most 5 % of "
        "retrains of which this is said are expected to be false."
    )


def worse_groups(claim: Claim, groups: Groups) -> list[Group]:
    """The classes and slices that the stream's level admits, clearest first."""
    return [group for group in groups.suspects if group.pvalue <= claim.level_worse]


def group_words(group: Group, measure: Measure) -> str:
    """`region = south by 1.52 points (95 % interval 0.71 to 2.38 more; 2,499 examples)`."""
    low, high = group.interval
    places = decimals(high - low, measure)
    by = size(group.effect, measure, places)
    interval = interval_words(group.interval, places, measure)
    return f"{group.name} by {by} (95 % interval {interval}; {group.n:,} examples)"


def difference_words(anchor: Anchor) -> str:
    """The difference to the reference of the alert channel."""
    model = anchor.model
    low, high = model.interval or (0.0, 0.0)
    return (
        f"Against {anchor.why}, {anchor.name}: {100 * (model.effect or 0.0):+.2f} points "
        f"(95 % interval {100 * low:+.2f} to {100 * high:+.2f}; {model.fixed:,} fixed, "
        f"{model.broken:,} newly broken of {model.n:,})."
    )


def creep_words(creep: Creeping, measure: Measure) -> str:
    """What the creep detector says of a lineage."""
    if creep.alarm is None:
        return (
            f"No creep in {creep.retrains} retrains since {creep.anchor} (detector at "
            f"{_number(creep.value)} of {creep.threshold:,.0f})."
        )
    rise = size(creep.rise or 0.0, measure, 2 if measure == "error" else 4)
    return (
        f"The {LOSSES.get(measure, 'error')} has crept up since {creep.anchor}: by about "
        f"{rise} from {creep.since} on, found at {creep.alarm}. No single retrain need have "
        "shown it."
    )


def _life(uses: int, life: int, margin: float) -> str:
    times = "once" if uses == 1 else f"{uses:,} times"
    within = f"{100 * margin:.2f} points"
    if uses <= life:
        return f"This test set has decided {times}; its guarantee of {within} covers {life:,}."
    if not life:
        return (
            f"This test set has decided {times}; it is too small to guarantee differences to "
            f"within {within} when its answers shape the next model."
        )
    return (
        f"This test set wears thin: it has decided {times}, and if each answer shaped the next "
        f"model, its guarantee of {within} covers {life:,}. Draw fresh test examples."
    )


def _number(value: float) -> str:
    if value >= 1e6:
        return "over a million"
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"
