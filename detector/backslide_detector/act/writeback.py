"""A judgement as tags, metrics, a note and artifacts of the run it is about."""

import json
import math
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Final

from backslide.contract import (
    NOTE_BEGIN,
    NOTE_END,
    TEXT_LIMIT,
    Artifact,
    Metric,
    Tag,
)
from backslide_detector.evidence import RunEvidence, RunHead
from backslide_detector.inside.pair import Pair
from backslide_detector.judgement import Judgement
from backslide_detector.report import words
from backslide_detector.report.document import document
from backslide_detector.report.links import Links
from backslide_detector.report.page import page
from backslide_detector.store import Writes

_MOST_EVIDENCE: Final = 300.0
"""-log10 of the smallest p-value that a float can hold, nearly."""
_OPTIONAL: Final = (Tag.FINDINGS, Tag.COMPARED_TO, Tag.CAUSE, Tag.STOP)


def writes(
    judgement: Judgement,
    head: RunHead,
    moment: int,
    *,
    new: RunEvidence,
    old: RunEvidence | None,
    links: Links,
    pair: Pair | None = None,
) -> Writes | None:
    """What is left to write onto an ended run; None when all of it is there.

    Args:
        judgement: what is to be said.
        head: the run's tags and metrics as they stand.
        moment: now, in epoch milliseconds.
        new: the run, for the pictures.
        old: its baseline, for the same.
        links: where the note and the page lead on.
        pair: what is inside both, for the page.
    """
    tags = _tags(judgement)
    tags[Tag.NOTE] = note(head.tags.get(Tag.NOTE, ""), words.note(judgement, new, old, links))
    marks = {Tag.VERDICT: judgement.retrain.verdict.value}
    artifacts = _artifacts(judgement, new, old, links, pair)
    said = _Said(artifacts, tags, marks, _metrics(judgement))
    return _left(head, said, moment)


def live_writes(
    judgement: Judgement, head: RunHead, moment: int, *, new: RunEvidence, links: Links
) -> Writes | None:
    """What is left to write onto a run that goes on: its health, never a verdict.

    The explanation follows what is found and not every new number: it is written when the
    findings are others than those that the run carries, and so also when they are gone.
    """
    tags = _tags(judgement)
    there = head.tags.get(Tag.NOTE, "")
    explained = NOTE_BEGIN in there
    if not explained and Tag.FINDINGS not in tags:
        return _left(head, _Said(tags=tags), moment)
    same = all(head.tags.get(key) == tags.get(key) for key in (Tag.HEALTH, Tag.FINDINGS))
    if explained and same and Tag.VERDICT not in head.tags:
        return _left(head, _Said(tags=tags), moment)
    tags[Tag.NOTE] = note(there, words.note(judgement, new, None, links))
    return _left(head, _Said(_artifacts(judgement, new, None, links), tags), moment)


def bare_writes(
    judgement: Judgement, head: RunHead, moment: int, *, live: bool = False
) -> Writes | None:
    """What is left to write where there is nothing to draw: no page and no note."""
    tags = {Tag.HEALTH: judgement.health.value, Tag.SUMMARY: _cut(judgement.summary)}
    marks = {} if live else {Tag.VERDICT: judgement.retrain.verdict.value}
    return _left(head, _Said(tags=tags, marks=marks), moment)


def note(existing: str, block: str) -> str:
    """The description with our block in it; what a person wrote around it stays as it is.

    A new block goes first, because MLflow shows about three lines before one asks for more.
    Where there is no room, ours gives way.
    """
    before, after = "", existing
    if NOTE_BEGIN in existing:
        before, _, rest = existing.partition(NOTE_BEGIN)
        _, found, after = rest.partition(NOTE_END)
        if not found:  # somebody deleted the end marker: what follows is theirs
            after = rest
    theirs = len(before) + len(after)
    room = TEXT_LIMIT - theirs - len(NOTE_BEGIN) - len(NOTE_END) - 4
    if len(block) > room:
        block = block[: max(room - 2, 0)].rpartition("\n")[0]
    if not block:
        return existing
    gap = "\n\n" if after and not after.startswith("\n") else ""
    return f"{before}{NOTE_BEGIN}\n{block}\n{NOTE_END}{gap}{after}"


def _artifacts(
    judgement: Judgement,
    new: RunEvidence,
    old: RunEvidence | None,
    links: Links,
    pair: Pair | None = None,
) -> dict[str, str]:
    return {
        Artifact.REPORT: page(judgement, new, old, links, pair),
        Artifact.VERDICT: json.dumps(document(judgement), indent=2, allow_nan=False) + "\n",
    }


def _tags(judgement: Judgement) -> dict[str, str]:
    tags = {
        Tag.HEALTH: judgement.health.value,
        Tag.SUMMARY: judgement.summary,
        Tag.FINDINGS: ", ".join(name for name, _ in judgement.findings),
        Tag.COMPARED_TO: judgement.retrain.compared_to or "",
        Tag.CAUSE: ", ".join(cause.value for cause in judgement.retrain.cause),
        Tag.STOP: judgement.stop or "",
    }
    return {key: _cut(value) for key, value in tags.items() if value}


def _metrics(judgement: Judgement) -> dict[str, float]:
    model = judgement.retrain.model
    low, high = model.interval or (None, None)
    values = {
        Metric.ERROR_DELTA: model.effect,
        Metric.ERROR_DELTA_LOW: low,
        Metric.ERROR_DELTA_HIGH: high,
        Metric.EVIDENCE: _evidence(model.pvalue),
    }
    return {
        key: float(value)
        for key, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _evidence(pvalue: float | None) -> float | None:
    if pvalue is None or not 0 <= pvalue <= 1:
        return None
    return min(_MOST_EVIDENCE, abs(math.log10(pvalue))) if pvalue > 0 else _MOST_EVIDENCE


@dataclass(frozen=True)
class _Said:
    """All that a judgement says, whether it is there already or not."""

    artifacts: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def _left(head: RunHead, said: _Said, moment: int) -> Writes | None:
    revision = sha256(json.dumps(asdict(said), sort_keys=True).encode()).hexdigest()[:16]
    removed = [key for key in _OPTIONAL if key in head.tags and key not in said.tags]
    if not said.marks and Tag.VERDICT in head.tags:
        removed.append(Tag.VERDICT)  # it was taken for dead, and goes on
    # Somebody may have taken a tag off; it is put on again.
    there = all(head.tags.get(k) == v for k, v in (said.tags | said.marks).items())
    if head.tags.get(Tag.REVISION) == revision and there and not removed:
        return None
    return Writes(
        artifacts=said.artifacts,
        tags={key: text for key, text in said.tags.items() if head.tags.get(key) != text},
        metrics={k: v for k, v in said.metrics.items() if head.metrics.get(k) != v},
        marks=said.marks | {Tag.REVISION: revision},
        removed=removed,
        moment=moment,
    )


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
