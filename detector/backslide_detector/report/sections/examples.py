"""Single examples: fixed, newly broken, and wrong with the most confidence."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backslide_detector.evidence import Predictions, RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.outcomes import answers
from backslide_detector.report.phrases import percent
from backslide_detector.report.pictures.thumbnail import thumbnail
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "Single examples"
SHOWN = 16
ROWS = 50

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Kind:
    """Examples of one kind, the most telling first."""

    title: str
    chosen: Indices
    total: int


def examples(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """What became of single examples, with pictures where the run logged any."""
    seen = answers(judgement, new, old)
    if isinstance(seen, str):
        return Absent(TITLE, seen)
    mine, theirs = seen.new, seen.old
    before = _before(mine, theirs)
    kinds = _kinds(mine, before)
    if not any(kind.total for kind in kinds):
        return Absent(TITLE, f"No example of the {seen.split} set is wrong or was fixed.")
    pictures = _pictures(new)
    blocks = [
        Block("tiles", figures, f"{kind.title} ({kind.total:,})")
        for kind in kinds
        if (figures := _tiles(kind, mine, before, pictures))
    ]
    tables = tuple(_table(kind, mine, before) for kind in kinds if kind.total)
    lead = _lead(seen.split, kinds, shown=bool(blocks))
    return Section("examples", TITLE, lead, tuple(blocks), tables)


def _before(mine: Predictions, theirs: Predictions | None) -> NDArray[np.object_]:
    """What the predecessor said of each example; "" where it did not see it."""
    said = np.full(len(mine), "", dtype=object)
    if theirs is not None and theirs.are_labels:
        _, here, there = np.intersect1d(
            mine.ids.astype(str),
            theirs.ids.astype(str),
            assume_unique=True,
            return_indices=True,
        )
        said[here] = theirs.predictions[there].astype(str)
    return said


def _kinds(mine: Predictions, before: NDArray[np.object_]) -> list[Kind]:
    target = mine.targets.astype(str)
    known = before != ""
    was_right = known & (before == target)
    score = np.nan_to_num(mine.score) if mine.score is not None else np.zeros(len(mine))
    newly_wrong = np.flatnonzero(was_right & ~mine.correct)
    fixed = np.flatnonzero(known & ~was_right & mine.correct)
    wrong = np.flatnonzero(~mine.correct) if mine.score is not None else newly_wrong[:0]
    return [
        Kind(title, rows[np.argsort(-score[rows], kind="stable")], len(rows))
        for title, rows in (
            ("Newly wrong", newly_wrong),
            ("Fixed", fixed),
            ("Wrong with the most confidence", wrong),
        )
    ]


def _pictures(new: RunEvidence) -> Mapping[str, bytes]:
    panel = () if new.probe is None else new.probe.panel
    return {each.id: each.thumbnail for each in panel if each.thumbnail is not None}


def _tiles(
    kind: Kind,
    mine: Predictions,
    before: NDArray[np.object_],
    pictures: Mapping[str, bytes],
) -> tuple[Figure, ...]:
    seen = [i for i in kind.chosen.tolist() if str(mine.ids[i]) in pictures][:SHOWN]
    return tuple(
        Figure(
            thumbnail(pictures[str(mine.ids[i])], _said(mine, before, i)),
            caption=_said(mine, before, i),
        )
        for i in seen
    )


def _said(mine: Predictions, before: NDArray[np.object_], i: int) -> str:
    said = f"is {mine.targets[i]}, said {mine.predictions[i]}"
    if mine.score is not None and np.isfinite(mine.score[i]):
        said += f" ({mine.score[i]:.0%})"
    return said + (f", before {before[i]}" if before[i] else "")


def _table(kind: Kind, mine: Predictions, before: NDArray[np.object_]) -> Table:
    rows = tuple(
        (
            str(mine.ids[i]),
            str(mine.targets[i]),
            str(mine.predictions[i]),
            str(before[i]) or "–",
            "–" if mine.score is None else percent(float(mine.score[i])),
        )
        for i in kind.chosen[:ROWS].tolist()
    )
    shown = f"{len(rows)} of {kind.total:,}" if kind.total > len(rows) else f"{kind.total:,}"
    head = ("example", "is", "said", "before", "confidence")
    return Table(f"{kind.title}: {shown}", head, rows, words=4)


def _lead(split: str, kinds: list[Kind], *, shown: bool) -> str:
    said = f"Of the {split} set, the most confident answers first."
    if not shown and any(kind.total for kind in kinds):
        said += (
            " Pictures are shown of examples that are in the probe batch as well, when "
            "run.probe(..., thumbnails=True) allows it."
        )
    return said
