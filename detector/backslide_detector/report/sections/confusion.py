"""Which class is taken for which, and how that changed."""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from backslide_detector.evidence import Predictions, RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.outcomes import answers
from backslide_detector.report.pictures.matrix import matrix
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "Confusion of classes"
MOST = 20
"""Classes drawn at most: those with the most mistakes in either run."""
ROWS = 40


def confusion(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """Counts of now, and minus those of the predecessor on the same examples."""
    seen = answers(judgement, new, old)
    if isinstance(seen, str):
        return Absent(TITLE, seen)
    mine, theirs = seen.new, seen.old
    here, there = _common(mine, theirs)
    labels = _labels(mine, theirs)
    now = _counts(mine, np.arange(len(mine)), labels)
    change = None
    if theirs is not None and len(here):
        change = _counts(mine, here, labels) - _counts(theirs, there, labels)
    chosen = _chosen(now, change)
    names = [labels[i] for i in chosen]
    pick = np.ix_(chosen, chosen)
    figures = [Figure(_mistakes("Examples taken for another class", names, now[pick]), "now",
                      caption="rows: what it is; columns: what it was taken for")]  # fmt: skip
    if change is not None:
        figures.append(
            Figure(
                matrix("Change of these counts", (names, names), _off(change[pick]),
                       (0.0, _top(change[pick])), _signed, signed="high"),
                "change", caption=f"on the {len(here):,} examples of both runs",
            )
        )  # fmt: skip
    legend = [("heat", "examples")]
    if change is not None:
        legend = [("heat", "examples"), ("wrong", "more than before"), ("fixed", "fewer")]
    lead = "Right answers, on the diagonal, are left out: they would hide the mistakes."
    if len(chosen) < len(labels):
        lead += f" Drawn: the {len(chosen)} of {len(labels):,} classes with the most mistakes."
    block = Block("panels", tuple(figures), legend=tuple(legend))
    return Section("confusion", TITLE, lead, (block,), (_table(labels, now, change),))


def _common(
    mine: Predictions, theirs: Predictions | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if theirs is None or not theirs.are_labels:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, here, there = np.intersect1d(
        mine.ids.astype(str), theirs.ids.astype(str), assume_unique=True, return_indices=True
    )
    return here, there


def _labels(mine: Predictions, theirs: Predictions | None) -> list[str]:
    known = {*mine.targets.astype(str), *mine.predictions.astype(str)}
    if theirs is not None and theirs.are_labels:
        known |= {*theirs.predictions.astype(str)}

    def place(name: str) -> tuple[bool, int, str]:
        """Numbers by size, then words by alphabet."""
        return not name.isdecimal(), len(name) if name.isdecimal() else 0, name

    return sorted(known, key=place)


def _counts(
    table: Predictions, rows: NDArray[np.int64], labels: list[str]
) -> NDArray[np.float64]:
    place = {name: i for i, name in enumerate(labels)}
    target = np.array([place.get(str(t), -1) for t in table.targets[rows]], dtype=np.int64)
    said = np.array([place.get(str(p), -1) for p in table.predictions[rows]], dtype=np.int64)
    known = (target >= 0) & (said >= 0)
    size = len(labels)
    flat = np.bincount(target[known] * size + said[known], minlength=size * size)
    return flat.reshape(size, size).astype(np.float64)


def _chosen(now: NDArray[np.float64], change: NDArray[np.float64] | None) -> list[int]:
    weight = np.nan_to_num(_off(now))
    if change is not None:
        weight = weight + np.abs(np.nan_to_num(_off(change)))
    total = weight.sum(axis=0) + weight.sum(axis=1)
    best = np.argsort(-total, kind="stable")[:MOST]
    return sorted(best.tolist())


def _off(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the diagonal; what never happened has no colour and no number."""
    off = counts.copy()
    np.fill_diagonal(off, 0.0)
    return off


def _top(counts: NDArray[np.float64]) -> float:
    return max(float(np.abs(_off(counts)).max(initial=0.0)), 1.0)


def _mistakes(title: str, names: list[str], counts: NDArray[np.float64]) -> Markup:
    return matrix(title, (names, names), _off(counts), (0.0, _top(counts)), _count)


def _table(
    labels: list[str], now: NDArray[np.float64], change: NDArray[np.float64] | None
) -> Table:
    off = _off(now)
    moved = np.abs(_off(change)) if change is not None else np.zeros_like(off)
    order = np.argsort(-(off + moved), axis=None, kind="stable")[:ROWS]
    rows = []
    for flat in order.tolist():
        i, j = divmod(flat, len(labels))
        if not off[i, j] and not moved[i, j]:
            break
        row = [labels[i], labels[j], f"{off[i, j]:.0f}"]
        if change is not None:
            row.append(_signed(change[i, j]) or "0")
        rows.append(tuple(row))
    head = ("is", "taken for", "examples", *(["change"] if change is not None else []))
    return Table("Mistakes, the commonest first", head, tuple(rows), words=2)


def _count(value: float) -> str:
    return f"{value:.0f}" if value else ""


def _signed(value: float) -> str:
    return f"{value:+.0f}".replace("-", "−") if value else ""
