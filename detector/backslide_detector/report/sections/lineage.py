"""The lineage: errors of all retrains, what was expected, and when it changed."""

import math
from datetime import UTC, datetime

from backslide.contract import Measure
from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.lineage import Course, Creeping, Expectation, Retrain
from backslide_detector.report.phrases import VERDICTS, fine, magnitude
from backslide_detector.report.pictures.lineage import lineage as picture
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "The lineage so far"
ROWS = 50


def lineage(
    judgement: Judgement,
    new: RunEvidence,  # noqa: ARG001  # every section is asked alike
    old: RunEvidence | None,  # noqa: ARG001  # the same
) -> Section | Absent:
    """Each retrain with its error, and what its history says of it."""
    stream, of = judgement.retrain.stream, judgement.retrain.measure
    course = stream.course
    if course is None:
        return Absent(TITLE, "The run names no lineage or states no error.")
    threshold = None if stream.creep is None else stream.creep.threshold
    figure = Figure(picture(course, of, threshold))
    block = Block("wide", (figure,), legend=_legend(course))
    return Section(
        "lineage", TITLE, _lead(course, stream.creep, of), (block,), (_table(course, of),)
    )


def _lead(course: Course, creep: Creeping | None, of: Measure) -> str:
    count, total = len(course.retrains), course.earlier + len(course.retrains)
    of_all = f"The newest {count:,} of {total:,}" if course.earlier else f"{count:,}"
    noun = "retrains" if count > 1 else "retrain"
    said = [f"{of_all} {noun} with a test set of this name and size."]
    if course.elsewhere:
        said.append(
            f"{course.elsewhere:,} more had another, stated no error or did not end, and are "
            "left out."
        )
    if course.next is None:
        said.append(
            "No history yet: how much retrains of this lineage differ by luck is not known, so "
            "nothing can be expected of the next one."
        )
    else:
        said.append(
            f"The next one should fall between {_ends(course.next, of)} if nothing changes "
            f"(95 %, from {course.next.source})."
        )
    if creep is not None:
        said.append(_creep(creep))
    if any(retrain.interval for retrain in course.retrains):
        said.append(
            "Thin lines are the 95 % interval of each error on new examples; two of them may "
            "overlap although the same examples show a difference."
        )
    return " ".join(said)


def _creep(creep: Creeping) -> str:
    """How close the detector is, in words."""
    if creep.alarm is None:
        return f"No creep since {creep.anchor}: the detector is {_near(creep)}."
    return (
        f"Creep: the detector alarmed at {creep.alarm}, and the best date for the change is "
        f"{creep.since}."
    )


def _near(creep: Creeping) -> str:
    """Its distance from the alarm, in the steps by which evidence grows."""
    share = math.log(max(creep.value, 1.0)) / math.log(creep.threshold)
    way = "far from" if share < 1 / 3 else "under way to" if share < 2 / 3 else "close to"
    now = f"{magnitude(creep.value)} of {creep.threshold:,.0f}"
    return f"{way} an alarm ({now})"


def _ends(expected: Expectation, of: Measure) -> str:
    low, high = (fine(end, of) for end in expected.interval)
    return f"{low} and {high}"


def _legend(course: Course) -> tuple[tuple[str, str], ...]:
    known = {retrain.run_id for retrain in course.retrains}
    kinds = {str(retrain.verdict) for retrain in course.retrains}
    signals = {retrain.signal for retrain in course.retrains}
    entries = (
        ("point-this", "this run", True),
        ("point-past", "earlier retrain", len(course.retrains) > 1),
        ("point-bad", "regressed", "regressed" in kinds),
        ("mark-reference", "reference of the alarm", course.reference in known),
        ("mark-anchor", "fixed anchor of the creep detector, and its level",
         course.anchor in known),
        ("band-expected", "expected of this run", course.expected is not None),
        ("band-next", "expected of the next", course.next is not None),
        ("mark-changed", "the lineage changed here", bool(course.changes)),
        ("mark-worse", "alarm: shown to have got worse", "worse" in signals),
        ("mark-better", "shown to have got better", "better" in signals),
    )  # fmt: skip
    return tuple((swatch, meaning) for swatch, meaning, shown in entries if shown)


def _table(course: Course, of: Measure) -> Table:
    numbered = list(enumerate(course.retrains, start=course.earlier + 1))[-ROWS:]
    rows = tuple(_row(number, retrain, course, of) for number, retrain in reversed(numbered))
    head = ("number", "retrain", "verdict", "started (UTC)", "error", "95 % interval", "creep")
    return Table(
        f"The newest {len(rows)} of {course.earlier + len(course.retrains):,} retrains",
        head,
        rows,
        words=3,
    )


def _row(number: int, retrain: Retrain, course: Course, of: Measure) -> tuple[str, ...]:
    started = datetime.fromtimestamp(retrain.started, UTC).strftime("%Y-%m-%d %H:%M")
    bounds = "–"
    if retrain.interval is not None:
        bounds = " to ".join(fine(end, of) for end in retrain.interval)
    said = [VERDICTS[retrain.verdict].lower()] if retrain.verdict is not None else []
    said += [] if retrain.accepted or said == ["regressed"] else ["not accepted"]
    said += [] if retrain.run_id != course.baseline else ["baseline of this run"]
    said += [] if retrain.run_id != course.reference else ["reference of the alarm"]
    said += [] if retrain.run_id != course.anchor else ["anchor of creep"]
    return (
        f"{number:,}",
        retrain.name,
        ", ".join(said) or "–",
        started,
        fine(retrain.error, of),
        bounds,
        "–" if retrain.creep is None else magnitude(retrain.creep),
    )
