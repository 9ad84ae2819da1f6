"""What each part of the page says, in words and tables; the template only arranges it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from backslide.contract import Health, Verdict
from backslide_detector.estimand import Estimand
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Clear, Crashed, Found, Skipped
from backslide_detector.judgement import Judgement
from backslide_detector.report import phrases
from backslide_detector.report.links import Links
from backslide_detector.report.markdown import address
from backslide_detector.report.pictures.intervals import intervals
from backslide_detector.report.section import Absent, Block, Figure, Section, Table
from backslide_detector.wording import count

QUESTIONS = ("This model against that model", "This recipe against that recipe")
CHANGES = 200

_TONES: Mapping[Verdict, tuple[str, str]] = {
    Verdict.IMPROVED: ("good", "✓"),
    Verdict.REGRESSED: ("bad", "✗"),
    Verdict.EQUIVALENT: ("calm", "="),
    Verdict.INCONCLUSIVE: ("warn", "?"),
    Verdict.FIRST: ("calm", "•"),
    Verdict.NONE: ("plain", "–"),
}
_HEALTH: Mapping[Health, str] = {
    Health.HEALTHY: "good",
    Health.WARNING: "warn",
    Health.FAILING: "bad",
    Health.UNKNOWN: "soft",
}


@dataclass(frozen=True, slots=True)
class Head:
    """The top of the page."""

    name: str
    run_id: str
    lineage: str | None
    compared_to: str | None
    tone: str
    sign: str
    verdict: str
    health: str
    health_tone: str
    sentence: str
    cause: str
    inside: str | None
    advice: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure worth seeing at once."""

    name: str
    value: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One finding."""

    name: str
    severity: str
    layer: str | None
    since: str | None
    sentence: str
    advice: str
    usual_cause: str
    numbers: tuple[tuple[str, str], ...]


def head(judgement: Judgement, new: RunEvidence) -> Head:
    """Verdict, health and cause; a failing health colours any verdict."""
    retrain = judgement.retrain
    tone, sign = _TONES[retrain.verdict]
    return Head(
        name=new.name or judgement.run_name or judgement.run_id,
        run_id=judgement.run_id,
        lineage=judgement.lineage,
        compared_to=retrain.compared_to,
        tone="bad" if judgement.health is Health.FAILING else tone,
        sign=sign,
        verdict=phrases.VERDICTS[retrain.verdict],
        health=judgement.health.value,
        health_tone=_HEALTH[judgement.health],
        sentence=retrain.sentence,
        cause=", ".join(phrases.CAUSES[cause] for cause in retrain.cause),
        inside=judgement.findings[0][1].sentence if judgement.findings else None,
        advice=retrain.advice,
    )


def facts(judgement: Judgement) -> list[Fact]:
    """The figures behind the verdict, those that are known."""
    retrain, model = judgement.retrain, judgement.retrain.model
    of = retrain.measure
    name = phrases.MEASURES[of]
    split = f"{retrain.split} {name}" if retrain.split else name
    shown = []
    if retrain.new_error is not None:
        old = retrain.old_error
        before = "" if old is None else f"before: {phrases.level(old, of)}"
        shown.append(Fact(split, phrases.level(retrain.new_error, of), before))
    if model.effect is not None:
        bounds = ""
        if model.interval:
            bounds = f"95 % interval {phrases.range_of(model.interval, of)}"
        shown.append(Fact("difference", phrases.change(model.effect, of), bounds))
    if model.fixed is not None and model.broken is not None:
        total = f"of {model.n:,} examples" if model.n else ""
        shown.append(Fact("newly wrong / fixed", f"{model.broken:,} / {model.fixed:,}", total))
    if retrain.mde is not None:
        seen = phrases.change(retrain.mde, of, signed=False)
        shown.append(Fact("smallest detectable difference", seen, "seen 4 times out of 5"))
    return shown


def contents(judgement: Judgement, sections: Sequence[Section]) -> list[tuple[str, str]]:
    """(key, title) of everything on the page, in order."""
    found = len(judgement.findings)
    return [
        *([("sure", "How sure is that?")] if answers(judgement) else []),
        *([("changed", "What changed")] if judgement.retrain.changed else []),
        ("findings", f"Findings ({found})" if found else "Findings"),
        *([("outlook", "What would help")] if judgement.outlook else []),
        *([("answers", "What else changed")] if judgement.retrain.behaviour else []),
        *([("stream", "Among all retrains")] if judgement.retrain.stream.sentences else []),
        *((section.key, section.title) for section in sections),
        ("method", "Method and gaps"),
    ]


def answers(judgement: Judgement) -> Block | None:
    """Both questions as a picture; None when neither has an answer."""
    retrain = judgement.retrain
    if retrain.model.effect is None and retrain.recipe.effect is None:
        return None
    of = retrain.measure
    picture = intervals(_asked(judgement), retrain.margin, retrain.mde, of)
    legend = [("zero", "no difference")]
    if retrain.margin is not None:
        band = phrases.change(retrain.margin, of, signed=False)
        legend.append(("margin", f"too small to matter (±{band})"))
    if retrain.mde is not None:
        seen = phrases.change(retrain.mde, of, signed=False)
        legend.append(("mde", f"smallest difference this test set shows (±{seen})"))
    return Block("wide", (Figure(picture),), legend=tuple(legend))


def answers_table(judgement: Judgement) -> Table:
    """The same in numbers."""
    rows, of = [], judgement.retrain.measure
    for question, answer in _asked(judgement):
        bounds = phrases.range_of(answer.interval, of) if answer.interval else "–"
        effect = "–" if answer.effect is None else phrases.change(answer.effect, of)
        chance = "–" if answer.pvalue is None else phrases.pvalue(answer.pvalue)
        how = " – ".join(filter(None, (answer.method, answer.reason))) or "–"
        subject = question.partition(" against ")[0]
        count = f"{answer.n:,}" if answer.n else "–"
        rows.append((subject, how, effect, bounds, chance, count))
    names = ("question", "method", "difference", "95 % interval", "p-value", "n")
    return Table("Both answers in numbers", names, tuple(rows), words=2)


def changed(judgement: Judgement, old: RunEvidence | None) -> Table | None:
    """What differs between the two runs."""
    changes = judgement.retrain.changed
    if not changes:
        return None
    before = (old.name if old else None) or judgement.retrain.compared_name
    rows = tuple(
        (phrases.KINDS[c.kind], c.what, _or_dash(c.old), _or_dash(c.new))
        for c in changes[:CHANGES]
    )
    title = f"{len(changes):,} differences" if len(changes) > 1 else "1 difference"
    title += f" from {before}" if before else " from the predecessor"
    title += f", the first {CHANGES} shown" if len(changes) > CHANGES else ""
    return Table(title, ("kind", "what", "before", "now"), rows, words=4)


def findings(judgement: Judgement) -> list[Card]:
    """Every finding, worst first."""
    return [
        Card(
            name=check,
            severity=found.severity.value,
            layer=found.layer,
            since=None if found.since_step is None else f"{found.since_step:,}",
            sentence=found.sentence,
            advice=found.advice,
            usual_cause=found.usual_cause,
            numbers=tuple((k.replace("_", " "), _figure(v)) for k, v in found.numbers.items()),
        )
        for check, found in judgement.findings
    ]


def no_findings(judgement: Judgement) -> str:
    """What to say when nothing was found: whether one could have found anything."""
    able = sum(isinstance(result.outcome, Clear) for result in judgement.results)
    if able == 0:
        return "No check had the evidence it needs, so nothing can be said about the inside."
    skipped = sum(isinstance(result.outcome, Skipped) for result in judgement.results)
    said = f"None: {count(able, 'check')} had the evidence and found nothing wrong"
    return said + (f"; {skipped} could not tell (listed below)." if skipped else ".")


def notes(judgement: Judgement) -> list[tuple[str, str]]:
    """Symptoms without a failure to learn: (check, sentence)."""
    return [
        (result.check, result.outcome.note)
        for result in judgement.results
        if isinstance(result.outcome, Clear) and result.outcome.note
    ]


def gaps(
    judgement: Judgement, new: RunEvidence, absent: Iterable[Absent]
) -> list[tuple[str, str]]:
    """What could not be read, judged or shown: (subject, reason), each once."""
    problems = dict.fromkeys((*judgement.problems, *new.problems))
    crashed = [
        (result.check, f"the check itself failed: {result.outcome.error}")
        for result in judgement.results
        if isinstance(result.outcome, Crashed)
    ]
    return [
        *(("", problem) for problem in problems),
        *crashed,
        *((part.title, part.reason) for part in absent),
    ]


def method(judgement: Judgement) -> Table | None:
    """The settings that the verdict depends on."""
    rows = [(name.replace("_", " "), _figure(v)) for name, v in judgement.settings.items()]
    return Table("Settings", ("setting", "value"), tuple(rows)) if rows else None


def checks(judgement: Judgement) -> Table | None:
    """Every check with its outcome."""
    rows = []
    for result in judgement.results:
        match result.outcome:
            case Found(severity=severity, sentence=sentence):
                rows.append((result.check, severity.value, sentence))
            case Clear(note=note):
                rows.append((result.check, "clear", note or "–"))
            case Skipped(reason=reason):
                rows.append((result.check, "could not tell", reason))
            case Crashed(error=error):
                rows.append((result.check, "crashed", error))
    names = ("check", "outcome", "why")
    return Table("Checks", names, tuple(rows), words=3) if rows else None


def links(given: Links) -> list[tuple[str, str]]:
    """(text, address) of what can be linked."""
    named = (
        ("This run in MLflow", given.run),
        ("Its predecessor", given.baseline),
        ("All verdicts", given.view),
    )
    return [(text, safe) for text, url in named if url and (safe := address(url))]


def _asked(judgement: Judgement) -> tuple[tuple[str, Estimand], ...]:
    both = (judgement.retrain.model, judgement.retrain.recipe)
    return tuple(zip(QUESTIONS, both, strict=True))


def _or_dash(value: str | None) -> str:
    return "–" if value is None else phrases.shorten(phrases.brief(value), 300)


def _figure(value: float) -> str:
    return phrases.number(value)
