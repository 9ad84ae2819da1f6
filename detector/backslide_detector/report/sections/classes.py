"""Error by class."""

from backslide_detector.evidence import RunEvidence
from backslide_detector.judgement import Judgement
from backslide_detector.report.outcomes import ClassOutcome, Outcomes, answers, outcomes
from backslide_detector.report.phrases import percent
from backslide_detector.report.pictures.classes import classes as picture
from backslide_detector.report.section import Absent, Block, Figure, Section, Table

TITLE = "Error by class"
SHOWN = 20
MISTAKES = 10


def classes(
    judgement: Judgement, new: RunEvidence, old: RunEvidence | None
) -> Section | Absent:
    """What the retrain fixed and broke, on the split the verdict is about."""
    labels = answers(judgement, new, old)
    if isinstance(labels, str):
        return Absent(TITLE, labels)
    seen = outcomes(labels.new, labels.old)
    rows = _chosen(seen.classes)
    block = Block("wide", (Figure(picture(rows)),), legend=_legend(seen))
    tables = [_table(seen)]
    if seen.mistakes:
        tables.insert(0, _mistakes(seen))
    return Section(
        "classes", TITLE, _lead(seen, labels.split, len(rows)), (block,), tuple(tables)
    )


def _chosen(rows: tuple[ClassOutcome, ...]) -> tuple[ClassOutcome, ...]:
    if len(rows) <= SHOWN:
        return rows

    def weight(row: ClassOutcome) -> float:
        moved = (row.broken or 0) - (row.fixed or 0)
        return abs(moved) if row.fixed is not None else row.new_error

    return tuple(sorted(rows, key=weight, reverse=True)[:SHOWN])


def _lead(seen: Outcomes, split: str, shown: int) -> str:
    total = sum(row.examples for row in seen.classes)
    said = f"On the {split} set, {total:,} examples."
    if seen.common:
        fixed = sum(row.fixed or 0 for row in seen.classes)
        broken = sum(row.broken or 0 for row in seen.classes)
        said += (
            f" Both runs predicted the same {seen.common:,} examples:"
            f" {fixed:,} were fixed, {broken:,} are newly wrong."
        )
    elif any(row.old_error is not None for row in seen.classes):
        said += " The two runs share no examples, so single ones cannot be compared."
    if shown < len(seen.classes):
        said += f" Shown: the {shown} classes of {len(seen.classes):,} that moved most."
    return said


def _legend(seen: Outcomes) -> tuple[tuple[str, str], ...]:
    legend = [("dot-new", "error now")]
    if any(row.old_error is not None for row in seen.classes):
        legend.insert(0, ("ring", "error of the predecessor"))
    if seen.common:
        legend += [("fixed", "examples fixed"), ("wrong", "examples newly wrong")]
    return tuple(legend)


def _mistakes(seen: Outcomes) -> Table:
    rows = seen.mistakes[:MISTAKES]
    return Table(
        f"Commonest new mistakes ({len(rows)} of {len(seen.mistakes)} kinds)",
        ("is", "was taken for", "examples"),
        tuple((target, said, f"{count:,}") for target, said, count in rows),
        words=2,
    )


def _table(seen: Outcomes) -> Table:
    return Table(
        "Every class",
        ("class", "examples", "error before", "error now", "fixed", "newly wrong"),
        tuple(
            (
                row.label,
                f"{row.examples:,}",
                "–" if row.old_error is None else percent(row.old_error),
                percent(row.new_error),
                "–" if row.fixed is None else f"{row.fixed:,}",
                "–" if row.broken is None else f"{row.broken:,}",
            )
            for row in seen.classes[:1000]
        ),
    )
