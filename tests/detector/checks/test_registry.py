"""The registry finds checks, hands them what they ask for, and keeps their failures inside."""

import types
from pathlib import Path

import pytest

from backslide_detector.checks.manual import pages
from backslide_detector.checks.order import CAUSAL_ORDER
from backslide_detector.checks.page import document
from backslide_detector.checks.registry import (
    SECTIONS,
    Check,
    CheckError,
    check_in,
    load_checks,
    run_checks,
    said_once,
)
from backslide_detector.checks.subject import ARGUMENTS, Subject
from backslide_detector.evidence import RunEvidence
from backslide_detector.finding import Clear, Crashed, Found, Severity, Skipped

EMPTY = RunEvidence("id", "name", "0", "FINISHED", 0.0, 1.0, None)


def module(name="backslide_detector.checks.signal.dead_units", **content):
    made = types.ModuleType(name)
    made.__file__ = "/somewhere/dead_units.py"
    vars(made).update(content)
    return made


def made(name, function, needs=()):
    return Check(name, "family", function, tuple(needs), (), "A page.")


def test_every_check_file_is_found_in_causal_order():
    names = [check.name for check in load_checks()]
    assert "loss-not-decreasing" in names
    assert names == sorted(names, key=CAUSAL_ORDER.index)
    assert len(set(names)) == len(names)


def test_the_causal_order_names_all_37_checks_once():
    assert len(set(CAUSAL_ORDER)) == len(CAUSAL_ORDER) == 37


@pytest.mark.parametrize("check", load_checks(), ids=lambda check: check.name)
def test_a_page_has_a_summary_and_all_sections_in_order(check):
    assert check.summary.endswith(".")
    lines = check.page.splitlines()
    assert [line[:-1] for line in lines if line[:-1] in SECTIONS] == list(SECTIONS)
    for section in SECTIONS:
        assert lines[lines.index(f"{section}:") + 1].startswith("    "), section


def test_the_manual_has_the_same_pages_in_the_same_order():
    assert list(pages().items()) == [(check.name, check.page) for check in load_checks()]


def test_every_argument_is_an_attribute_of_the_subject():
    for name in ARGUMENTS:
        assert hasattr(Subject(EMPTY, {}), name)


def test_needs_and_wants_follow_from_the_signature():
    def check(loss, gradients, updates=None):
        return Clear()

    found = check_in(module(check=check))
    assert (found.name, found.family) == ("dead-units", "signal")
    assert (found.needs, found.wants) == (("loss", "gradients"), ("updates",))


def test_unknown_evidence_fails_at_load_with_file_and_line():
    def check(loss, crystal_ball):
        return Clear()

    with pytest.raises(CheckError, match=r"dead_units\.py:\d+: no evidence is called crystal_"):
        check_in(module(check=check))


def test_a_module_without_check_and_an_unknown_name_fail_at_load():
    with pytest.raises(CheckError, match="no function check"):
        check_in(module())
    with pytest.raises(CheckError, match="'bad-mood' has no place"):
        check_in(module("backslide_detector.checks.signal.bad_mood", check=Clear))


def test_missing_evidence_is_a_reason_and_never_clear():
    (result,) = run_checks(EMPTY, [made("dead-units", lambda loss: Clear(), ["loss"])])
    assert result.outcome == Skipped(ARGUMENTS["loss"])


def test_a_crash_stays_inside_its_check():
    def broken():
        raise ZeroDivisionError("boom")

    crashed, clear = run_checks(EMPTY, [made("dead-units", broken), made("nan-or-inf", Clear)])
    assert isinstance(crashed.outcome, Crashed)
    assert crashed.outcome.error == "ZeroDivisionError: boom"
    assert "in broken" in crashed.outcome.traceback
    assert clear.outcome == Clear()


def test_the_likeliest_root_cause_comes_first():
    def found(severity=Severity.FAILING):
        return lambda: Found(severity, "s", "a")

    results = run_checks(
        EMPTY,
        [
            made("stalled-run", lambda: Skipped("no")),
            made("overfitting", Clear),
            made("underfitting", lambda: Clear(note="seen")),
            made("loss-not-decreasing", found()),
            made("nan-or-inf", found()),
            made("learning-rate-too-high", found(Severity.WARNING)),
            made("input-scale", found(Severity.NOTE)),
            made("dead-units", found()),
        ],
    )
    assert [result.check for result in results] == [
        "learning-rate-too-high",
        "dead-units",
        "nan-or-inf",
        "loss-not-decreasing",
        "input-scale",
        "underfitting",
        "overfitting",
        "stalled-run",
    ]


def test_how_the_run_fails_is_said_by_the_first_finding_alone():
    why = Subject(EMPTY, {}).learning.sentence

    def found(sentence, severity=Severity.FAILING):
        return lambda: Found(severity, sentence, "a")

    checks = [
        made("dead-units", found("Dead.")),
        made("nan-or-inf", found(f"Lost. {why}")),
        made("underfitting", lambda: Clear(note=f"Seen. {why}")),
        made("loss-not-decreasing", found(f"Nothing. {why}")),
    ]
    told = said_once(run_checks(EMPTY, checks), EMPTY)
    assert [result.outcome.sentence for result in told[:3]] == [
        "Dead.",
        f"Lost. {why}",
        "Nothing.",
    ]
    assert told[3].outcome == Clear(note=f"Seen. {why}")


def test_the_document_of_all_checks_is_up_to_date():
    """Write it anew with `python -m backslide_detector.checks.page > docs/checks.md`."""
    written = (Path(__file__).parents[3] / "docs" / "checks.md").read_text()
    assert written == document(load_checks())
