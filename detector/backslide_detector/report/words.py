"""The judgement in words: a sentence for the runs table, a note for the run page."""

from collections.abc import Iterator, Sequence

from backslide.contract import TEXT_LIMIT, Verdict
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Clear, Crashed, Found
from backslide_detector.judgement import Judgement, RetrainVerdict
from backslide_detector.report.links import Links
from backslide_detector.report.markdown import escape, link
from backslide_detector.report.phrases import (
    CAUSES,
    KINDS,
    MEASURES,
    VERDICTS,
    brief,
    change,
    estimate,
    level,
    plain,
    shorten,
)
from backslide_detector.wording import module_title

SUMMARY_LIMIT = 600
CHANGES_SHOWN = 12
FINDINGS_SHOWN = 6
NOTES_SHOWN = 6
VALUE_LIMIT = 80
SENTENCE_LIMIT = 400


def summary(judgement: Judgement) -> str:
    """One plain sentence with the numbers, at most 600 characters.

    The verdict speaks first. Where there is nothing to compare, the worst finding does.
    """
    verdict = plain(judgement.retrain.sentence)
    if not judgement.findings:
        return shorten(verdict, SUMMARY_LIMIT)
    check, found = judgement.findings[0]
    if judgement.retrain.verdict in {Verdict.FIRST, Verdict.NONE}:
        return shorten(plain(f"{check}: {found.sentence}"), SUMMARY_LIMIT)
    where = f" in {shorten(plain(found.layer), VALUE_LIMIT)}" if found.layer else ""
    others = len(judgement.findings) - 1
    inside = f" Inside: {plain(check)}{where}" + (f" and {others} more." if others else ".")
    room = SUMMARY_LIMIT - len(inside)
    said = f"{shorten(verdict, room)}{inside}" if room > 0 else shorten(verdict, SUMMARY_LIMIT)
    return plain(said)


def note(judgement: Judgement, new: RunEvidence, old: RunEvidence | None, links: Links) -> str:
    """The explanation in Markdown, at most `TEXT_LIMIT` characters.

    MLflow shows about three lines of it before one asks for more, so the verdict comes first.
    Sections that would not fit are left out whole, from the end, but the links stay.
    """
    last = _links(links)
    room = TEXT_LIMIT - len(last) - 2
    kept: list[str] = []
    for section in _sections(judgement, new, old):
        if len(section) + 2 > room:
            continue
        kept.append(section)
        room -= len(section) + 2
    return "\n\n".join([*kept, *([last] if last else [])])


def _sections(judgement: Judgement, new: RunEvidence, old: RunEvidence | None) -> Iterator[str]:
    yield _verdict(judgement)
    if answers := _answers(judgement):
        yield answers
    if judgement.retrain.changed:
        yield _changes(judgement.retrain, new, old)
    if judgement.findings:
        yield _findings(judgement.findings)
    if judgement.outlook:
        yield _list("What would help", judgement.outlook)
    if judgement.retrain.behaviour:
        yield _list("What else changed in its answers", judgement.retrain.behaviour)
    if judgement.retrain.stream.sentences:
        yield _list("Among all retrains", judgement.retrain.stream.sentences)
    remarks = _remarks(judgement)
    if remarks:
        yield _bullets("Notes", remarks)


def _verdict(judgement: Judgement) -> str:
    retrain = judgement.retrain
    lines = [f"**{VERDICTS[retrain.verdict]}.** {_sentence(retrain.sentence)}"]
    names = ", ".join(_value(check) for check, _ in judgement.findings[:FINDINGS_SHOWN])
    lines.append(f"Health: **{judgement.health.value}**" + (f" ({names})." if names else "."))
    if retrain.cause:
        lines.append(f"Likely cause: {', '.join(CAUSES[cause] for cause in retrain.cause)}.")
    if retrain.advice:
        lines.append(f"Next: {_sentence(retrain.advice)}")
    return "  \n".join(lines)


def _answers(judgement: Judgement) -> str:
    retrain = judgement.retrain
    if retrain.compared_to is None:
        return ""
    lines, of = ["### How sure is that?"], retrain.measure
    if retrain.old_error is not None and retrain.new_error is not None:
        split = escape(retrain.split) + " " if retrain.split else ""
        before, now = level(retrain.old_error, of), level(retrain.new_error, of)
        lines.append(f"- {split}{MEASURES[of]}: {before} before, {now} now")
    model, recipe = estimate(retrain.model, of), estimate(retrain.recipe, of)
    lines.append(f"- **This model against that model:** {_sentence(model)}")
    lines.append(f"- **This recipe against that recipe:** {_sentence(recipe)}")
    if retrain.mde is not None:
        seen = change(retrain.mde, of, signed=False)
        lines.append(f"- Smallest difference this test set shows 4 times out of 5: {seen}")
    return "\n".join(lines)


def _changes(retrain: RetrainVerdict, new: RunEvidence, old: RunEvidence | None) -> str:
    before = f"before ({_value(old.name)})" if old is not None and old.name else "before"
    now = f"now ({_value(new.name)})" if new.name else "now"
    rows = [
        f"| {escape(KINDS[c.kind])} | {_value(c.what)} | {_value(c.old)} | {_value(c.new)} |"
        for c in retrain.changed[:CHANGES_SHOWN]
    ]
    head = ["### What changed", "", f"| kind | what | {before} | {now} |", "|---|---|---|---|"]
    more = len(retrain.changed) - CHANGES_SHOWN
    last = [f"{more} more in the report."] if more > 0 else []
    last += [f"- {_sentence(text)}" for text in retrain.leads]
    return "\n".join([*head, *rows, *(["", *last] if last else [])])


def _findings(findings: Sequence[tuple[str, Found]]) -> str:
    return _bullets("Findings", [_finding(check, found) for check, found in findings])


def _finding(check: str, found: Found) -> str:
    facts = [found.severity.value]
    if found.layer:
        facts.append(_value(module_title(found.layer, "")))
    if found.since_step is not None:
        facts.append(f"since step {found.since_step:,}")
    cause = f" *Usual cause:* {_sentence(found.usual_cause)}" if found.usual_cause else ""
    return (
        f"**{_value(check)}** ({', '.join(facts)}): {_sentence(found.sentence)}"
        f"{cause} *Try first:* {_sentence(found.advice)}"
    )


def _remarks(judgement: Judgement) -> list[str]:
    remarks = []
    for result in judgement.results:
        match result.outcome:
            case Clear(note=str(text)):
                remarks.append(f"{_value(result.check)}: {_sentence(text)}")
            case Crashed(error=error):
                remarks.append(f"{_value(result.check)} itself failed: {_sentence(error)}")
            case _:
                continue
    return [*remarks, *(_sentence(problem) for problem in judgement.problems)]


def _bullets(title: str, lines: Sequence[str]) -> str:
    shown = [f"- {line}" for line in lines[:FINDINGS_SHOWN]]
    more = len(lines) - FINDINGS_SHOWN
    return "\n".join(
        [f"### {title}", *shown, *([f"- {more} more in the report"] if more > 0 else [])]
    )


def _list(title: str, sentences: Sequence[str]) -> str:
    return "\n".join([f"### {title}", *(f"- {_sentence(text)}" for text in sentences)])


def _links(links: Links) -> str:
    named = (
        ("Report with pictures", links.report),
        ("predecessor", links.baseline),
        ("all verdicts", links.view),
    )
    return " · ".join(link(text, url) for text, url in named if url)


def _value(text: object) -> str:
    return "–" if text is None else escape(shorten(brief(text), VALUE_LIMIT))


def _sentence(text: str) -> str:
    return escape(shorten(plain(text), SENTENCE_LIMIT))
