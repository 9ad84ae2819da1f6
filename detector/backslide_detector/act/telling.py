"""An alert in words: what got worse, by how much, against which run, and what to do next."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from backslide.contract import Cause
from backslide_detector.judgement import Judgement
from backslide_detector.report.phrases import plain, shorten
from backslide_detector.retrain.place import creep_words, difference_words, group_words
from backslide_detector.retrain.place import worse_groups as admitted

Reason = Literal["regressed", "alarm", "creep", "slice", "failing"]

LONGEST: Final = 900
"""Characters of a message; chat programs fold longer ones."""
TITLE: Final = 200
NAME: Final = 60
"""Characters of a title, and of a name in it."""
NAMED: Final = 3
"""Checks and parts of the test set in a title."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What a person reads: a line, and a few sentences."""

    title: str
    text: str


def confirmed(judgement: Judgement) -> bool:
    """Whether "worse" also holds among all retrains; a regression is told anyway."""
    standing = judgement.retrain.stream.standing
    if standing is None:
        return False
    part = standing.groups is not None and standing.groups.found_worse
    return standing.model.found_worse or standing.alarmed or part


def telling(judgement: Judgement, reasons: Sequence[Reason]) -> Telling:
    """The message about a run for these reasons, gravest first."""
    title = _title(judgement, _headline(judgement, reasons[0]))
    said = [f"{title}.", *(part for reason in reasons for part in _said(judgement, reason))]
    steps = dict.fromkeys(step for reason in reasons for step in _next(judgement, reason))
    after = shorten(plain(f" Next: {' '.join(steps)}"), LONGEST // 2) if steps else ""
    before = shorten(plain(" ".join(said)), LONGEST - len(after) - 1)
    return Telling(title, f"{before} {after}".rstrip())


def all_clear(judgement: Judgement, over: Sequence[str]) -> Telling:
    """The message that what was told of a run holds no longer."""
    title = _title(judgement, f"is no longer {' or '.join(over)}")
    return Telling(title, shorten(plain(f"{title}. {judgement.summary}"), LONGEST))


def _title(judgement: Judgement, happened: str) -> str:
    name = shorten(judgement.run_name or judgement.run_id, NAME)
    of = f"{shorten(judgement.lineage, NAME)}: " if judgement.lineage else ""
    return shorten(plain(f"{of}{name} {happened}"), TITLE)


def _headline(judgement: Judgement, reason: Reason) -> str:
    """What happened, behind the name of the run."""
    retrain = judgement.retrain
    match reason:
        case "regressed":
            return f"regressed against {plain(retrain.compared_name or 'its baseline')}"
        case "alarm":
            anchor = retrain.stream.anchor
            return f"is worse than {plain(anchor.name) if anchor else 'its reference'}"
        case "creep":
            creep = retrain.stream.creep
            return f"has crept away from {plain(creep.anchor) if creep else 'its anchor'}"
        case "slice":
            return f"got worse in {_parts(judgement)}"
        case "failing":
            return f"is failing: {', '.join(check for check, _ in judgement.findings[:NAMED])}"
        case _:
            assert_never(reason)


def _said(judgement: Judgement, reason: Reason) -> Iterator[str]:
    """By how much, with interval."""
    retrain, stream = judgement.retrain, judgement.retrain.stream
    match reason:
        case "regressed":
            yield plain(retrain.sentence)
            if stream.standing is not None and not confirmed(judgement):
                yield (
                    "The stream of all retrains does not confirm it yet: of those that are as "
                    "good as before, one in 40 looks like this."
                )
        case "alarm" if stream.anchor is not None:
            yield difference_words(stream.anchor)
        case "creep" if stream.creep is not None:
            yield creep_words(stream.creep, retrain.measure)
        case "slice" if stream.standing is not None and stream.standing.groups is not None:
            if retrain.groups is not None:
                named = admitted(stream.standing.groups, retrain.groups)
                listed = "; ".join(group_words(each, retrain.measure) for each in named)
                yield f"Worse are {listed}."
        case "failing" if judgement.findings:
            yield plain(judgement.findings[0][1].sentence)
        case _:
            return


def _next(judgement: Judgement, reason: Reason) -> Iterator[str]:
    """What to do first."""
    retrain, run = judgement.retrain, shorten(judgement.run_id, NAME)
    match reason:
        case "regressed":
            luck = retrain.cause[:1] == (Cause.NOISE,)
            otherwise = "Train once more with another seed." if luck else "Open the report."
            yield plain(retrain.advice or otherwise)
        case "alarm":
            yield (
                "Keep the reference in use and find what changed since it; "
                f"`backslide accept {run}` makes this run the reference instead."
            )
        case "creep":
            yield (
                "Look at the lineage in the report, and at what changed since the anchor; "
                f"`backslide accept {run}` measures creep from here on."
            )
        case "slice":
            yield "Look at the examples of this part in the report."
        case "failing" if judgement.findings:
            yield plain(judgement.findings[0][1].advice)
        case _:
            return


def _parts(judgement: Judgement) -> str:
    """The names of the classes and slices that got worse."""
    retrain = judgement.retrain
    standing = retrain.stream.standing
    if standing is None or standing.groups is None or retrain.groups is None:
        return "a part of its test set"
    named = [plain(group.name) for group in admitted(standing.groups, retrain.groups)]
    return ", ".join(named[:NAMED]) or "a part of its test set"
